"""Snapshot: the state of every point of a sweep, derived from its records, its collected outcomes, and its sources.

This module only reads, on this machine and at the sources.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ProtocolError, SlurmError
from slurm.protocol.states import JobState
from slurm.spaces.identity import identity
from slurm.sweeps.looking import Looks
from slurm.sweeps.points import without_collection
from slurm.sweeps.records import REDO, Collected, Ended, Located

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.protocol.outcomes import Outcome
    from slurm.submission.submission_state import SubmissionState
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.records import Shard
    from slurm.sweeps.sources import Places


class State(str, enum.Enum):
    """The state of a point."""

    DONE = "done"
    """A call of the point has succeeded."""
    ALIVE = "alive"
    """A call of the point is queued, runs, or is being submitted."""
    IN_DOUBT = "in doubt"
    """A call of the point was submitted to a source that does not answer."""
    FAILED = "failed"
    """The last call of the point has failed."""
    MISSING = "missing"
    """The point was never submitted, or its calls were cancelled or fenced."""

    __hash__ = str.__hash__  # the hash of Enum would take a third of the time of a status

    def __str__(self) -> str:
        return self.value


class Point(NamedTuple):
    """The facts about one point at the time of a snapshot."""

    number: int
    """The number in the sweep, from 0."""
    params: Mapping[str, Any]
    state: State
    job_state: JobState | None = None
    """The job state of the call that counts; None without a call."""
    shard: int | None = None
    """The number of the shard of the call that counts: the first success, or else a call that is alive or in doubt, or
    else the last call."""
    source: str | None = None
    """The source of this shard, as the user named it."""
    call: int | None = None
    """The number of the call that counts in the submission of the shard."""
    ended: Ended | None = None
    """How the call that counts ended; None if it has not ended."""
    attempts: int = 0
    """How many attempts have begun or wait to begin, in all shards."""
    reason: str | None = None
    """The scheduler's reason while the call waits; or why the source does not answer; or the reason in the outcome."""
    node: str | None = None
    twins: tuple[int, ...] = ()
    """The shards of other calls of the point that have succeeded, too."""

    @property
    def identity(self) -> str:
        """The digest of the parameters."""
        return identity(self.params)


class Call(NamedTuple):
    """A call of a point in a shard, and its state."""

    shard: int
    call: int
    ended: Ended | None
    """How the call ended; None while it is alive or in doubt."""
    order: int
    """The position among the successes: the number of the file with the outcome, or a larger number if the outcome is
    not collected."""
    job_state: JobState | None = None
    reason: str | None = None
    node: str | None = None
    doubt: bool = False


_NOT_COLLECTED = 1 << 40


class Snapshot(NamedTuple):
    """The state of every point at one time."""

    points: Sequence[Point]
    shards: Mapping[int, Shard]
    troubles: Mapping[str, str]
    """Why sources do not answer, by URL."""
    counts: Mapping[State, int]
    starting: tuple[int, ...] = ()
    """The shards that have no directory at their source yet, or no answer of the scheduler: their client is submitting
    them, or has died."""

    def numbers(self, *states: State) -> list[int]:
        """Return the numbers of the points in `states`."""
        return [point.number for point in self.points if point.state in states]


