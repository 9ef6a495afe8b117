# shellcheck shell=sh
# Input: directories, each followed by NUL. Output: their entries as `directory/./name`, each followed by NUL.
. plain_tools.sh
xargs -0 sh -c 'for path; do [ ! -d "$path" ] || printf "%s/.\0" "$path"; done' sh |
    xargs -0 sh -c '[ $# = 0 ] || find "$@" ! -name . -prune -print0' sh
