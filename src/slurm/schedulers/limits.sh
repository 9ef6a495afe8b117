# shellcheck shell=sh
# Prints the clusters that jobs go to by default, and the controller's configuration.
echo "clusters=${SLURM_CLUSTERS:-${SBATCH_CLUSTERS-}}"
. clean.sh
exec scontrol show config
