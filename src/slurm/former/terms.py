"""Former home of the settings of a task."""

from slurm.tasks.settings import Terms  # noqa: F401
