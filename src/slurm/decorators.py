"""The decorators: what makes a function a task.

A node imports this module with the user's own, so it imports little itself.
"""

from __future__ import annotations

from slurm.callbacks.base import checked
from slurm.options import Options
from slurm.records import TYPE_CHECKING
from slurm.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ParamSpec, TypeVar, overload

    from typing_extensions import Unpack

    from slurm.callbacks.base import Callback
    from slurm.option_types import TaskOptions

    P = ParamSpec("P")
    R = TypeVar("R")

if TYPE_CHECKING:

    @overload
    def task(function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        *, callbacks: Iterable[Callback] = (), **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(function: Any = None, /, *, callbacks: Iterable[Callback] = (), **options: Any) -> Any:
    """Make a function a task: `@task`, or `@task(time="1:00:00", mem="4G")` with options by sbatch's long names.

    `callbacks` are told of all its calls. Raises OptionError for an option that sbatch doesn't have or wouldn't take,
    and TypeError for a method.
    """
    parsed, hooks = Options.parse(options), checked(callbacks)

    def make(function: Any) -> Task[..., Any]:
        _refuse_what_is_no_function(function)
        return Task(function, parsed, hooks)

    return make if function is None else make(function)


def _refuse_what_is_no_function(function: Any) -> None:
    if isinstance(function, (staticmethod, classmethod)) or not callable(function) or isinstance(function, type):
        message = f"@task makes tasks of plain functions, not of {function!r}"
        raise TypeError(message)
    outside = getattr(function, "__qualname__", "").rpartition(".")[0]
    if outside and not outside.endswith("<locals>") and not hasattr(function, "__self__") and _is_python(function):
        message = (
            f"{function.__qualname__} is a method. A task must be a plain function, which takes all that it needs as "
            f"arguments: define it outside of class {outside.rpartition('.')[2]}, and call it from the method"
        )
        raise TypeError(message)


def _is_python(function: Any) -> bool:
    return hasattr(function, "__code__")
