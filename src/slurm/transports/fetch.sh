# shellcheck shell=sh
# Input: paths relative to /, each followed by NUL. Output: consecutive archives of those that are files.
# Arguments: the program (send.sh or send_private.sh) that archives the files named by its arguments, `known` of
# fresh.sh, and the functions there.
. plain_tools.sh
cd /
xargs -0 sh -c "$3"'
known=$1
shift
for path; do
    [ -e "$path" ] || ! look_past "${path%/*}" || appeared "$path"
    if [ -f "$path" ]; then printf "%s\0" "$path"
    elif [ -d "$path" ]; then printf "%s: Is a directory\n" "$path" >&2
    fi
done' sh "$2" | xargs -0 -n 500 sh -c "$1" sh
status=$?
dd if=/dev/zero bs=512 count=2 2> /dev/null
exit $status
