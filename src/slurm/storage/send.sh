# shellcheck shell=sh
# Input: a record. Give it the next free number in a directory, ring the bell there or above it, and print the number.
# Arguments: the directory, a random word, the size of the record in bytes, "again" if the record may be there already, and
# "-p" to make missing parents of the directory.
umask 077
# shellcheck disable=SC2086 # an empty word is none
mkdir $5 -- "$1" 2> /dev/null
cd -- "$1" || exit
trap 'rm -f ".$2"' EXIT
cat > ".$2" || exit
# If the connection is cut, the input ends early.
[ "$(wc -c < ".$2")" -eq "$3" ] || exit
last=0
# A bell is a file that grows: readers look at it, and list the directory only then.
rung() {
    for bell in bell ../bell; do
        [ ! -e "$bell" ] || printf %s "$2" >> "$bell" || exit
    done
    echo "$1"
}
for name in *.json; do
    number=${name%.json}
    case $number in *[!0-9]*) continue ;; esac
    if [ -n "$4" ] && cmp -s ".$2" "$name"; then
        rung "$number" "$2"
        exit
    fi
    if [ "$number" -gt "$last" ]; then last=$number; fi
done
while last=$((last + 1)); do
    # link(2) succeeds for one process only. On file systems without hard links, mv comes close.
    ln ".$2" "$last.json" 2> /dev/null
    # Some ln fail although they have made the link: their file system sends a request again after a time-out.
    if cmp -s ".$2" "$last.json" 2> /dev/null; then break; fi
    if [ ! -e "$last.json" ]; then
        mv ".$2" "$last.json" || exit
        break
    fi
done
rung "$last" "$2"
