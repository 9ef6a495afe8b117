# shellcheck shell=sh
# Finds the processes of a call that have a handler for a signal. Calls `found` with the id and the Python of each.
# Takes: key, element, signal.
next='
'
# Processes with the key among their words: the runner, the workers and ranks that the runner has forked, and launchers.
# shellcheck disable=SC2013,SC2154 # these names have no blanks; the including script has set the variables
for file in $(grep -lzxF -e "$key" /proc/[0-9]*/cmdline 2> /dev/null); do
    pid=${file#/proc/} pid=${pid%/cmdline}
    words=$({ tr '\0' '\n' < "$file"; } 2> /dev/null)
    case $next$words$next in *"$next$key$next$element$next"*) ;; *) continue ;; esac
    # Only the runner has a handler; the signal would end any other process.
    caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$pid/status" 2> /dev/null)
    [ $(( 0x${caught:-0} >> (signal - 1) & 1 )) -eq 1 ] || continue
    found "$pid" "${words%%"$next"*}"
done
