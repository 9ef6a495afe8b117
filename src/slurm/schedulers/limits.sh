# shellcheck shell=sh
# Prints the default clusters of jobs, and the controller's configuration.
echo "clusters=${SLURM_CLUSTERS:-${SBATCH_CLUSTERS-}}"
. clean.sh
exec scontrol show config
