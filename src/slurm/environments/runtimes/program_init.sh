# shellcheck shell=sh
# The first process of a container for a program. A shell of the cluster runs it, because the image may have none.
# Each line of the control pipe names a signal for all processes of the program. Its end means that the job is gone.
# Arguments: the control pipe; files for output and errors ("": those of the container), for input, and for the exit
# status; the words.
# `kill -- -1` reaches all other processes but process 1: outside of a process namespace it would end those of the user.
[ $$ = 1 ] || { echo "a program's container needs process ids of its own: remove --pid or --init" >&2; exit 125; }
cd -- "${1%/*}" || exit 125 # an OCI bundle cannot name the working directory
# Opened for writing at first: otherwise this would wait for a writer if the job is gone already.
exec 3<> "$1" && exec 4< "$1" 3< "$4" || exit 125
[ -z "$2" ] || exec >> "$2" 2>> "$3"
{
    trap '' HUP INT TERM USR1 USR2 # a runtime may send them to all processes of the container
    while read -r slurmtasks_name; do # the program may not have started yet
        until kill -s "$slurmtasks_name" -- -1 2> /dev/null; do :; done
    done
    until kill -s KILL -- -1 2> /dev/null; do :; done
} <&4 3<&- 4<&- &
slurmtasks_result=$5
shift 5
(
    # The subshell is the program's: its variables are not those of the shell.
    for slurmtasks_name in ${SLURMTASKS_NAMES-}; do
        eval "export $slurmtasks_name=\"\$SLURMTASKS_VALUE_$slurmtasks_name\""
        unset "SLURMTASKS_VALUE_$slurmtasks_name"
    done
    # shellcheck disable=SC2086 # a list
    unset SLURMTASKS_NAMES ${SLURMTASKS_UNSET-} SLURMTASKS_UNSET
    exec "$@" <&3 3<&- 4<&-
)
set -- $?
echo "$1" > "$slurmtasks_result"
exit "$1"
