# shellcheck shell=sh
# Queues a job that runs a script, and prints its id. Arguments: the script's path, the text of the job, options of
# OpenPBS's qsub and of Torque's as shell text, and dependencies such as afterok:12.server:13[].server.
script=$1 job=$2 openpbs=$3 torque=$4
shift 4
[ -r "$script" ] || { printf 'qsub: there is no script %s\n' "$script" >&2; exit 1; }
. scrub.sh
set -f
case $(qstat --version 2>&1) in
    *pbs_version*) arguments=$openpbs torque='' ;;
    *) arguments=$torque torque=yes ;;
esac
# A server that has forgotten a job holds those that wait for it for ever. The runner looks at how such jobs ended.
forgotten='' depend='' jobs='' arrays=''
if [ $# != 0 ]; then
    ids=$(printf '%s\n' "$@" | sed 's/^[^:]*://; s/:/ /g')
    # shellcheck disable=SC2086 # ids without blanks
    forgotten=" $(qstat $ids 2>&1 > /dev/null | sed -n 's/.*Unknown Job Id.* //p' | tr '\n' ' ')"
fi
for term; do
    left=''
    IFS=:
    for id in ${term#*:}; do
        case $forgotten in *" $id "*) continue ;; esac
        # Torque has other words for arrays. What it does with a dependency that fails depends on its release and its
        # settings, so jobs wait for the end only. The runner looks at how each job ended.
        case $torque$id in
            yes*"[]"*) arrays=$arrays:$id ;;
            yes*) jobs=$jobs:$id ;;
            *) left=$left:$id ;;
        esac
    done
    unset IFS
    depend=$depend${left:+,${term%%:*}$left}
done
depend=$depend${jobs:+,afterany$jobs}${arrays:+,afteranyarray$arrays}
eval "set -- $arguments"
[ -z "$depend" ] || set -- "$@" -W "depend=${depend#,}"
# The client's variables are part of the job: with qsub -V, qstat would list their values. A job has its own values of
# the variables that are left out.
environment=$(
    for name in $(env | sed -n 's/^\(PBS_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
    unset NCPUS TMPDIR HOSTNAME CUDA_VISIBLE_DEVICES GPU_DEVICE_ORDINAL ROCR_VISIBLE_DEVICES ZE_AFFINITY_MASK
    export -p
)
printf '%s\n%s\n' "$environment" "$job" | qsub -S /bin/bash -j oe -o /dev/null -m n -r n "$@"
# An error of PBS from 15001 to 15102 ends qsub with a status from 153 on, which other code takes for that of a signal.
status=$?
[ "$status" -lt 153 ] || exit 1
exit "$status"
