# shellcheck shell=sh
# Print what is known about elastic pools. Input: a line for each, its directory. Output: for each "= NUMBER", its number from 1, then
#   "client CLAIMS END" for each client: the number of its blocks that were claimed, and the last bytes of its calls in hexadecimal;
#   "changed" if a client or an element has written something within so many days;
#   "attempt NAME" for each file in attempts/. These are listed last: a client that has closed adds no elements.
# Arguments: the days; the number of the last bytes.
. ../transports/plain_tools.sh
. ../transports/fresh.sh
known=''
number=0
while IFS= read -r directory; do
    number=$((number + 1))
    echo "= $number"
    if look_past "$directory"; then
        freshen "$directory/clients" "$directory/attempts"
        chmod u+r -- "$directory"/clients/*/calls
    fi 2> /dev/null
    for client in "$directory"/clients/[0-9]*; do
        [ -d "$client" ] || continue
        claims=$(find "$client/taken" -mindepth 2 -type f | wc -l)
        echo "client $((claims)) $(tail -c "$2" -- "$client/calls" | od -An -v -tx1 | tr -d ' \n')"
    done
    [ -z "$(find "$directory"/clients/*/calls "$directory"/clients/*/out -mtime "-$1" | head -n 1)" ] || echo changed
    for file in "$directory"/attempts/*; do
        echo "attempt ${file##*/}"
    done
done
