# shellcheck shell=sh
# Prints the clusters where jobs go that don't say where, and the controller's configuration.
echo "clusters=${SLURM_CLUSTERS:-${SBATCH_CLUSTERS-}}"
. clean.sh
exec scontrol show config
