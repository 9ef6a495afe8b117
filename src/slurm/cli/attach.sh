# shellcheck shell=sh
# Has debugpy listen in the process of a call. Prints its id, host, Python and address in one line each.
# Arguments: key, element, signal, process id or empty, seconds.
key=$1 element=$2 signal=$3 wanted=$4 seconds=$5 found='' python=''
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
    [ -z "$wanted" ] || [ "$wanted" = "$pid" ] || continue
    found="$found $pid" python=${words%%"$next"*}
done
# shellcheck disable=SC2086 # a word for each process
set -- $found
case $# in
    0) echo "no process ${wanted:+$wanted }of the call on $here takes the signal of --attach" >&2; exit 1 ;;
    1) ;;
    *) echo "the call has several processes on $here: name one, as --process $1; the others are${found#" $1"}" >&2; exit 1 ;;
esac
python=$(command -v "$python" || command -v python3)  # that of a container is not here
log=$(readlink "/proc/$1/fd/2")
[ -f "$log" ] || { echo "the standard error of process $1 is no file: the address cannot be read" >&2; exit 1; }
before=$(wc -c < "$log") tries=0
kill "-$signal" "$1"
while [ "$tries" -lt $(( seconds * 10 )) ]; do
    line=$(tail -c "+$(( before + 1 ))" "$log" | sed -n 's/^slurm debug: //p' | tail -n 1)
    case $line in
        'listening '*) printf '%s\n' "$1" "$here" "$python" "${line#listening }"; exit 0 ;;
        ?*) echo "debugpy does not start in process $1 of $python ($line): install it there, as by pip install 'slurm-tasks[debug]'" >&2
            exit 1 ;;
    esac
    sleep 0.1
    tries=$(( tries + 1 ))
done
echo "process $1 has not answered for $seconds s: its main thread is in code outside of Python, such as a long call of a C library, or waits there" >&2
exit 1
