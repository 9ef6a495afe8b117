"""Former home of `Job` handles."""

from slurm.jobs.job import revive  # noqa: F401
