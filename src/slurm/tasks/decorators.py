"""The decorators that make a function a task or a workflow.

A node imports this module with the user's modules, so this module imports little itself.
"""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING
from slurm.tasks.settings import Settings
from slurm.tasks.task import Task, Workflow
from slurm.tracebacks import about_the_caller, ends_at_the_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

    from typing_extensions import Unpack

    from slurm.options.types import OtherKeywords, TaskKeywords
    from slurm.runner.job_context import JobContext
    from slurm.runner.workflow_context_builder import WorkflowContext

    P = ParamSpec("P")
    R = TypeVar("R")
    C = TypeVar("C", covariant=True)

    # Type checkers compare names: the name of the parameter distinguishes a context from a parameter for any object.

    class TakesJobContext(Protocol[P, C]):
        """A function whose first parameter is `ctx: JobContext`, which calls of the task leave out."""

        def __call__(self, ctx: JobContext, *args: P.args, **kwargs: P.kwargs) -> C:
            """Call the function."""

    class TakesWorkflowContext(Protocol[P, C]):
        """A function whose first parameter is `ctx: WorkflowContext`, which calls of the workflow leave out."""

        def __call__(self, ctx: WorkflowContext, *args: P.args, **kwargs: P.kwargs) -> C:
            """Call the function."""

    class TaskDecorator(Protocol):
        """`@task(…)`."""

        @overload
        def __call__(self, function: TakesJobContext[P, R], /) -> Task[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    class GatheringTaskDecorator(Protocol):
        """`@task(…, gather=True)`."""

        @overload
        def __call__(self, function: TakesJobContext[P, R], /) -> Task[P, list[R], R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> Task[P, list[R], R]: ...

    class WorkflowDecorator(Protocol):
        """`@workflow(…)`."""

        @overload
        def __call__(self, function: TakesWorkflowContext[P, R], /) -> Workflow[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> Workflow[P, R]: ...


if TYPE_CHECKING:

    @overload
    def task(function: TakesJobContext[P, R], /) -> Task[P, R]: ...
    @overload
    def task(function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(*, gather: Literal[True], **options: Unpack[OtherKeywords]) -> GatheringTaskDecorator: ...
    @overload
    def task(*, gather: Literal[False] | None = ..., **options: Unpack[OtherKeywords]) -> TaskDecorator: ...
    @overload
    def task(*, gather: bool, **options: Unpack[OtherKeywords]) -> Callable[[Callable[P, R]], Task[P, Any, R]]: ...


@ends_at_the_caller
def task(function: Any = None, /, **options: Any) -> Any:
    """Make a function a task: `@task`, or `@task(time="1:00:00", mem="4G")` with options by sbatch's long names.

    `environment` is the environment of the task in place of its cluster's: one environment, or a list to be combined.
    `callbacks` receive the events of all its calls, as the callbacks of its cluster do. Raises OptionError for an
    option that sbatch does not have or would reject, and TypeError for a method, a generator or a coroutine.
    """
    return _decorator(Task, "task", function, options)


if TYPE_CHECKING:

    @overload
    def workflow(function: TakesWorkflowContext[P, R], /) -> Workflow[P, R]: ...
    @overload
    def workflow(function: Callable[P, R], /) -> Workflow[P, R]: ...
    @overload
    def workflow(**options: Unpack[TaskKeywords]) -> WorkflowDecorator: ...


@ends_at_the_caller
def workflow(function: Any = None, /, **options: Any) -> Any:
    """Make a function a workflow, a task that may call tasks while it runs: `@workflow`, or with options.

    Its tasks run on the same cluster, as separate jobs. If the workflow runs again, because it was requeued or its node
    failed, its calls find the jobs that they have submitted before. Raises as `task` does.
    """
    return _decorator(Workflow, "workflow", function, options)


def _decorator(kind: type[Task[..., Any]], name: str, function: Any, options: Mapping[str, Any]) -> Any:
    terms = Settings.parse(options)

    @ends_at_the_caller
    def make(function: Any) -> Task[..., Any]:
        refuse_what_is_no_function(function, name)
        return kind(function, terms)

    return make if function is None else make(function)


def refuse_what_is_no_function(function: Any, name: str) -> None:
    """Raise TypeError for a class, a method, a partial of a task, and an object that is not callable."""
    inner = getattr(function, "func", None)  # of a `functools.partial`
    if isinstance(inner, Task):
        message = (
            f"{name}(functools.partial({inner.name}, …)): write functools.partial({inner.name}.unwrapped, …) in it"
        )
        raise about_the_caller(TypeError(message))
    if isinstance(function, (staticmethod, classmethod)) or not callable(function) or isinstance(function, type):
        message = f"@{name} takes plain functions, not {function!r:.200}"
        if name == "command" and isinstance(function, (list, tuple)):
            message = f"command(…) takes one text, not {function!r:.200}: write command({_one_text(function)!r})"
        raise about_the_caller(TypeError(message))
    outside = getattr(function, "__qualname__", "").rpartition(".")[0]
    if outside and not outside.endswith("<locals>") and not hasattr(function, "__self__") and _is_python(function):
        message = (
            f"{function.__qualname__} is a method. A {name} must be a plain function, which takes all that it needs as "
            f"arguments: define it outside of class {outside.rpartition('.')[2]}, and call it from the method"
        )
        raise about_the_caller(TypeError(message))


def _one_text(words: Iterable[object]) -> str:
    import shlex  # noqa: PLC0415 - only for an error

    return shlex.join(map(str, words))


def _is_python(function: Any) -> bool:
    return hasattr(function, "__code__")
