# shellcheck shell=sh
# Input: directories, each followed by NUL. Output: their entries as `directory/./name`, each followed by NUL.
# Arguments: `known` of fresh.sh, and the functions there.
. plain_tools.sh
xargs -0 sh -c "$2"'
known=$1
shift
if [ $# != 0 ] && look_past "${1%/*}"; then freshen "$@"; fi
for path; do
    if [ -d "$path" ] || { [ "$known" = yes ] && appeared "$path"; }; then printf "%s/.\0" "$path"; fi
done' sh "$1" |
    xargs -0 sh -c '[ $# = 0 ] || find "$@" ! -name . -prune -print0' sh
