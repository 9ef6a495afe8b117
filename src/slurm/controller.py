"""Controller: runs a scheduler's commands over a transport, and counts them."""

from __future__ import annotations

import logging
import math
import random
import shlex
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from slurm import queueing
from slurm.errors import SchedulerError, SchedulerNotFound, SubmissionRefused, TransportError
from slurm.schedulers.base import Report, Target, tag
from slurm.script import SCRUB
from slurm.transports.base import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import NoReturn

    from slurm.options import Options
    from slurm.protocol import Block, Origin, Submitted
    from slurm.schedulers.base import Request, Scheduler
    from slurm.transports.base import Transport

T = TypeVar("T")

_log = logging.getLogger(__name__)

_NOT_FOUND, _UNANSWERED = 127, -1
_TIMEOUT = 300.0
"""Seconds for one command: sbatch itself tries for 120 s where MaxJobCount is reached."""
_HISTORY_TIMEOUT, _HISTORY_PAUSE = 8.0, 60.0
"""Seconds for the accounting to answer, and to be left alone where it doesn't."""
_BACKLOG = 5.0
"""Seconds for a scheduler that answers again to work off the requests that it had before."""
_MOST_IDS = 2000
"""How many ids go into one command: an argument may not be longer than 128 KiB."""
_PATIENCE = 900.0
"""Seconds for a scheduler that can't be reached to come back, before a submission is given up."""


class Answers(NamedTuple):
    """What clusters say of some ids, the ids of those that don't answer, and what the last of these said instead."""

    reports: Sequence[Report]
    unanswered: set[str]
    trouble: str | None


