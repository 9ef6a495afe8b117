# shellcheck shell=sh
# Prints the stacks of the processes of a call. Arguments: key, element, signal of faulthandler.
key=$1 element=$2 signal=$3 some=
here=$(uname -n)
# shellcheck disable=SC2317,SC2329 # processes.sh calls it
found() {
    some=yes
    echo "==> process $1 on $here <=="
    spy=$(command -v "$(dirname "$2")/py-spy" || command -v py-spy)
    if [ -n "$spy" ] && stacks=$("$spy" dump --pid "$1"); then
        printf '%s\n' "$stacks" | sed '/^Process /,/^Python v/ { /^Python v/!d; }'  # without the program of the runner
        return
    fi
    log=$(readlink "/proc/$1/fd/2")
    [ -f "$log" ] || { kill "-$signal" "$1"; echo "the stacks are in the log of the job"; return; }
    before=$(wc -c < "$log") tries=0
    kill "-$signal" "$1"
    while [ "$(wc -c < "$log")" -eq "$before" ] && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$(( tries + 1 ))
    done
    sleep 0.2
    tail -c "+$(( before + 1 ))" "$log"
}
. ./processes.sh
[ -n "$some" ] || { echo "no process of the call was found on $here" >&2; exit 1; }
