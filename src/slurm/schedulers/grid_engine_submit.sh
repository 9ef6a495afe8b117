# shellcheck shell=sh
# Queues a job that runs a script, and prints its id. Arguments: the script's path, the text of the job, options of qsub.
script=$1 job=$2
shift 2
[ -r "$script" ] || { printf 'qsub: there is no script %s\n' "$script" >&2; exit 1; }
. scrub.sh
output=$(printf '%s\n' "$job" | qsub -terse -V -cwd -S /bin/bash -j y -o /dev/null "$@") || exit
# An array's id is printed with its range: 12.1-3:1.
printf '%s\n' "$output" | sed 's/^\([0-9][0-9]*\)\.[0-9].*/\1/'
