# shellcheck shell=sh
# List the files below directories, which are the arguments, as `DIRECTORY/./NAME`. An entry is followed by NUL:
#   f SIZE IDENTITY PATH    a file; hard links to it have the same identity
#   l PATH, then TARGET     a link to a file below the same directory: the target's name there
#   d PATH, then TARGET     a link to a directory below it
#   o PATH, then TARGET     a link to anything outside of it: the target's absolute path
. ../transports/plain_tools.sh
. ../transports/fresh.sh
known=
for path; do
    shift
    if [ -d "$path" ] || { look_past "${path%/*}" && appeared "$path"; }; then set -- "$@" "$path/."; fi
done
[ $# != 0 ] || exit 0
if look_past "$1"; then find "$@" -type d -exec chmod u+x {} + 2> /dev/null; fi # makes the next listing fresh
if find . -prune -printf '' 2> /dev/null; then
    find "$@" -type f -printf 'f %s %D:%i %p\0'
else
    find "$@" -type f -exec sh -c '
        set -f
        for path; do
            set -- $(ls -ldni -- "$path")
            [ $# -lt 6 ] || printf "f %s %s %s\0" "$6" "$1:$6" "$path"
        done' sh {} +
fi || failed=1
find "$@" -type l -exec sh -c '
    for path; do
        base=$(cd -P -- "${path%/./*}" && pwd) && real=$(readlink -f -- "$path") && [ -e "$real" ] || continue
        case $real/ in
            "$base"/*) kind=l name=${real#"$base"}; if [ -d "$real" ]; then kind=d; fi ;;
            *) kind=o name=$real ;;
        esac
        printf "%s %s\0%s\0" $kind "$path" "$name"
    done' sh {} + || failed=1
exit "${failed:-0}"
