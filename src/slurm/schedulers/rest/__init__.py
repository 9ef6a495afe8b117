"""The program that sends requests to slurmrestd, for `slurm.schedulers.slurm_rest`."""