class Controller:
    """One scheduler at one place. Raises TransportError if the place can't be reached."""

    def __init__(self, scheduler: Scheduler, transport: Transport) -> None:
        self.scheduler = scheduler
        self._transport = transport
        self.here: Origin | None = None
        """Which scheduler this is, as far as it has been told."""
        self._history_from = 0.0
        self._submit_limits: str | None = None
        self.calls: dict[str, int] = {}
        """How many commands of each kind were run."""

    def submit(
        self,
        record: str,
        key: str,
        requests: Sequence[Request],
        *,
        caretaker: Request | None = None,
        patience: float = _PATIENCE,
    ) -> Submitted:
        """Queue blocks of a submission and write their ids to the file `record`, by one command.

        The record is written there, next to the scheduler's answer: a client that dies meanwhile loses nothing. While
        the scheduler can't be reached this tries again, but never queues twice what was taken without an answer: its
        key, in its comment, tells. Where the queue has no room for all, the first blocks are taken, or none. A
        `caretaker` is queued for each block; a job is none the worse without one. Raises SubmissionRefused with the
        scheduler's words, or SchedulerNotFound; without patience, SchedulerError if it isn't known what came of it.
        """
        blocks = [request.block for request in requests]
        taken: list[str] = []
        answered = True
        end = time.monotonic() + patience
        for pause in _pauses():
            done = self._queue(record, requests, taken, caretaker)
            taken += done.stdout.split()
            if len(taken) == len(requests):
                if done.status != 0:
                    _log.warning("%s could not be written: %s", record, done.words)
                break
            if self.scheduler.full(done.words):
                self._note(record, blocks, taken)
                break
            passes = done.status == _UNANSWERED or self.scheduler.passing(done.words)
            answered &= not passes
            if not passes or (patience and time.monotonic() > end):
                self._refuse(requests[0].script, key, done, taken, certain=answered)
            if not patience:
                message = f"{self.scheduler.name} doesn't tell whether it has taken {requests[0].comment}: {done.words}"
                raise SchedulerError(message)
            _log.warning("%s: %s; looking what it has taken, then trying again", self.scheduler.name, done.words)
            time.sleep(pause)
            taken = self._taken(key, blocks, until=end)
            if len(taken) < len(blocks):  # what came before the trouble may be worked off after the first answer
                time.sleep(_BACKLOG)
                taken = self._taken(key, blocks, until=end)
        return self._submitted(blocks, taken)

    def _queue(
        self, record: str, requests: Sequence[Request], taken: Sequence[str], caretaker: Request | None
    ) -> Completed:
        """Queue the blocks that are not taken yet; some may be taken also if there is no answer."""
        script = SCRUB + queueing.script(self.scheduler, record, requests, taken, caretaker)
        limit = _TIMEOUT * (1 + len(requests) - len(taken))
        try:
            return self._run("submit", ["sh", "-s"], stdin=script.encode(), timeout=limit)
        except TransportError as error:
            return Completed(("sh", "-s"), _UNANSWERED, "", str(error))

    def submit_now(self, record: str, key: str, request: Request, *, caretaker: Request | None) -> Submitted:
        """Queue one block at the first try, or not: whoever asks has others to serve meanwhile."""
        return self.submit(record, key, [request], caretaker=caretaker, patience=0.0)

    def submit_once(self, record: str, key: str, request: Request, *, caretaker: Request | None) -> Submitted:
        """The same for a block that others may have queued, or may queue just now: of several, the first stays."""
        name, block = tag(key, request.block), request.block
        if not (ids := self._tagged(key).get(name)):
            queued = self.submit_now(record, key, request, caretaker=caretaker)
            ids = self._tagged(key).get(name)
            if not queued.blocks or not ids:
                return queued
        first, *others = sorted(ids, key=lambda id_: (len(id_), id_))
        if others:
            _log.warning("%s was queued more than once; %s stays", name, first)
            self.cancel([Target(id_, None, key) for id_ in others])
        self._note(record, [block], [first])
        return self._submitted([block], [first])

    def adopt(self, several: Mapping[str, Sequence[Block]], record: Callable[[str], str]) -> Mapping[str, Submitted]:
        """The ids of blocks whose submitters died before they learnt them, by key: as far as each had come.

        They are recorded now, each in the file that `record` names. Those of which nothing is queued are left out.
        """
        tagged = self._tagged(", ".join(several))
        found = {
            key: self._submitted(blocks, ids) for key, blocks in several.items() if (ids := _first(tagged, key, blocks))
        }
        for key, submitted in found.items():
            self._note(record(key), several[key], [block.id for block in submitted.blocks])
        return found

    def _taken(self, key: str, blocks: Sequence[Block], *, until: float) -> list[str]:
        """The ids of the first blocks that were queued under a key. One that is away is asked again, `until` then."""
        return _first(self._tagged(key, until=until), key, blocks)

    def _tagged(self, key: str, *, until: float = 0.0) -> Mapping[str, list[str]]:
        """The ids of all that is in the queue, by the first words of their comments; `key` is for an error."""
        for pause in _pauses():
            done = self._run("find", self.scheduler.find())
            if done.status == 0:
                break
            if not self.scheduler.passing(done.words) or time.monotonic() > until:
                message = f"{self.scheduler.name} doesn't tell whether it has {key}: {done.words}"
                raise SchedulerError(message)
            time.sleep(pause)
        ids: dict[str, list[str]] = {}
        for id_, comment in self.scheduler.found(done.stdout):
            ids.setdefault(comment.partition(" ")[0], []).append(id_)
        return ids

    def _refuse(self, script: str, key: str, done: Completed, taken: Sequence[str], *, certain: bool) -> NoReturn:
        if taken:  # earlier blocks were: a submission is whole or not at all
            self.cancel([Target(id_, None, key) for id_ in taken])
        message = f"{self.scheduler.name} refused {script}:\n{done.words}"
        raise SubmissionRefused(message, script=script, output=done.words, certain=certain)

    def _note(self, record: str, blocks: Sequence[Block], ids: Sequence[str]) -> None:
        line = queueing.recording(self.scheduler.name, record, blocks, list(map(shlex.quote, ids)))
        self._run("submit", ["sh", "-s"], stdin=line.encode())

    def _submitted(self, blocks: Sequence[Block], ids: Sequence[str]) -> Submitted:
        return queueing.submitted(self.scheduler.name, blocks, ids)

    def requeue(self, id_: str) -> str | None:
        """Have a running array task run again under its id; what the scheduler says where it refuses, else None."""
        done = self._run("requeue", self.scheduler.requeue(id_))
        return None if done.status == 0 else done.words

    def query(self, ids: Sequence[str]) -> Answers:
        """What the scheduler says of all elements of ids, by one command for each cluster.

        An id that the scheduler has forgotten is in no report. One of a cluster that doesn't answer is `unanswered`.
        """
        found, unanswered, trouble = list[Report](), set[str](), None
        for cluster, group in self._by_cluster(ids).items():
            for some in _portions(list(group), [1] * len(group)):
                done = self._run("query", self.scheduler.query(some, cluster=cluster))
                reports = self._answer(done)
                if reports is None:
                    unanswered.update(id_ for number in some for id_ in group[number])
                    trouble = f"{self.scheduler.name} doesn't tell the state of jobs {', '.join(some)}: {done.words}"
                    continue
                self.here = self.scheduler.origin(done.stdout) or self.here
                found += [report._replace(id=id_) for report in reports for id_ in group.get(report.id, ())]
        return Answers(found, unanswered, trouble)

    def _answer(self, done: Completed) -> Iterable[Report] | None:
        if done.status != 0:
            return () if self.scheduler.knows_none(done.words) else None
        return self.scheduler.reports(done.stdout)

    def history(self, ids: Sequence[str]) -> Iterable[Report]:
        """What the accounting remembers of ids; nothing where it is down.

        That a site has no accounting is learnt once and remembered; one that hangs is left alone for a while.
        """
        found: list[Report] = []
        for cluster, group in self._by_cluster(ids).items():
            for some in _portions(list(group), [1] * len(group)):
                if time.monotonic() < self._history_from:
                    return found
                reports = self._history(some, cluster)
                found += [report._replace(id=id_) for report in reports for id_ in group.get(report.id, ())]
        return found

    def _history(self, ids: Sequence[str], cluster: str) -> Iterable[Report]:
        try:
            done = self._run("history", self.scheduler.history(ids, cluster=cluster), timeout=_HISTORY_TIMEOUT)
        except TransportError:
            self._history_from = time.monotonic() + _HISTORY_PAUSE
            return ()
        except SchedulerNotFound:
            self._history_from = math.inf
            return ()
        if self.scheduler.has_no_history(done.words):
            self._history_from = math.inf
        return self.scheduler.histories(done.stdout) if done.status == 0 else ()

    def cancel(self, targets: Sequence[Target]) -> None:
        """Cancel what is the submissions' own, by one command for each cluster; what has ended stays ended."""
        for cluster, group in self._by_cluster([target.id for target in targets]).items():
            names = {id_: number for number, ids in group.items() for id_ in ids}
            bare = [target._replace(id=names[target.id]) for target in targets if target.id in names]
            parts = [part for target in bare for part in _parts(target)]
            for some in _portions(parts, [len(part.tasks or "1") for part in parts]):
                script = self.scheduler.cancel(some, cluster=cluster)
                done = self._run("cancel", ["sh", "-s"], stdin=script.encode())
                if done.status != 0:
                    message = f"{self.scheduler.name} didn't cancel {', '.join(t.id for t in some)}: {done.words}"
                    raise SchedulerError(message)

    def _by_cluster(self, ids: Iterable[str]) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """By cluster, "" for the one here: numbers, and the ids that they stand for."""
        here = self.here.cluster if self.here else ""
        groups: dict[str, dict[str, list[str]]] = {}
        for id_ in dict.fromkeys(ids):
            number, _, cluster = id_.partition(";")
            groups.setdefault("" if cluster == here else cluster, {}).setdefault(number, []).append(id_)
        return groups

    def room(self, options: Options) -> int | None:
        """How many more elements with such options the queue takes of this user; None if nothing is told.

        The limits are read once.
        """
        if self._submit_limits is None:
            self._submit_limits = self._run("limits", self.scheduler.submit_limits(), timeout=60).stdout
        most = self.scheduler.most_queued(self._submit_limits, options)
        if most is None:
            return None
        queued = self._run("query", self.scheduler.queued())
        return max(0, most - len(queued.stdout.split())) if queued.status == 0 else 0

    def max_array_size(self) -> int:
        """How many elements one array may have."""
        done = self._run("limits", self.scheduler.limits())
        if done.status != 0:
            message = f"{self.scheduler.name} doesn't tell its limits: {done.words}"
            raise SchedulerError(message)
        return self.scheduler.max_array_size(done.stdout)

    def _run(self, kind: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = _TIMEOUT) -> Completed:
        self.calls[kind] = self.calls.get(kind, 0) + 1
        done = self._transport.run(argv, stdin=stdin, timeout=timeout)
        if done.status == _NOT_FOUND:
            message = (
                f"{done.words.splitlines()[-1]}. The scheduler {self.scheduler.name!r} needs its commands on PATH: run "
                "this where they are (a login node), or load what brings them; where only login shells have them: "
                "Cluster(…, login_shell=True). To run on this machine: Cluster('local')"
            )
            raise SchedulerNotFound(message)
        return done


