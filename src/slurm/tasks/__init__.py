"""Tasks: the objects that a decorator makes of functions, and the settings that they carry."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slurm.tasks.task import Task as Task
    from slurm.tasks.task import Workflow as Workflow


def __getattr__(name: str) -> object:
    """Return classes that pickles of earlier versions look for in this module."""
    if name in ("Task", "Workflow"):
        from slurm.tasks import task  # noqa: PLC0415 - a node that needs none loads none

        return getattr(task, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
