"""JoinedArray: the jobs of a map whose calls are spread over several submissions, because some were known before."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from slurm.errors import ConfigurationError
from slurm.jobs.cancel import cancel
from slurm.jobs.completion import when_all_finish
from slurm.jobs.handle import until_error, value_of
from slurm.jobs.job import Job, JobArray
from slurm.jobs.listing import Listing
from slurm.jobs.operators import position
from slurm.jobs.submit import resubmit
from slurm.options import Options
from slurm.places.place import place_for
from slurm.protocol.states import JobState
from slurm.sanitize.numbers import end_of_wait, seconds_until
from slurm.tracebacks import ends_at_the_caller
from slurm.views.overview import overviews
from slurm.views.status import Part

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Unpack

    from slurm.options.types import TaskOptions
    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState

R = TypeVar("R", covariant=True)

_MOST_READ = 64
"""The most calls whose results are read together when they are requested one by one."""


class Piece(NamedTuple):
    """Some calls of one submission. `own` is whether this map submitted them; otherwise it found or joined them."""

    state: SubmissionState
    indices: range
    own: bool


class Call(NamedTuple):
    """One call of a submission; `own` as in `Piece`."""

    state: SubmissionState
    at: int
    """The index of the call in the submission."""
    own: bool


def joined(calls: Sequence[Call]) -> list[Piece]:
    """Combine consecutive calls of one submission into pieces."""
    found: list[Piece] = []
    for call in calls:
        last = found[-1] if found else None
        if last and last.state is call.state and last.indices.stop == call.at:
            found[-1] = last._replace(indices=range(last.indices.start, call.at + 1))
        else:
            found.append(Piece(call.state, range(call.at, call.at + 1), call.own))
    return found


class JoinedArray(JobArray[R]):
    """A JobArray of several pieces, each a range of the calls of one submission, in the order of the map.

    `keys` names the submissions. `key` and `directory` exist only if there is one submission.
    """

    __slots__ = ("_pieces",)

    def __init__(self, place: Place, pieces: Sequence[Piece]) -> None:
        super().__init__(place, pieces[0].state, pieces[0].indices)
        self._pieces = tuple(piece for piece in pieces if piece.indices)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its submissions, in the order of their first calls."""
        return tuple(dict.fromkeys(piece.state.key for piece in self._pieces))

    @property
    def key(self) -> str:
        """The key of the submission. Raises ConfigurationError if there are several: `keys` has all of them."""
        self._refuse_several("key")
        return super().key

    @property
    def directory(self) -> str:
        """The path of the submission's directory on the cluster. Raises as `key` does."""
        self._refuse_several("directory")
        return super().directory

    @property
    def part(self) -> Part:
        """The calls as a part of their submission. Raises as `key` does."""
        self._refuse_several("part")
        return super().part

    @property
    def parts(self) -> list[Part]:
        """The calls as parts of their submissions, in order."""
        return [Part(self._place, piece.state, piece.indices) for piece in self._pieces]

    @property
    def own_parts(self) -> list[Part]:
        """The calls that this map submitted, as parts of their submissions, in order."""
        return [Part(self._place, piece.state, piece.indices) for piece in self._pieces if piece.own]

    @property
    def several(self) -> tuple[JobArray[R], ...]:
        """The arrays that together stand for its results in the arguments of other calls; none if one is enough."""
        return self._arrays() if len(self._pieces) > 1 else ()

    def __len__(self) -> int:
        return sum(len(piece.indices) for piece in self._pieces)

    @ends_at_the_caller
    def __getitem__(self, at: Any) -> Any:
        calls = list(self._calls())
        if isinstance(at, slice):
            some = calls[at]
            return JoinedArray(self._place, joined(some)) if some else self._nothing()
        call = calls[position(at, len(calls), "the array")]
        return Job(self._place, call.state, call.at)

    def __iter__(self) -> Iterator[Job[R]]:
        return (Job(self._place, call.state, call.at) for call in self._calls())

    def __contains__(self, job: object) -> bool:
        return any(job in array for array in self._arrays())

    def results(self, timeout: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """Wait for all calls, and return their results in order, with one command for each submission."""
        self._wait_for_all(timeout)
        found, error = self._results(return_exceptions=return_exceptions)
        if error is not None:
            raise error
        return found

    def iter_results(self, timeout: float | None = None) -> Iterator[R]:
        """Yield the results in order, each as soon as all up to it are available; see `JobArray.iter_results`."""
        end, calls, most = end_of_wait(timeout), list(self._calls()), 1
        while calls:
            self._of(calls[0])._wait([calls[0].at], seconds_until(end), asked=timeout)  # noqa: SLF001 - of the base class
            ready = list(takewhile(lambda call: call.state.finished(call.at), calls[:most]))
            calls, most = calls[len(ready) :], min(2 * most, _MOST_READ)
            yield from map(value_of, self._ends(ready))

    def __await__(self) -> Generator[Any, None, list[R]]:
        """`await array` returns the list of its results. The event loop runs meanwhile."""
        from slurm.jobs.awaiting import awaited  # noqa: PLC0415 - asyncio is slow to import

        found, error = yield from awaited(partial(when_all_finish, self), self._results, self._how_to_come_back)
        if error is not None:
            raise error
        return found

    def done(self) -> bool:
        """Whether all calls have ended."""
        self._place.tracker.list_outcomes({piece.state.key: piece.state for piece in self._pieces}.values())
        return all(piece.state.finished(index) for piece in self._pieces for index in piece.indices)

    def cancel(self, *, children: bool = True, joined: bool = False) -> None:
        """Cancel the calls that this map submitted; with `joined`, also the calls that it found running."""
        cancel(self.parts if joined else self.own_parts, children=children)

    def failed(self, timeout: float | None = None) -> list[Job[R]]:
        """Wait for all calls, and return the jobs that ended without a result."""
        self._wait_for_all(timeout)
        bad = {job for array in self._by_submission() for job in array.failed()}
        return [job for job in self if job in bad]

    def retry_failed(self, timeout: float | None = None, **options: Unpack[TaskOptions]) -> JobArray[R]:
        """Wait for all calls, then submit the failed calls again: one new submission for each old one that has any."""
        again: dict[tuple[str, int], Call] = {}
        failed = [(job.part.state, job.index) for job in self.failed(timeout)]
        for state in dict.fromkeys(state for state, _ in failed):
            indices = sorted({index for other, index in failed if other is state})
            new = resubmit(self._place, state.key, indices, Options.parse(options))
            again |= {(state.key, index): Call(new, number, own=True) for number, index in enumerate(indices)}
        calls = [again[state.key, index] for state, index in failed]
        return JoinedArray(self._place, joined(calls)) if calls else self._nothing()

    def states(self) -> Counter[JobState]:
        """How many calls are in each state."""
        return sum((found.states for found in overviews(self.parts)), Counter[JobState]())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobArray) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash((self.keys, len(self)))

    def __repr__(self) -> str:
        found = Counter(piece.state.state_name(index) for piece in self._pieces for index in piece.indices)
        states = ", ".join(f"{count} {word}" for word, count in found.items())
        keys = ", ".join(self.keys)
        return f"<JobArray of {len(self)} in {keys} on {self._url}{': ' if states else ''}{states}>"

    def _repr_html_(self) -> str:
        return Listing(self._arrays())._repr_html_()

    def __reduce__(self) -> tuple[Any, ...]:
        pieces = [(piece.state.key, piece.indices, piece.own) for piece in self._pieces]
        return open_pieces, (self._place.spec._asdict(), pieces)

    def _arrays(self) -> tuple[JobArray[R], ...]:
        """A plain array for each piece."""
        return tuple(JobArray(self._place, piece.state, piece.indices) for piece in self._pieces)

    def _calls(self) -> Iterator[Call]:
        return (Call(piece.state, index, piece.own) for piece in self._pieces for index in piece.indices)

    def _of(self, call: Call) -> JobArray[R]:
        """The array of all calls of a call's submission."""
        return JobArray(self._place, call.state, range(call.state.count))

    def _by_submission(self) -> list[JobArray[R]]:
        """For each submission, an array of the range that contains all its calls in this map."""
        spans: dict[str, tuple[SubmissionState, int, int]] = {}
        for state, indices, _ in self._pieces:
            _, low, high = spans.get(state.key, (state, indices.start, indices.stop))
            spans[state.key] = state, min(low, indices.start), max(high, indices.stop)
        return [JobArray(self._place, state, range(low, high)) for state, low, high in spans.values()]

    def _ends(self, calls: Sequence[Call], *, logs: bool = False) -> list[tuple[Any, BaseException | None]]:
        """The results or exceptions of calls that have ended, with one command for each submission."""
        readers = {
            key: self._of(some[0])._read(sorted({call.at for call in some}), logs=logs)  # noqa: SLF001 - as above
            for key, some in _by_key(calls).items()
        }
        return [readers[call.state.key].of(call.at) for call in calls]

    def _results(self, *, return_exceptions: bool = False) -> tuple[list[Any], BaseException | None]:
        ends = self._ends(list(self._calls()), logs=return_exceptions)
        return until_error(ends, return_exceptions=return_exceptions)

    def _wait_for_all(self, timeout: float | None) -> None:
        end = end_of_wait(timeout)
        for some in _by_key(self._calls()).values():
            indices = [call.at for call in some]
            try:
                self._of(some[0])._wait(indices, seconds_until(end), asked=timeout)  # noqa: SLF001 - as above
            except KeyboardInterrupt:
                raise KeyboardInterrupt(self._how_to_come_back()) from None

    def _how_to_come_back(self) -> str:
        keys = ", ".join(map(repr, self.keys))
        return f"The jobs go on; come back to them with Cluster({self._url!r}).job(key), key one of {keys}"

    def _nothing(self) -> JobArray[R]:
        return JobArray(self._place, self._watched, range(0))

    def _refuse_several(self, name: str) -> None:
        if len(self.keys) > 1:
            raise ConfigurationError(
                f"this array has no {name}, because its calls are in {len(self.keys)} submissions: use keys, or the "
                f"{name} of one of its jobs"
            )


def _by_key(calls: Iterable[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(call.state.key, []).append(call)
    return found


def pieces_of(array: JobArray[Any]) -> Sequence[Piece]:
    """The pieces of an array: one, unless it is a JoinedArray."""
    if isinstance(array, JoinedArray):
        return array._pieces  # noqa: SLF001 - of this module
    return (Piece(array.part.state, array._range, own=True),)  # noqa: SLF001 - as above


def open_pieces(cluster: Mapping[str, Any], pieces: Sequence[tuple[str, range, bool]]) -> JoinedArray[Any]:
    """Open a pickled JoinedArray in any process. Reads the records of its submissions together. Raises NoSuchJob.

    Pickled arrays name this function, so its name and parameters must never change.
    """
    place = place_for(**cluster)
    known = {state.key: state for state in place.registry.get_several(list({key for key, _, _ in pieces}))}
    return JoinedArray(
        place, [Piece(known.get(key) or place.registry.get(key), some, own) for key, some, own in pieces]
    )
