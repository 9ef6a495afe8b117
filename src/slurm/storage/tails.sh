# shellcheck shell=sh
# Input: paths, each followed by NUL. Output: for each path the mark on a separate line, then the end of the file.
# Arguments: the mark, and how many bytes of each file to print.
exec xargs -0 -n 500 sh -c 'mark=$1 bytes=$2
shift 2
for path; do
    printf "\n%s\n" "$mark"
    [ ! -s "$path" ] || tail -c "$bytes" "$path"
done' sh "$1" "$2"
