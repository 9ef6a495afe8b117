# shellcheck shell=sh
# Functions that queue the blocks of a submission. Their calls follow this text.
. scrub.sh
slurmtasks_newline='
'

# own_script PATH: refuses a script of another user. The scheduler itself reports one that is missing.
own_script() {
    [ ! -e "$1" ] || [ -O "$1" ] || { printf '%s\n' "$1 is not yours, so it is not queued" >&2; exit 1; }
}

# queue FORM COMMAND…: runs a submit command and prints the id in its output. FORM is the form of an id. Sets
# slurmtasks_id, and slurmtasks_cluster to the cluster in the id. Jobs inherit exported variables, so these have names
# that no user chooses.
# It is unknown what a command queued that prints no id, several ids, or an id although it fails: then this program
# prints the output as errors and exits with the command's status.
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
        # shellcheck disable=SC2034 # the lines after this text use it
        case $slurmtasks_id in
            *";"*) slurmtasks_cluster=${slurmtasks_id#*;} ;;
            *) slurmtasks_cluster= ;;
        esac
    else
        printf '%s\n' "$slurmtasks_output" >&2
        exit "$slurmtasks_status"
    fi
}
