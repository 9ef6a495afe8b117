"""The program that speaks to slurmrestd, for `slurm.schedulers.slurm_rest`. It needs the standard library only."""
