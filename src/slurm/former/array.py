"""Former home of `JobArray` handles."""

from slurm.jobs.array import revive  # noqa: F401
