"""Callback: the base class of callbacks. A node imports this module with the user's callbacks."""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from slurm.callbacks.events import (
        CompletedEvent,
        CompleteEvent,
        PackagingBeginEvent,
        PackagingEndEvent,
        ProgressEvent,
        RunBeginEvent,
        RunEndEvent,
        StateEvent,
        SubmitEvent,
        WorkflowBeginEvent,
        WorkflowEndEvent,
    )


class Callback:
    """A set of hooks that do nothing: override the hooks that you need. Each hook receives one frozen event.

    A hook runs where its event happens. Client hooks run one at a time, in a separate thread. Node hooks run in the
    job's process, on a pickled copy of the callback. An exception in a hook is reported and has no other effect.
    """

    seconds = 60.0
    """The time limit of a hook on a node, in seconds."""
    unused: Collection[str] = ()
    """Overridden hooks that this object does not use. They are treated as not overridden."""

    # On the client.

    def on_packaging_begin(self, event: PackagingBeginEvent) -> None:
        """Called before this process builds an environment."""

    def on_packaging_end(self, event: PackagingEndEvent) -> None:
        """Called when the build of an environment has succeeded or failed."""

    def on_submit(self, event: SubmitEvent) -> None:
        """Called when a submission is queued."""

    def on_state(self, event: StateEvent) -> None:
        """Called when elements of a submission have changed their states."""

    def on_complete(self, event: CompleteEvent) -> None:
        """Called when an element has finished, once for each element in every process that tracks it."""

    def on_progress(self, event: ProgressEvent) -> None:
        """Called when a task has reported its progress by `ctx.progress`."""

    def close(self) -> None:
        """Release resources at the end of the program. Called once, after the last hook."""

    # On the node.

    def on_run_begin(self, event: RunBeginEvent) -> None:
        """Called when an attempt of an element begins, before the function is imported."""

    def on_workflow_begin(self, event: WorkflowBeginEvent) -> None:
        """Called before a workflow's function is called."""

    def on_workflow_end(self, event: WorkflowEndEvent) -> None:
        """Called when a workflow's function has returned or raised."""

    def on_run_end(self, event: RunEndEvent) -> None:
        """Called when an attempt of an element has finished and its result or failure is saved."""

    def on_completed(self, event: CompletedEvent) -> None:
        """Called when an element has finished and no further attempt follows."""


PACKAGING_HOOKS = ("on_packaging_begin", "on_packaging_end")
SUBMISSION_HOOKS = ("on_submit", "on_state", "on_complete", "on_progress")
NODE_HOOKS = ("on_run_begin", "on_workflow_begin", "on_workflow_end", "on_run_end", "on_completed")


def checked(callbacks: Iterable[object]) -> tuple[Callback, ...]:
    """Return the callbacks as a tuple. Raises TypeError for an object that is not a Callback."""
    valid = []
    for callback in callbacks:
        if not isinstance(callback, Callback):
            # The value itself, such as a URL, may be a secret: the error message shows only its type.
            kind = type(callback).__name__
            found = (
                f"{callback!r}: {callback.__name__}(…)?" if isinstance(callback, type) else f"a value of type {kind}"
            )
            raise TypeError(f"callbacks are objects of subclasses of slurm.Callback, not {found}")
        _warn_of_unknown_hooks(type(callback))
        valid.append(callback)
    return tuple(valid)


def _warn_of_unknown_hooks(kind: type[Callback]) -> None:
    """Warn of methods `on_…` that are no hooks, because nothing calls them."""
    hooks = (*PACKAGING_HOOKS, *SUBMISSION_HOOKS, *NODE_HOOKS)
    for name in dir(kind):
        if name.startswith("on_") and name not in hooks:
            from difflib import get_close_matches  # noqa: PLC0415 - only for a mistake
            from warnings import warn  # noqa: PLC0415 - as above

            near = get_close_matches(name, hooks, n=1)
            advice = f"did you mean {near[0]}?" if near else f"the hooks are {', '.join(hooks)}"
            warn(f"{kind.__name__}.{name} is never called, because there is no such hook: {advice}", stacklevel=2)


def merge(*several: Iterable[Callback]) -> tuple[Callback, ...]:
    """Concatenate callbacks. An object that occurs several times is kept only once, at its first position."""
    return tuple({id(callback): callback for callbacks in several for callback in callbacks}.values())


def overrides(callback: Callback, hooks: Iterable[str]) -> bool:
    """Whether a callback overrides and uses any of these hooks."""
    used = (hook for hook in hooks if hook not in callback.unused)
    return any(getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook) for hook in used)
