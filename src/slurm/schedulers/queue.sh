# shellcheck shell=sh
# Queue the blocks of a submission, and write down their ids. Calls of these functions follow this text.
. scrub.sh
slurmtasks_newline='
'

# own_script PATH: refuses a script of another user. One that is missing is left to the scheduler, which reports it.
own_script() {
    [ ! -e "$1" ] || [ -O "$1" ] || { printf '%s\n' "$1 is not yours, so it is not queued" >&2; exit 1; }
}

# queue FORM COMMAND…: runs a submit command, and prints the id that it printed. FORM is the form of an id. Sets
# slurmtasks_id, and slurmtasks_cluster to the cluster in the id. Jobs inherit all variables that a user exports, so
# these have names that no user chooses.
# A command that prints no id, more than one, or one and fails, leaves open what it has queued: all its output is
# printed as errors, and its status ends this program.
queue() {
    slurmtasks_form=$1
    shift
    slurmtasks_output=$("$@" < /dev/null); slurmtasks_status=$?
    slurmtasks_id=$(printf '%s\n' "$slurmtasks_output" |
        LC_ALL=C sed -n -E "s/^[[:space:]]*($slurmtasks_form)[[:space:]]*\$/\1/p")
    if [ "$slurmtasks_status" -eq 0 ] && [ -n "$slurmtasks_id" ] &&
        [ "$slurmtasks_id" = "${slurmtasks_id%%"$slurmtasks_newline"*}" ]
    then
        printf '%s\n' "$slurmtasks_id"
        # shellcheck disable=SC2034 # the calls of this function use it
        case $slurmtasks_id in
            *";"*) slurmtasks_cluster=${slurmtasks_id#*;} ;;
            *) slurmtasks_cluster= ;;
        esac
    else
        printf '%s\n' "$slurmtasks_output" >&2
        exit "$slurmtasks_status"
    fi
}
