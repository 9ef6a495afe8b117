# shellcheck shell=sh
# Cancel, hold or release jobs, but only those whose comment or script names their submission (slurm.schedulers.marks).
# Arguments: the verb; the ids, separated by commas; lines "id key name"; more options of squeue; --clusters=… or nothing.
# A name is an argument of scancel and scontrol: the id, or some of its elements.
. clean.sh
verb=$1 ids=$2 targets=$3 where=$4
shift 4
between=$(printf '\037')
# shellcheck disable=SC2086 # none, or several words
output=$(squeue $where --states=all --format="%F$between%k$between%o" "$@" --jobs="$ids" 2>&1; echo "=$?")
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
[ "$verb" != cancel ] || [ -z "$names" ] || exec scancel --quiet "$@" $names
for name in $names; do
    output=$(scontrol "$@" "$verb" "$name" 2>&1) && continue
    # Slurm reports each group of elements: "7_0: Job has already finished", "7_2-3: No error".
    output=$(printf '%s\n' "$output" |
        grep -v -e '^$' -e ': No error$' -e 'already finished' -e 'already completing or completed')
    [ -z "$output" ] || { printf '%s\n' "$output" >&2; failed=1; }
done
exit "${failed:-0}"
