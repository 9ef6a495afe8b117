# shellcheck shell=sh
# Prints what calls have reported since their last report. Calls of `look` follow this text.
. ../transports/plain_tools.sh

# look NUMBER DIRECTORY CHUNK BYTES: prints new lines of the files in `events/` of a submission, BYTES of each at most.
# Input: lines "call end", how far each file is known. An element that ended before its first report is left out.
# awk reads names, sizes and ends, and prints commands for sh that print what is new.
look() {
    echo "submission $1"
    cd -- "$2" 2> /dev/null || return 0
    # shellcheck disable=SC2012 # the names that are looked for are numbers
    { cat; ls ../outcomes; ls -ln .; } 2> /dev/null | awk -v chunk="$3" -v most="$4" '
        NF == 2 { known[$1] = $2 }
        NF == 1 && $1 ~ /^[0-9]+\.json$/ { sub(/\.json$/, "", $1); ended[$1] }
        NF == 9 && $9 ~ /^[0-9]+\.jsonl$/ {
            sub(/\.jsonl$/, "", $9)
            if (!($9 in known) && (int($9 / chunk) in ended)) next
            from = ($9 in known) ? known[$9] : 0
            if ($5 - from > most) from = $5 - most
            if ($5 > from) printf "echo \"= %s %.0f\"; tail -c +%.0f %s.jsonl; echo\n", $9, from, from + 1, $9
        }' | sh
}
