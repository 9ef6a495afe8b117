# shellcheck shell=sh
# Runs a command in the allocation of a running job. Arguments: id, cluster or "", --pty or "", command.
element=$1 cluster=$2 pty=$3
shift 3
# srun takes no id of a task of an array, such as 12_3. With a cluster, squeue prints its name first.
if [ "${element%%_*}" -ge 67108864 ] && [ -z "$cluster" ]; then # of a federation: ask for the cluster that runs it
    cluster=$(squeue --federation --sibling --noheader --states=running --Format=Cluster:100 --jobs="$element")
    cluster=${cluster%% *}
fi
id=$(squeue ${cluster:+"--clusters=$cluster"} --noheader --states=running --format=%A --jobs="$element" | tail -n 1)
[ -n "$id" ] || { echo "job $element does not run" >&2; exit 1; }
exec srun ${cluster:+"--clusters=$cluster"} --jobid="$id" --overlap --nodes=1 --ntasks=1 ${pty:+"$pty"} "$@"
