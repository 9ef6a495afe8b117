# shellcheck shell=sh
# Prints the root, what others could have written of what is run or believed there, and the digest of a blob.
# Arguments: the root as given ("~" for the default), the name of the blob.
. foreign_state.sh
. default_root.sh
set_root "$1"
printf '%s\n' "$root"
foreign_state "$root"
file=$root/blobs/$2
[ ! -f "$file" ] || { foreign "$file"; digest "$file"; }