class SnapshotReader:
    """Takes snapshots of a sweep. Each reads only new outcomes, because outcomes never change."""

    def __init__(self, directory: SweepDirectory, places: Places) -> None:
        self._directory, self._places = directory, places
        self._collections: set[int] = set()
        self._ended: dict[tuple[int, int], tuple[Ended, int]] = {}  # by shard and call
        self._fresh: dict[tuple[int, int], tuple[Collected, Located | None]] = {}
        self._homed: dict[tuple[int | None, int | None], tuple[int, Collected]] = {}  # with result, log or files
        self._alive: dict[tuple[int, int], Call] = {}
        self._troubles: dict[str, str] = {}
        self._silent: dict[str, str] = {}  # the troubles of the last look at the sources
        self._settled: set[int] = set()  # shards all of whose calls have ended
        self._states: dict[int, SubmissionState] = {}
        self._looks = Looks()
        self._done: dict[int, Point] = {}
        self._calls: dict[int, list[tuple[int, int]]] = {}  # shards and calls of each point
        self._indexed: set[int] = set()
        self._params: Sequence[Mapping[str, Any]] = ()
        self._shards: Mapping[int, Shard] = {}

    def read(self, *, look: bool = True, patience: float | None = None) -> Snapshot:
        """Take a snapshot. Without `look`, the sources are not asked: calls of unknown state are in doubt.

        Sources with calls that are not collected are asked in parallel; see `Looks.ask` for the commands.
        """
        with without_collection():
            return self._read(look=look, patience=patience)

    def _read(self, *, look: bool, patience: float | None) -> Snapshot:
        params, shards = self._directory.points(), dict(self._directory.shards())
        self._params, self._shards = params, shards
        self.learn_collected()
        open_ = {number: shard for number, shard in shards.items() if not self._is_settled(number, shard)}
        alive, starting, troubles = self._look(_by_url(open_), patience) if look else self._known(open_)
        self._alive, self._troubles = alive, troubles
        self._index(shards)
        points = [self._done.get(number) or self._point(number, some) for number, some in enumerate(params)]
        counts = Counter(point.state for point in points)
        return Snapshot(points, shards, troubles, counts, tuple(starting))

    def state(self, shard: int) -> SubmissionState | None:
        """Return what this process knows about the submission of a shard; None if it has not looked."""
        return self._states.get(shard)

    @property
    def uncollected(self) -> int:
        """How many outcomes were read at the sources and are not collected yet."""
        return len(self._fresh)

    @property
    def fresh(self) -> list[tuple[Collected, Located | None]]:
        """The outcomes that were read at the sources and are not collected yet, and where their results are."""
        return list(self._fresh.values())

    def is_fresh(self, shard: int | None, call: int | None) -> bool:
        """Whether the outcome of a call was read at its source and is not collected yet."""
        return (shard, call) in self._fresh

    def has_ended(self, shard: int, call: int) -> bool:
        """Whether a call has ended, as far as this process has read."""
        return (shard, call) in self._ended

    def home(self, shard: int | None, call: int | None) -> tuple[int, Collected] | None:
        """Return the number of the file with the outcome of a call, and the outcome.

        None if no result, log or file of the call was copied home.
        """
        return self._homed.get((shard, call))

    def point(self, number: int) -> Point:
        """Return what is known about one point, without asking a source."""
        return self._done.get(number) or self._point(number, self._params[number])

    def add_ended(self, number: int, elements: Collection[int]) -> list[int]:
        """Read the outcomes of ended elements of a shard, with one command; return the points whose outcome is new."""
        shard, state = self._shards[number], self._states[number]
        points, chunk = shard.numbers, shard.chunk
        new = [e for e in elements if (number, e * chunk) not in self._ended]
        place = self._places.of(shard.cluster)
        read, unreadable = self._places.act(
            place, "read outcomes", lambda: place.store.several_outcomes({shard.key: new})
        )[shard.key]
        for problem in unreadable.values():
            if not isinstance(problem, ProtocolError):
                raise problem
        self._add_outcomes(number, shard, read)
        calls = [at for e in new for at in range(e * chunk, min((e + 1) * chunk, len(points)))]
        for at in calls:
            if (number, at) not in self._ended:
                final, problem_here = state.final_status(at), unreadable.get(at // chunk)
                job_state, reason = (
                    (final.state, final.report.reason if final.report else None) if final else (None, None)
                )
                message = str(problem_here) if problem_here else None
                ended = Ended(
                    succeeded=False, state=job_state or JobState.UNKNOWN, reason=reason, message=message, exit_code=1
                )
                self._add(number, at, points[at], ended, None)
        return [points[at] for at in calls]

    def learn(self, number: int, elements: Iterable[int], outcome: Outcome) -> list[int]:
        """Record an outcome that elements of a shard have now; return their points."""
        shard = self._shards[number]
        self._add_outcomes(number, shard, dict.fromkeys(elements, outcome))
        calls = (at for e in sorted(elements) for at in range(e * shard.chunk, (e + 1) * shard.chunk))
        return [shard.numbers[at] for at in calls if at < len(shard.numbers)]

    def learn_state(self, number: int, state: SubmissionState) -> None:
        """Record the submission of a shard that this process has queued."""
        self._states[number] = state

    def _is_settled(self, number: int, shard: Shard) -> bool:
        if number not in self._settled and all((number, at) in self._ended for at in range(len(shard.numbers))):
            self._settled.add(number)
        return number in self._settled

    def learn_collected(self) -> None:
        """Read the outcomes that were collected since the last snapshot."""
        for file, lines in self._directory.collected().items():
            if file not in self._collections:
                self._collections.add(file)
                for line in lines:
                    at = line.shard, line.call
                    if at not in self._ended or self._ended[at][1] > file:
                        self._ended[at] = line.ended, file
                        self._done.pop(line.point, None)  # another success may count now
                    if line.home > (self._homed[at][1].home if at in self._homed else 0):
                        self._homed[at] = file, line
                    self._fresh.pop(at, None)

    # Answers of the sources.

    def _look(
        self, shards: Mapping[str, Mapping[int, Shard]], patience: float | None
    ) -> tuple[dict[tuple[int, int], Call], list[int], dict[str, str]]:
        """Ask places about their shards; return the calls that have not ended, the shards that start, and troubles."""
        alive: dict[tuple[int, int], Call] = {}
        starting, troubles = list[int](), dict[str, str]()
        wanted = {url: (self._place_of(some), self._wanted(some)) for url, some in shards.items()}
        answers = self._looks.ask(wanted, patience=patience)
        for url, answer in answers.items():
            if isinstance(answer, SlurmError):
                troubles[url] = str(answer)
                continue
            for number, shard in shards[url].items():
                state = answer.states.get(shard.key)
                if state is not None:
                    self._states[number] = state
                self._add_outcomes(number, shard, answer.outcomes.get(shard.key, {}))
                if not self._is_settled(number, shard):
                    self._add_alive(number, shard, state, alive)
                    if state is None or not (state.submitted or state.refused):
                        starting.append(number)
        self._silent = troubles
        return alive, starting, troubles

    def _known(self, shards: Mapping[int, Shard]) -> tuple[dict[tuple[int, int], Call], list[int], dict[str, str]]:
        """Return the same values as `_look`, from what this process knows."""
        alive: dict[tuple[int, int], Call] = {}
        for number, shard in shards.items():
            if number in self._states and shard.url not in self._silent:
                self._add_alive(number, shard, self._states[number], alive)
        unknown = [shard.url for number, shard in shards.items() if number not in self._states]
        return alive, [], dict.fromkeys(unknown, "it was not asked") | self._silent

    def _place_of(self, shards: Mapping[int, Shard]) -> Place:
        return self._places.of(next(iter(shards.values())).cluster)

    def _wanted(self, shards: Mapping[int, Shard]) -> dict[str, list[int]]:
        """Return the elements of shards with calls whose outcome was not read yet, by key."""
        return {
            shard.key: list(
                dict.fromkeys(at // shard.chunk for at in range(len(shard.numbers)) if (number, at) not in self._ended)
            )
            for number, shard in shards.items()
        }

    def _add_outcomes(self, number: int, shard: Shard, outcomes: Mapping[int, Outcome]) -> None:
        points = shard.numbers
        for element, outcome in outcomes.items():
            for at in range(element * shard.chunk, min((element + 1) * shard.chunk, len(points))):
                if (number, at) not in self._ended:
                    try:
                        ended = Ended.of(outcome, at % shard.chunk)
                    except ProtocolError as error:
                        ended = Ended(succeeded=False, state=JobState.UNKNOWN, message=str(error), exit_code=1)
                    self._add(number, at, points[at], ended, Located.of(outcome, at % shard.chunk))

    def _add(self, number: int, at: int, point: int, ended: Ended, result: Located | None) -> None:
        self._ended[number, at] = ended, _NOT_COLLECTED + number
        self._fresh[number, at] = Collected(point, number, at, ended), result

    def _add_alive(
        self, number: int, shard: Shard, state: SubmissionState | None, alive: dict[tuple[int, int], Call]
    ) -> None:
        points = shard.numbers
        refused = state is not None and state.refused is not None
        for at in range(len(points)):
            if (number, at) in self._ended:
                continue
            if refused:
                ended = Ended(succeeded=False, state=JobState.CANCELLED, reason="the scheduler refused it", exit_code=1)
                alive[number, at] = Call(number, at, ended, _NOT_COLLECTED)
                continue
            report = state.report(at) if state else None
            reason = report.reason if report else "the scheduler does not list it" if state else "it is being submitted"
            job_state = report.state if report else JobState.UNKNOWN if state else JobState.PENDING
            node = (report.node or None) if report else None
            alive[number, at] = Call(number, at, None, _NOT_COLLECTED, job_state, reason or None, node)

    # The points.

    def _index(self, shards: Mapping[int, Shard]) -> None:
        """Record the calls that each point has in new shards."""
        for number, shard in shards.items():
            if number not in self._indexed:
                self._indexed.add(number)
                for at, point in enumerate(shard.numbers):
                    if shard.why == REDO:  # results of other code no longer count
                        self._calls[point] = []
                    self._calls.setdefault(point, []).append((number, at))
                    self._done.pop(point, None)

    def _call(self, number: int, at: int) -> Call:
        if known := self._ended.get((number, at)):
            return Call(number, at, *known)
        if found := self._alive.get((number, at)):
            return found
        trouble = self._troubles.get(self._shards[number].url)
        return Call(number, at, None, _NOT_COLLECTED, None, trouble, doubt=True)

    def _point(self, number: int, params: Mapping[str, Any]) -> Point:
        calls = [self._call(*at) for at in self._calls.get(number, ())]
        if not calls:
            return Point(number, params, State.MISSING)
        good = [call for call in calls if call.ended and call.ended.succeeded]
        state, best = _judged(calls, good)
        found = Point(
            number,
            params,
            state,
            best.ended.state if best.ended else best.job_state,
            best.shard,
            self._shards[best.shard].source,
            best.call,
            best.ended,
            sum(call.ended.attempt if call.ended else 1 for call in calls if not (call.ended and call.ended.fence)),
            best.reason or (best.ended.reason if best.ended else None),
            best.node or (best.ended.host if best.ended else None),
            tuple(call.shard for call in good if call is not best),
        )
        if state is State.DONE and all(call.ended for call in calls):
            self._done[number] = found
        return found


def _judged(calls: Sequence[Call], good: Sequence[Call]) -> tuple[State, Call]:
    """Return the state of a point, and the call that counts. `good` are the calls that have succeeded."""
    if good:
        return State.DONE, min(good, key=lambda call: call.order)
    for call in calls:
        if call.ended is None and not call.doubt:
            return State.ALIVE, call
    for call in calls:
        if call.doubt:
            return State.IN_DOUBT, call
    last = calls[-1]
    withdrawn = last.ended is not None and last.ended.withdrawn
    return State.MISSING if withdrawn else State.FAILED, last


def _by_url(shards: Mapping[int, Shard]) -> dict[str, dict[int, Shard]]:
    found: dict[str, dict[int, Shard]] = {}
    for number, shard in shards.items():
        found.setdefault(shard.url, {})[number] = shard
    return found
