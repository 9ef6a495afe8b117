"""JoinedArray: the jobs of a map whose calls are spread over several submissions, because some were known before."""

from __future__ import annotations

import time
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from slurm.errors import ConfigurationError
from slurm.jobs.cancel import cancel
from slurm.jobs.handle import value_of
from slurm.jobs.job import Job, JobArray, Listing
from slurm.places.place import place_for
from slurm.protocol.states import JobState
from slurm.sanitize.numbers import seconds_to_wait
from slurm.views.overview import overviews
from slurm.views.status import Part

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from typing_extensions import Unpack

    from slurm.options.types import TaskOptions
    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState

R = TypeVar("R", covariant=True)


class Piece(NamedTuple):
    """Some calls of one submission. `own` says whether this map submitted them, and has not found or joined them."""

    state: SubmissionState
    indices: range
    own: bool


class JoinedArray(JobArray[R]):
    """A JobArray of several pieces, each a range of the calls of one submission, in the order of the map.

    `keys` names the submissions. `key` and `directory` exist only if there is one.
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
        """The key of its submission. Raises ConfigurationError if it has several: `keys` has them all."""
        self._refuse_several("key")
        return super().key

    @property
    def directory(self) -> str:
        """The path of its submission's directory, there. Raises as `key` does."""
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
    def several(self) -> tuple[JobArray[R], ...]:
        """The arrays that together stand for its results in the arguments of other calls; none if one does."""
        return self._arrays() if len(self._pieces) > 1 else ()

    def __len__(self) -> int:
        return sum(len(piece.indices) for piece in self._pieces)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            jobs = [self._at(number) for number in range(len(self))[at]]
            if not jobs:
                return JobArray(self._place, self._watched, range(0))
            return JoinedArray(self._place, [Piece(piece.state, range(i, i + 1), piece.own) for piece, i in jobs])
        if not -len(self) <= at < len(self):
            message = f"the array has {len(self)} jobs, so there is no [{at}]"
            raise IndexError(message)
        piece, index = self._at(range(len(self))[at])
        return Job(self._place, piece.state, index)

    def __iter__(self) -> Iterator[Job[R]]:
        return (Job(self._place, piece.state, index) for piece in self._pieces for index in piece.indices)

    def __contains__(self, job: object) -> bool:
        return any(job in array for array in self._arrays())

    def results(self, timeout: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """Wait for all and return their results in order, one submission after the other; see `JobArray.results`."""
        self._wait_for_all(timeout)
        found: list[Any] = []
        for array in self._arrays():
            results, error = array._read_all(array._range, return_exceptions=return_exceptions)  # noqa: SLF001
            if error is not None:
                raise error
            found += results
        return found

    def iter_results(self, timeout: float | None = None) -> Iterator[R]:
        """Yield the results in order, each as soon as it and those before it are there; see `JobArray.iter_results`."""
        end = _end(timeout)
        for array in self._arrays():
            yield from map(value_of, array._in_order(array._range, _left(end)))  # noqa: SLF001 - of the base class

    def __await__(self) -> Generator[Any, None, list[R]]:
        """`await array` is the list of its results; the event loop runs meanwhile."""
        found: list[R] = []
        for array in self._arrays():
            found += yield from array.__await__()
        return found

    def done(self) -> bool:
        """Whether all have ended."""
        self._place.tracker.list_outcomes({piece.state.key: piece.state for piece in self._pieces}.values())
        return all(piece.state.finished(index) for piece in self._pieces for index in piece.indices)

    def cancel(self, *, children: bool = True, joined: bool = False) -> None:
        """Cancel the calls that this map submitted; with `joined`, also those that it found running."""
        cancel([array.part for array in self._arrays(joined=joined)], children=children)

    def failed(self, timeout: float | None = None) -> list[Job[R]]:
        """Wait for all; the jobs that ended without a result."""
        self._wait_for_all(timeout)
        return [job for array in self._arrays() for job in array.failed()]

    def retry_failed(self, timeout: float | None = None, **options: Unpack[TaskOptions]) -> JobArray[R]:
        """Wait for all, then submit the calls that failed once more, as new submissions; empty if none has."""
        self._wait_for_all(timeout)
        if not self.failed():
            return JobArray(self._place, self._watched, range(0))
        again = [array.retry_failed(**options) for array in self._arrays()]
        return JoinedArray(self._place, [Piece(array.part.state, array._range, own=True) for array in again])  # noqa: SLF001

    def states(self) -> Counter[JobState]:
        """How many are in each state."""
        return sum((found.states for found in overviews(self.parts)), Counter[JobState]())

    def summary(self) -> str:
        """One line: "square: 1000 jobs, 3 RUNNING, 997 COMPLETED"."""
        states = self.states()
        counts = ", ".join(f"{states[state]} {state}" for state in JobState if states[state])
        return f"{self.keys[0].partition('/')[0]}: {len(self)} jobs{', ' if counts else ''}{counts}"

    def logs(self, rank: int = 0) -> list[str]:
        """The output of each so far, in order; with several ranks, of this one."""
        return [log for array in self._arrays() for log in array.logs(rank)]

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

    def _arrays(self, *, joined: bool = True) -> tuple[JobArray[R], ...]:
        """A plain array for each piece; without `joined`, only for those that this map submitted."""
        own = (piece for piece in self._pieces if joined or piece.own)
        return tuple(JobArray(self._place, piece.state, piece.indices) for piece in own)

    def _at(self, number: int) -> tuple[Piece, int]:
        for piece, end in zip(self._pieces, accumulate(len(piece.indices) for piece in self._pieces), strict=True):
            if number < end:
                return piece, piece.indices[number - end]
        raise IndexError(number)

    def _wait_for_all(self, timeout: float | None) -> None:
        end = _end(timeout)
        for array in self._arrays():
            array._wait(array._range, _left(end), asked=timeout)  # noqa: SLF001 - of the base class

    def _refuse_several(self, name: str) -> None:
        if len(self.keys) > 1:
            raise ConfigurationError(
                f"this array has no {name}, because its calls are in {len(self.keys)} submissions: use keys, or the "
                f"{name} of one of its jobs"
            )


def open_pieces(cluster: Mapping[str, Any], pieces: Sequence[tuple[str, range, bool]]) -> JoinedArray[Any]:
    """Open a pickled JoinedArray in any process. Reads the records of its submissions together. Raises NoSuchJob.

    Pickled arrays name this function, so it neither moves nor changes its parameters.
    """
    place = place_for(**cluster)
    known = {state.key: state for state in place.registry.get_several(list({key for key, _, _ in pieces}))}
    return JoinedArray(
        place, [Piece(known.get(key) or place.registry.get(key), some, own) for key, some, own in pieces]
    )


def _end(timeout: float | None) -> float | None:
    seconds = seconds_to_wait(timeout)
    return None if seconds is None else time.monotonic() + seconds


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())
