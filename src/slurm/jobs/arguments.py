"""Arguments: read the arguments of calls, in any process."""

from __future__ import annotations

import inspect
import io
import pickle
from typing import IO, TYPE_CHECKING, Any

from slurm.jobs.job import Job, JobArray
from slurm.protocol import CALLS
from slurm.runner.argument_loader import ArgumentLoader
from slurm.storage.put import Put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurm.runner.argument_loader import Script
    from slurm.serialization.calls import Calls
    from slurm.views.status import Part


class StoredCalls(ArgumentLoader):
    """Loads calls on a client: jobs among their arguments stay jobs, and the script's modules are not set up."""

    def __init__(self, part: Part, calls: Calls) -> None:
        super().__init__(part.state.key, self._handle)
        self._part, self._calls = part, calls
        self._head: dict[str, Any] | None = None

    def arguments(self, number: int) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments of call `number` among those that were read. Raises any exception of unpickling."""
        with self._open(CALLS) as calls:
            args, kwargs, *_ = self._unpickle(calls, self._offsets(number)[1])
        return args, kwargs

    def function(self, number: int) -> tuple[Callable[..., Any], tuple[str, int | None] | None]:
        """Return the function of a call, and its parameter for the context. Raises any exception of unpickling."""
        if self._head is None:
            with self._open(CALLS) as calls:
                self._head = self._load_head(calls, self._offsets(0)[0])
        function, context, of = self._head["function"], self._head["context"], self._part.state.functions
        which = of.calls[self._part.indices[number]] if of else None
        return (function, context) if which is None else (function[which], context[which])

    def script(self) -> Script:
        """Return the arguments, the search path and the modules of the script that has submitted the calls."""
        with self._open(CALLS) as calls:
            found: Script = pickle.load(calls)  # noqa: S301 - the user's own file, checked when it was read
        return found

    def _open(self, name: str) -> IO[bytes]:
        return io.BytesIO(self._calls.data if name == CALLS else self._calls.offsets)

    def resolve(self, handle: Any) -> Any:
        """Return what replaces a handle among the arguments; here, the handle itself."""
        return handle

    def _handle(self, reference: tuple[Any, ...]) -> Any:
        """Return the job, array or put that an argument refers to."""
        kind, key, which, chunk = reference
        place = self._part.place
        if kind == "put":
            what, _, sha256 = key.partition("/")
            return self.resolve(Put(what, sha256, chunk, self._part.url))
        state = place.registry.get(key)
        return self.resolve(Job(place, state, which) if kind == "job" else JobArray(place, state, range(*which)))


def arguments(part: Part) -> list[dict[str, Any]]:
    """Read and unpickle the arguments of calls, by the names of their parameters. Takes one command.

    If the function cannot be loaded here (its module is missing), positional arguments are named "0", "1" and so on.
    Raises NoSuchJob, and any exception of unpickling an argument.
    """
    if not part.indices:
        return []
    stored = StoredCalls(part, part.place.store.calls(part.state.key, part.indices))
    several, known = part.state.functions is not None, _parameters(stored, 0)
    return [
        _named(_parameters(stored, number) if several else known, *stored.arguments(number))
        for number in range(len(part.indices))
    ]


def _parameters(stored: StoredCalls, number: int) -> list[inspect.Parameter]:
    """The parameters of a call's function, without the one for the context; none if it cannot be loaded here."""
    try:
        function, context = stored.function(number)
        parameters = list(inspect.signature(function).parameters.values())
    except Exception:  # noqa: BLE001 - the user's modules may raise anything when they are imported
        return []
    return [each for each in parameters if not context or each.name != context[0]]


def _named(parameters: Sequence[inspect.Parameter], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return inspect.Signature(parameters).bind(*args, **kwargs).arguments
    except TypeError:  # the function on this machine is another one
        return {**{str(position): value for position, value in enumerate(args)}, **kwargs}
