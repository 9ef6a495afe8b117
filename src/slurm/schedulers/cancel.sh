# shellcheck shell=sh
# Cancel jobs, but only those whose comment or script names their submission (slurm.schedulers.marks).
# Arguments: the ids, separated by commas; lines "id key name"; --clusters=… or nothing.
# A name is an argument of scancel: the id, or some of its elements.
. clean.sh
ids=$1 targets=$2
shift 2
between=$(printf '\037')
output=$(squeue --states=all --format="%F$between%k$between%o" "$@" --jobs="$ids" 2>&1; echo "=$?")
case $output in
    *ARRAY_JOB_ID"$between"*'
=0') ;;
    *"Invalid job id specified"*) exit 0 ;;
    *=0) printf '%s\n' "${output%=0}" >&2; exit 1 ;;
    *) printf '%s\n' "${output%=*}" >&2; exit "${output##*=}" ;;
esac
# Input of awk: the targets, an empty line, then squeue's lines. Each target is printed once.
names=$(printf '%s\n\n%s\n' "$targets" "$output" | awk '
    !listed && NF == 3 { keys[$1] = keys[$1] " " $2; named[$1, $2] = named[$1, $2] "\n" $3; next }
    !listed { listed = 1; FS = "\037"; next }
    {
        count = split(keys[$1], candidates, " ")
        for (i = 1; i <= count; i++) {
            key = candidates[i]
            mark = substr($2, length(key) + 1, 1)
            own = index($3, "/" key "/") || (index($2, key) == 1 && (mark == "" || index("+~ ", mark)))
            if (own && !printed[$1, key]++) print substr(named[$1, key], 2)
        }
    }')
set -f
# shellcheck disable=SC2086 # names have no blanks
[ -z "$names" ] || exec scancel --quiet "$@" $names
