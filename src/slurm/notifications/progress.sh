# shellcheck shell=sh
# Prints new progress reports of calls. Calls of `read_progress` follow this text.
. ../transports/plain_tools.sh
. ../transports/fresh.sh

# read_progress NUMBER DIRECTORY CHUNK BYTES CACHES: prints the new lines of the files in `events/` of a submission, at
# most BYTES of each. Input: lines "call offset", with the offset up to which each file was read. Left out are elements
# that had finished before their first report was read and, if CHUNK is 0, all calls that are not in the input. CACHES
# is `yes` if the file system remembers names and sizes.
# awk reads names, sizes and offsets, and prints commands for sh. These commands print the new lines.
read_progress() {
    echo "submission $1"
    cd -- "$2" 2> /dev/null || { [ "$5" = yes ] && appeared "$2" && cd -- "$2"; } || return 0
    [ "$5" != yes ] || { freshen . ../outcomes; find . -name '*.jsonl' -exec chmod u+r {} + 2> /dev/null; }
    # shellcheck disable=SC2012 # all relevant names are numbers
    { cat; ls ../outcomes; ls -ln .; } 2> /dev/null | awk -v chunk="$3" -v most="$4" '
        NF == 2 { known[$1] = $2 }
        NF == 1 && $1 ~ /^[0-9]+\.json$/ { sub(/\.json$/, "", $1); ended[$1] }
        NF == 9 && $9 ~ /^[0-9]+\.jsonl$/ {
            sub(/\.jsonl$/, "", $9)
            if (!($9 in known) && (chunk == 0 || int($9 / chunk) in ended)) next
            from = ($9 in known) ? known[$9] : 0
            if ($5 - from > most) from = $5 - most
            if ($5 > from) printf "echo \"= %s %.0f\"; tail -c +%.0f %s.jsonl; echo\n", $9, from, from + 1, $9
        }' | sh
}
