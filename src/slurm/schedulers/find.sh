# shellcheck shell=sh
# Prints the user's own jobs in any state. Argument: the option `clusters` of the jobs.
# sbatch reads both variables, squeue only the first; sbatch(1), squeue(1).
clusters=${1:-${SLURM_CLUSTERS:-${SBATCH_CLUSTERS-}}}
. clean.sh
exec squeue --states=all --me --format='%F|%k|%o' ${clusters:+--clusters="$clusters"}
