"""SchedulerClient: submits and manages jobs with a scheduler's commands, run over a transport."""

from __future__ import annotations

import logging
import random
import shlex
import time
from typing import TYPE_CHECKING

from slurm.errors import ConnectionLost, SchedulerError, SubmissionRefused, TransportError
from slurm.schedulers import submit_script
from slurm.schedulers.base import Failure, Target, tag
from slurm.schedulers.job_control import TIMEOUT, JobControl
from slurm.transports.base import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import NoReturn

    from slurm.options import Options
    from slurm.protocol import Block, Submitted
    from slurm.schedulers.base import Request, Scheduler
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

_UNANSWERED = -1
_TIMEOUT = TIMEOUT
_BACKLOG = 10.0
"""Seconds to look for a job of which it is unknown whether it was queued: a scheduler that answers again may have it in
its backlog."""
_LEAST = 2.0
"""Seconds for one question of that look, at least."""
_SIGNALS = range(129, 193)
"""The exit statuses by which a shell tells that a signal ended a command. sbatch's own are 1 and 255."""
_PATIENCE = 900.0
"""Seconds for a scheduler that can't be reached to come back, before a submission is given up."""


class SchedulerClient(JobControl):
    """One scheduler at one place. Raises TransportError if the place can't be reached."""

    def __init__(self, scheduler: Scheduler, transport: Transport) -> None:
        super().__init__(scheduler, transport)
        self._submit_limits: str | None = None

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

        The record is written there, next to the scheduler's answer: a client that dies meanwhile loses nothing. A
        `caretaker` is queued for each block; a job is none the worse without one. Where the queue has no room for all,
        the first blocks are taken, or none.

        While the scheduler can't be reached this tries again. If it isn't known what was queued, the key is looked for
        in the queue; what isn't found is not submitted again. Raises SubmissionRefused with the scheduler's words, or
        SchedulerNotFound; without patience, SchedulerError if it isn't known what was queued.
        """
        blocks = [request.block for request in requests]
        taken: list[str] = []
        end = time.monotonic() + patience
        for pause in _pauses():
            done = self._queue(record, requests, taken, caretaker)
            taken += self.scheduler.parse_submit(done.stdout)
            if len(taken) == len(requests):
                if done.status != 0:
                    _log.warning("%s could not be written: %s", record, done.words)
                break
            failure = self._failure(done)
            if failure is Failure.FULL:
                self._note(record, blocks, taken)
                break
            if failure is Failure.UNEXPLAINED or (failure is Failure.UNKNOWN and patience):
                taken = self._recovered(record, key, requests, done, taken, known=failure is Failure.UNEXPLAINED)
                break
            if failure is Failure.REFUSED or (patience and time.monotonic() > end):
                self._refuse(key, requests[0].script, done, taken, certain=failure is Failure.REFUSED)
            if not patience:
                message = f"{self.scheduler.name} doesn't tell whether it has taken {requests[0].comment}: {done.words}"
                raise SchedulerError(message)
            _log.warning("%s: %s; looking what it has taken, then trying again", self.scheduler.name, done.words)
            time.sleep(pause)
            taken = _first(self._tagged(key, _clusters(requests[0]), until=end), key, blocks)
        return self._submitted(blocks, taken)

    def _failure(self, done: Completed) -> Failure:
        """What a submit command that printed too few ids says of the job."""
        said_an_id = self.scheduler.parse_submit(done.stderr)
        if done.status < 0 or done.status in _SIGNALS or said_an_id:
            return Failure.UNKNOWN
        return self.scheduler.parse_failure(done.words)

    def _queue(
        self, record: str, requests: Sequence[Request], taken: Sequence[str], caretaker: Request | None
    ) -> Completed:
        """Queue the blocks that are not taken yet; some may be taken also if there is no answer."""
        script = submit_script.script(self.scheduler, record, requests, taken, caretaker)
        limit = _TIMEOUT * (1 + len(requests) - len(taken))
        try:
            return self._run("submit", ["sh", "-s"], stdin=script.encode(), timeout=limit)
        except TransportError as error:
            return Completed(("sh", "-s"), _UNANSWERED, "", str(error))

    def submit_now(self, record: str, key: str, request: Request, *, caretaker: Request | None) -> Submitted:
        """Queue one block at the first try, or not: whoever asks has others to serve meanwhile.

        Raises SubmissionRefused only if nothing is queued, SchedulerError if that isn't known.
        """
        try:
            return self.submit(record, key, [request], caretaker=caretaker, patience=0.0)
        except SubmissionRefused as error:
            if error.certain:
                raise
            raise SchedulerError(str(error)) from error

    def submit_once(self, record: str, key: str, request: Request, *, caretaker: Request | None) -> Submitted:
        """The same for a block that others may have queued, or may queue just now: of several, the first stays."""
        name, block = tag(key, request.block), request.block
        clusters = _clusters(request)
        if not (ids := self._tagged(key, clusters).get(name)):
            queued = self.submit_now(record, key, request, caretaker=caretaker)
            ids = self._tagged(key, clusters).get(name)
            if not queued.blocks or not ids:
                return queued
        first, *others = sorted(ids, key=lambda id_: (len(id_), id_))
        if others:
            _log.warning("%s was queued more than once; %s stays", name, first)
            self.cancel([Target(id_, None, key) for id_ in others])
        self._note(record, [block], [first])
        return self._submitted([block], [first])

    def adopt(
        self, several: Mapping[str, Sequence[Block]], record: Callable[[str], str], *, clusters: str = ""
    ) -> Mapping[str, Submitted]:
        """The ids of blocks whose submitters died before they learnt them, by key: as far as each had come.

        They are recorded now, each in the file that `record` names. Those of which nothing is queued are left out.
        `clusters` is what all of them were asked to be submitted to.
        """
        tagged = self._tagged(", ".join(several), clusters)
        found = {
            key: self._submitted(blocks, ids) for key, blocks in several.items() if (ids := _first(tagged, key, blocks))
        }
        for key, submitted in found.items():
            self._note(record(key), several[key], [block.id for block in submitted.blocks])
        return found

    def _recovered(
        self,
        record: str,
        key: str,
        requests: Sequence[Request],
        done: Completed,
        taken: Sequence[str],
        *,
        known: bool,
    ) -> list[str]:
        """The ids of all blocks, found by their key after a submit command that left open what it had queued.

        Raises SubmissionRefused if they aren't all there; that is certain where it is `known` that the scheduler said
        no, and the queue doesn't contradict.
        """
        blocks = [request.block for request in requests]
        found = self._look(key, blocks, _clusters(requests[0]), once=known)
        if found is None or len(found) < len(blocks):
            some = max(found or [], list(taken), key=len)
            self._refuse(key, requests[0].script, done, some, certain=known and found is not None)
        self._note(record, blocks, found)
        return found

    def _look(self, key: str, blocks: Sequence[Block], clusters: str, *, once: bool) -> list[str] | None:
        """Look for blocks that may be queued: the ids of the first ones. None if the scheduler hasn't answered.

        The time counts from the first question that reached the place: a connection that was lost is waited for. With
        `once`, the first answer counts: what the scheduler has refused is in no backlog.
        """
        found: list[str] | None = None
        give_up = time.monotonic() + _PATIENCE
        end: float | None = None
        while end is None or time.monotonic() < end:
            begun = time.monotonic()
            try:
                left = max(_LEAST, _BACKLOG if end is None else end + _LEAST - begun)
                found = _first(self._tagged(key, clusters, timeout=left), key, blocks)
            except ConnectionLost as error:
                if begun > give_up:
                    break
                _log.warning("%s; looking again for %s", error, key)
                time.sleep(1.0)
                continue
            except (SchedulerError, TransportError) as error:
                _log.debug("%s", error)
            end = end or begun + _BACKLOG - _LEAST
            if found is not None and (once or len(found) == len(blocks)):
                break
            time.sleep(max(0.0, min(1.0, end - time.monotonic())))
        return found

    def _tagged(
        self, key: str, clusters: str, *, until: float = 0.0, timeout: float = _TIMEOUT
    ) -> Mapping[str, list[str]]:
        """The ids of all that is in the queue, by the first words of their marks; `key` is for an error.

        A scheduler that is away is asked again, `until` then.
        """
        for pause in _pauses():
            done = self._run("find", self.scheduler.find_command(clusters), timeout=timeout)
            found = self.scheduler.parse_find(done.stdout)
            # Of several clusters, one may have the job and another not answer.
            if found is not None and (done.status == 0 or any(mark.startswith(key) for _, mark in found)):
                return _by_tag(found)
            if not self.scheduler.is_transient(done.words) or time.monotonic() > until:
                message = f"{self.scheduler.name} doesn't tell whether it has {key}: {done.words}"
                raise SchedulerError(message)
            time.sleep(pause)
        raise AssertionError

    def _refuse(self, key: str, script: str, done: Completed, taken: Sequence[str], *, certain: bool) -> NoReturn:
        """Give up a submission: a submission is whole or not at all, so blocks that were taken are cancelled."""
        name = self.scheduler.name
        try:
            if taken:
                self.cancel([Target(id_, None, key) for id_ in taken])
        except (SchedulerError, TransportError) as error:
            _log.warning("%s was given up: %s", key, error)
            certain = False
        message = f"{name} refused {script}:\n{done.words}"
        if not certain:
            message = (
                f"{name} doesn't tell whether it has taken {script}, and it was not found in the queue. It may be "
                f"queued yet, so it is not submitted again; cluster.job({key!r}) tells what becomes of it:\n"
                f"{done.words}"
            )
        raise SubmissionRefused(message, script=script, output=done.words, certain=certain)

    def _note(self, record: str, blocks: Sequence[Block], ids: Sequence[str]) -> None:
        line = submit_script.recording(self.scheduler.name, record, blocks, list(map(shlex.quote, ids)))
        try:
            self._run("submit", ["sh", "-s"], stdin=line.encode())
        except TransportError as error:  # what is queued is found by its key
            _log.warning("%s could not be written: %s", record, error)

    def _submitted(self, blocks: Sequence[Block], ids: Sequence[str]) -> Submitted:
        return submit_script.submitted(self.scheduler.name, blocks, ids)

    def room(self, options: Options) -> int | None:
        """How many more elements with such options the queue takes of this user; None if nothing is told.

        The limits are read once.
        """
        if self._submit_limits is None:
            command = self.scheduler.submit_limits_command()
            self._submit_limits = self._run("limits", command, timeout=60).stdout if command else ""
        most = self.scheduler.parse_submit_limits(self._submit_limits, options)
        if most is None:
            return None
        queued = self._run("query", self.scheduler.queued_command())
        return max(0, most - len(queued.stdout.split())) if queued.status == 0 else 0

    def max_array_size(self) -> int:
        """How many elements one array may have."""
        done = self._run("limits", self.scheduler.limits_command())
        if done.status != 0:
            message = f"{self.scheduler.name} doesn't tell its limits: {done.words}"
            raise SchedulerError(message)
        return self.scheduler.parse_max_array_size(done.stdout)


def _first(tagged: Mapping[str, Sequence[str]], key: str, blocks: Sequence[Block]) -> list[str]:
    """The ids of the first blocks of a submission that are in the queue."""
    found = [tagged[name][0] if (name := tag(key, block)) in tagged else None for block in blocks]
    return [id_ for id_ in found[: (*found, None).index(None)] if id_ is not None]


def _by_tag(found: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """Ids by the first words of their marks."""
    ids: dict[str, dict[str, None]] = {}
    for id_, mark in found:
        ids.setdefault(mark.partition(" ")[0], {})[id_] = None
    return {name: list(some) for name, some in ids.items()}


def _clusters(request: Request) -> str:
    """The clusters that a block was asked to be submitted to; empty for those that are so by default."""
    return str(request.options.get("clusters") or "")


def _pauses() -> Iterator[float]:
    """Seconds between tries: from one to thirty, none quite like another's."""
    pause = 1.0
    while True:
        yield pause * random.uniform(0.8, 1.2)  # noqa: S311 - to spread clients, not to hide anything
        pause = min(2 * pause, 30.0)
