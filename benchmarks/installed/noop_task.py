"""A task that does nothing, in an installed module."""

from slurm import task


@task
def nothing(_: object = None) -> None:
    """Do nothing."""
