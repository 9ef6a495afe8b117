# shellcheck shell=sh
# Prints the states of jobs and of the elements of arrays: OpenPBS in JSON, Torque as text. The last line is "end".
# Arguments: ids; without them, all jobs of the user that wait or run are meant.
if [ $# = 0 ]; then
    ids=$(qselect -u "$(id -un)") || exit
    # shellcheck disable=SC2086 # ids without blanks
    set -f -- $ids
fi
exec 3>&1
status=0 errors=''
if [ $# != 0 ]; then
    case $(qstat --version 2>&1) in
        *pbs_version*)
            errors=$(qstat -x -t -f -F json "$@" 2>&1 >&3); status=$?
            case $errors in *"job history"*|*job_history_enable*)
                errors=$(qstat -t -f -F json "$@" 2>&1 >&3); status=$? ;;
            esac
            ;;
        *) errors=$(qstat -t -f "$@" 2>&1 >&3); status=$? ;;
    esac
fi
[ -z "$errors" ] || printf '%s\n' "$errors" >&2
printf '\nend\n'
exit "$status"
