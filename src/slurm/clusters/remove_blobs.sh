# shellcheck shell=sh
# Arguments: the directory of blobs, a number of days. Removes files that clients have sent, and no submission names.
# A file gets a mark first; clients send marked files again. It is removed an hour later, if no submission that was in
# progress names it by then.
. own_directory.sh
cd -- "$1" 2> /dev/null || exit 0
set -e
rm -rf -- .*.removed
used=.used.$$
trap 'rm -f -- "$used" "$used.json"' EXIT
: > "$used.json"
[ ! -d ../jobs ] || find ../jobs/ -mindepth 3 -maxdepth 3 -name submission.json -exec cat {} + >> "$used.json"
# No record names what calls of pools use: a reference in their pickles is a kind, such as `tree`, a slash, and the digest.
for of in ../jobs/pool/*/clients/*; do
    find "$of/calls" "$of/functions" "$of/arguments" -type f -exec cat {} + 2> /dev/null | LC_ALL=C tr -c 'a-z0-9/' '\n' | grep -oE '[a-z]+/[0-9a-f]{64}' | sed 's,.*tree/\(.*\),\1-tree,' >> "$used.json"
done
grep -oE '[0-9a-f]{64}-tree' "$used.json" | sort -u | while read -r tree; do # the list of its files names more
    [ ! -f "${tree%-tree}-file" ] || cat -- "${tree%-tree}-file" >> "$used.json"
done
{ echo -; grep -oE '[0-9a-f]{64}' "$used.json" | sort -u; } > "$used"
# Trees come last, because their removal changes the times of the files that they link.
blobs() { find . ! -name . -prune \( -name '*-file' -o -name '*-program' -o -name '*-tree' \) -ctime "+$1" | sort -t - -k 2; }
in_use='NR == FNR { used[$1]; next } (substr($1, 3, 64) in used) == wanted'
find . ! -name . -prune -name '*.unused' | awk -v wanted=1 "$in_use" "$used" - | while read -r mark; do
    rm -f -- "$mark"
done
blobs "$2" | awk -v wanted=0 "$in_use" "$used" - | while read -r name; do
    name=${name#./} mark=${name#./}.unused
    if [ ! -e "$mark" ] || [ -n "$(find "$name" -prune -cnewer "$mark")" ]; then
        : > "$mark"
    elif [ -n "$(find "$mark" -mmin +60)" ]; then
        mv -- "$name" ".$name.removed"
        [ ! -d ".$name.removed" ] || find ".$name.removed" -type d -exec chmod u+w {} +
        rm -rf -- ".$name.removed" "$mark"
    fi
done
