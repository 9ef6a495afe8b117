# shellcheck shell=sh
# Prints the user's elements in the queue, the details of their jobs, the jobs that have just ended, and the accounting of the given ids. The last line
# is "end". Arguments: ids; without them, all jobs of the user are meant, and no accounting is printed.
queue=$(qstat -xml -u "$(id -un)") || exit
printf '%s\n' "$queue"
queued=$(printf '%s\n' "$queue" | sed -n 's:.*<JB_job_number>\([0-9]*\)</JB_job_number>.*:\1:p' | sort -un)
details=
[ $# = 0 ] || queued=$*
for id in $queued; do
    details=$details${details:+,}${id%%.*}
done
[ -z "$details" ] || qstat -xml -j "$details" || exit
[ $# = 0 ] || qstat -xml -s z -u "$(id -un)" || exit
for id; do
    qacct -j "${id%%.*}" 2> /dev/null
done
printf '\nend\n'
