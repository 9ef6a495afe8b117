# shellcheck shell=sh
# Prints the stacks of the processes of a call. Arguments: key, element, signal of faulthandler.
key=$1 element=$2 signal=$3 found=
here=$(uname -n)
next='
'
# Processes that have the key among their words: the runner, the workers and ranks that it has forked, launchers.
# shellcheck disable=SC2013 # these names have no blanks
for file in $(grep -lzxF -e "$key" /proc/[0-9]*/cmdline 2> /dev/null); do
    pid=${file#/proc/} pid=${pid%/cmdline}
    words=$({ tr '\0' '\n' < "$file"; } 2> /dev/null)
    case $next$words$next in *"$next$key$next$element$next"*) ;; *) continue ;; esac
    # Only the runner has a handler; the signal would end any other process.
    caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$pid/status" 2> /dev/null)
    [ $(( 0x${caught:-0} >> (signal - 1) & 1 )) -eq 1 ] || continue
    found=yes
    echo "==> process $pid on $here <=="
    python=${words%%"$next"*}
    spy=$(command -v "$(dirname "$python")/py-spy" || command -v py-spy)
    if [ -n "$spy" ] && stacks=$("$spy" dump --pid "$pid"); then
        printf '%s\n' "$stacks" | sed '/^Process /,/^Python v/ { /^Python v/!d; }'  # without the program of the runner
        continue
    fi
    log=$(readlink "/proc/$pid/fd/2")
    [ -f "$log" ] || { kill "-$signal" "$pid"; echo "the stacks are in the log of the job"; continue; }
    before=$(wc -c < "$log") tries=0
    kill "-$signal" "$pid"
    while [ "$(wc -c < "$log")" -eq "$before" ] && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$(( tries + 1 ))
    done
    sleep 0.2
    tail -c "+$(( before + 1 ))" "$log"
done
[ -n "$found" ] || { echo "no process of the call was found on $here" >&2; exit 1; }
