"""Callback: the base class of hooks. A node imports it with the user's own."""

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
    """Hooks that do nothing: override those that you want. Each is given one frozen event.

    Hooks run where their event happens. Those of the client run one at a time, in a thread of their own. Those of a
    node run in the job's own process, on a copy of the callback that travels with the submission. What a hook raises is
    told of, and changes nothing.
    """

    seconds = 60.0
    """How long a hook may take on a node before it is broken off."""
    unused: Collection[str] = ()
    """Hooks that this object has no use for, though its class has them: they count as not overridden."""

    # On the client.

    def on_packaging_begin(self, event: PackagingBeginEvent) -> None:
        """An environment isn't there yet, and this process makes it."""

    def on_packaging_end(self, event: PackagingEndEvent) -> None:
        """An environment was made, or couldn't be."""

    def on_submit(self, event: SubmitEvent) -> None:
        """A submission has been queued."""

    def on_state(self, event: StateEvent) -> None:
        """Elements of a submission were seen to change their states."""

    def on_complete(self, event: CompleteEvent) -> None:
        """An element has ended; called once for each in every process that watches."""

    def on_progress(self, event: ProgressEvent) -> None:
        """A task has told how far it is, by `ctx.progress`."""

    def close(self) -> None:
        """The program ends: let go of what is held. Called once, after the last hook."""

    # On the node.

    def on_run_begin(self, event: RunBeginEvent) -> None:
        """An attempt of an element begins, before the function is imported."""

    def on_workflow_begin(self, event: WorkflowBeginEvent) -> None:
        """A workflow's function is about to be called."""

    def on_workflow_end(self, event: WorkflowEndEvent) -> None:
        """A workflow's function has returned or raised."""

    def on_run_end(self, event: RunEndEvent) -> None:
        """An attempt of an element has ended, and its result or failure is saved."""

    def on_completed(self, event: CompletedEvent) -> None:
        """An element has ended for good; no attempt follows."""


PACKAGING_HOOKS = ("on_packaging_begin", "on_packaging_end")
SUBMISSION_HOOKS = ("on_submit", "on_state", "on_complete", "on_progress")
NODE_HOOKS = ("on_run_begin", "on_workflow_begin", "on_workflow_end", "on_run_end", "on_completed")


def checked(callbacks: Iterable[object]) -> tuple[Callback, ...]:
    """Callbacks as they are kept. Raises TypeError for what is none."""
    right = []
    for callback in callbacks:
        if not isinstance(callback, Callback):
            found = f"{callback!r}: {callback.__name__}(…)?" if isinstance(callback, type) else _kind(callback)
            message = f"callbacks are objects of subclasses of slurm.Callback, not {found}"
            raise TypeError(message)
        right.append(callback)
    return tuple(right)


def _kind(value: object) -> str:
    """What kind of value it is; the value itself, such as a URL, may be a secret."""
    return f"a value of type {type(value).__name__}"


def together(*several: Iterable[Callback]) -> tuple[Callback, ...]:
    """Callbacks of several places, in order, each once."""
    return tuple({id(callback): callback for callbacks in several for callback in callbacks}.values())


def has(callback: Callback, hooks: Iterable[str]) -> bool:
    """Whether a callback overrides any of these hooks, and uses it."""
    used = (hook for hook in hooks if hook not in callback.unused)
    return any(getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook) for hook in used)
