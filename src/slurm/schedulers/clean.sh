# shellcheck shell=sh
# Unset variables that change the output or behaviour of Slurm's commands.
for name in $(env | sed -n 's/^\([A-Z]*_[A-Za-z0-9_]*\)=.*/\1/p'); do
    case $name in
        SQUEUE_*|SACCT_*|SACCTMGR_*|SCANCEL_*|SCONTROL_*|SINFO_*|GREP_*|SLURM_DEBUG_FLAGS) unset "$name" ;;
    esac
done
unset SLURM_CLUSTERS CDPATH
LC_ALL=C SLURM_BITSTR_LEN=0 SLURM_TIME_FORMAT=%s; export LC_ALL SLURM_BITSTR_LEN SLURM_TIME_FORMAT
