"""Former home of `Job` handles."""

from slurm.former.array import revive  # noqa: F401
