# shellcheck shell=sh
# Print what was added to logs. Input: lines "OFFSET PATH"; a negative OFFSET counts from the end. Output: for each log that is
# longer than OFFSET, its line number and the offset after "=", then the new bytes in hexadecimal, because logs hold any bytes.
# Arguments: `yes` to look past the caches of the file system, else `no`; the most bytes to print of each log.
. ../transports/plain_tools.sh
. ../transports/fresh.sh
number=0
while read -r offset path; do
    number=$((number + 1))
    [ -s "$path" ] || { [ "$1" = yes ] && appeared "$path"; } || continue
    [ "$1" != yes ] || chmod u+r -- "$path" 2> /dev/null
    if [ "$offset" -lt 0 ]; then
        offset=$(($(wc -c < "$path") + offset))
        [ "$offset" -ge 0 ] || offset=0
    fi
    echo "= $number $offset"
    tail -c "+$((offset + 1))" -- "$path" 2> /dev/null | head -c "$2" | od -An -v -tx1
done