def _first(tagged: Mapping[str, Sequence[str]], key: str, blocks: Sequence[Block]) -> list[str]:
    """The ids of the first blocks of a submission that are in the queue."""
    found = [tagged[name][0] if (name := tag(key, block)) in tagged else None for block in blocks]
    return [id_ for id_ in found[: (*found, None).index(None)] if id_ is not None]


def _parts(target: Target) -> Iterator[Target]:
    """A target in parts of as many tasks as one command may name."""
    if target.tasks is None:
        yield target
    for at in range(0, len(target.tasks or ()), _MOST_IDS):
        yield target._replace(tasks=target.tasks[at : at + _MOST_IDS])  # type: ignore[index]


def _portions(items: Sequence[T], sizes: Sequence[int]) -> Iterator[list[T]]:
    """Items in portions of as many, by their sizes, as one command may have."""
    portion: list[T] = []
    room = _MOST_IDS
    for item, size in zip(items, sizes, strict=True):
        if portion and size > room:
            yield portion
            portion, room = [], _MOST_IDS
        portion.append(item)
        room -= size
    if portion:
        yield portion


def _pauses() -> Iterator[float]:
    """Seconds between tries: from one to thirty, none quite like another's."""
    pause = 1.0
    while True:
        yield pause * random.uniform(0.8, 1.2)  # noqa: S311 - to spread clients, not to hide anything
        pause = min(2 * pause, 30.0)
