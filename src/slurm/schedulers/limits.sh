# shellcheck shell=sh
# Prints the default clusters of jobs, the controller's configuration, and its federation.
echo "clusters=${SLURM_CLUSTERS:-${SBATCH_CLUSTERS-}}"
. clean.sh
scontrol show config || exit
# It fails where there is no accounting, and prints nothing where there is no federation.
scontrol show federation 2> /dev/null
exit 0
