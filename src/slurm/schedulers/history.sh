# shellcheck shell=sh
# Prints the user's id and the output of sacct. Arguments: the fields that every release has, then options of sacct.
. clean.sh
id -u
fields=$1
shift
with=submitline
sacct --helpformat | grep -q -i -w submitline || with=comment # 20.11
exec sacct --allocations --duplicates --parsable2 --format="$fields,$with" "$@"
