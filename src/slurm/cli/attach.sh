# shellcheck shell=sh
# Makes debugpy listen in the process of a call. Prints the id, host, Python and address of the process, each in one line.
# Arguments: key, element, signal, process id or empty, seconds.
key=$1 element=$2 signal=$3 wanted=$4 seconds=$5 some='' python=''
here=$(uname -n)
# shellcheck disable=SC2317,SC2329 # processes.sh calls it
found() {
    [ -z "$wanted" ] || [ "$wanted" = "$1" ] || return
    some="$some $1" python=$2
}
. ./processes.sh
# shellcheck disable=SC2086 # a word for each process
set -- $some
case $# in
    0) echo "no process ${wanted:+$wanted }of the call on $here takes the signal of --attach" >&2; exit 1 ;;
    1) ;;
    *) echo "the call has several processes on $here: name one, as --process $1; the others are${some#" $1"}" >&2; exit 1 ;;
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
