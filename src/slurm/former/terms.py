"""Former home of the settings of a task."""

from slurm.tasks.settings import Settings as Terms  # noqa: F401
