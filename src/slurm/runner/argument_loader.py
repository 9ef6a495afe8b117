"""ArgumentLoader: from the submission's calls, the one that this element is to make."""

from __future__ import annotations

import os
import sys
from _io import BytesIO
from _pickle import Unpickler  # `pickle` re-exports it, at the price of importing `re`
from functools import partial

from slurm.protocol import CALLS, INDEX, OFFSET_BYTES
from slurm.protocol.files import open_own
from slurm.protocol.records import TYPE_CHECKING, Record
from slurm.runner.job_context import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import IO, Any

    Resolve = Callable[[Any], Any]


class Call(Record):
    """A function and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: tuple[str, int | None] | None = None
    """The parameter that is given the context, if the function has one: its name, and its place if it has one."""
    edges: tuple[Any, ...] = ()
    """What `.after(…)` named: tuples of key, on, indices, and how many calls an element makes."""
    workflow: bool = False

    def make(self, context: object) -> Any:
        """Call the function, with the context in its place if it has a parameter for that."""
        args, kwargs = self.args, self.kwargs
        if self.context:
            name, place = self.context
            if place is None or place > len(args):
                kwargs = {**kwargs, name: context}
            else:
                args = (*args[:place], context, *args[place:])
        me = os.getpid()
        try:
            return self.function(*args, **kwargs)
        finally:
            if os.getpid() != me:
                _end_child()


class ArgumentLoader:
    """Reads one call out of `calls.pkl`, whatever the number of calls in it."""

    def __init__(self, directory: str, resolve: Resolve) -> None:
        self._directory = directory
        self._resolve = resolve

    def load(self, index: int) -> Call:
        """The call of element `index`, its placeholders replaced by what `resolve` gives for them.

        Raises UntrustedFile if others could have written the calls, and whatever unpickling raises.
        """
        head_at, call_at = self._offsets(index)
        with open_own(f"{self._directory}/{CALLS}") as calls:
            function, context, edges, *more = self._unpickle(calls, head_at)
            args, kwargs = self._unpickle(calls, call_at)
        return Call(function=function, args=args, kwargs=kwargs, context=context, edges=edges, workflow=bool(more))

    def load_many(self, first: int, most: int) -> Iterator[Callable[[], Call]]:
        """For each of up to `most` calls from `first`, what loads it: one may fail where the next does not.

        The function is loaded at once; the arguments are read in one go.
        """
        with open_own(f"{self._directory}/{INDEX}") as offsets, open_own(f"{self._directory}/{CALLS}") as calls:
            head = int.from_bytes(offsets.read(OFFSET_BYTES), "little")
            offsets.seek((first + 1) * OFFSET_BYTES)
            packed = offsets.read((most + 1) * OFFSET_BYTES)
            at = [int.from_bytes(packed[i : i + OFFSET_BYTES], "little") for i in range(0, len(packed), OFFSET_BYTES)]
            function, context, edges = self._unpickle(calls, head)
            calls.seek(at[0])
            data = BytesIO(calls.read(at[-1] - at[0]))

        def load(offset: int) -> Call:
            args, kwargs = self._unpickle(data, offset)
            return Call(function=function, args=args, kwargs=kwargs, context=context, edges=edges)

        return (partial(load, begin - at[0]) for begin in at[:-1])

    def _offsets(self, index: int) -> tuple[int, int]:
        with open_own(f"{self._directory}/{INDEX}") as offsets:
            head = offsets.read(OFFSET_BYTES)
            offsets.seek((index + 1) * OFFSET_BYTES)
            call, end = offsets.read(OFFSET_BYTES), offsets.read(OFFSET_BYTES)
        if len(end) < OFFSET_BYTES:
            message = f"{self._directory}/{INDEX} has no call {index}"
            raise IndexError(message)
        return int.from_bytes(head, "little"), int.from_bytes(call, "little")

    def _unpickle(self, calls: IO[bytes], offset: int) -> Any:
        calls.seek(offset)
        return unpickled(calls, self._resolve)


def _end_child() -> None:
    """End a child that the function has forked and let return, or raise: the call is its parent's to tell of."""
    import traceback  # noqa: PLC0415 - seldom needed

    error = sys.exc_info()[0] is not None
    if error:
        say(traceback.format_exc())
    os._exit(int(error))


def unpickled(file: IO[bytes], resolve: Resolve) -> Any:
    """What was pickled there, its placeholders replaced by what `resolve` gives for them."""
    return _Unpickler(file, resolve).load()


class _Unpickler(Unpickler):
    def __init__(self, file: IO[bytes], resolve: Resolve) -> None:
        super().__init__(file)
        self._resolve = resolve

    def persistent_load(self, reference: Any) -> Any:
        return self._resolve(reference)


def unwrapped(module: str, qualname: str) -> Callable[..., Any]:
    """The plain function of a task that stands under a name in an installed module: how its pickle finds it."""
    __import__(module)
    found: Any = sys.modules[module]
    for name in qualname.split("."):
        found = getattr(found, name)
    function: Callable[..., Any] = found.unwrapped
    return function
