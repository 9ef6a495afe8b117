# shellcheck shell=sh
# Within a job, unset the SLURM_ variables that the job and its script have set: sbatch would apply them to the new job.
# Keep the user's own configuration.
if [ -n "${SLURM_JOB_ID:-}" ]; then
    for name in $(env | sed -n 's/^\(SLURM_[A-Za-z0-9_]*\)=.*/\1/p'); do
        case $name in SLURM_CONF*|SLURM_CLUSTERS|SLURM_JWT|SLURM_TIME_FORMAT) ;; *) unset "$name" ;; esac
    done
    [ "${OMP_NUM_THREADS:-}" != "${SRUN_CPUS_PER_TASK:-}" ] || unset OMP_NUM_THREADS
    [ "${PYTHONHASHSEED:-}" != 0 ] || unset PYTHONHASHSEED
    unset SRUN_CPUS_PER_TASK MASTER_ADDR MASTER_PORT RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE NODE_RANK \
        SLURMTASKS_STDERR
fi
