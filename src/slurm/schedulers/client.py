"""SchedulerClient: submits and manages jobs with a scheduler's commands, run over a transport."""

from __future__ import annotations

import logging
import random
import shlex
import time
from typing import TYPE_CHECKING

from slurm.errors import ConnectionLost, SchedulerError, SubmissionRefused, TransportError
from slurm.schedulers import submit_and_record
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
"""Seconds to look for a job that may have been queued: a scheduler that recovers may have it in its backlog."""
_LEAST = 2.0
"""The shortest time-out of one query in that search, in seconds."""
_SIGNALS = range(129, 193)
"""Exit statuses with which a shell reports a command that a signal ended. sbatch's own are 1 and 255."""
_PATIENCE = 900.0
"""Seconds to wait for an unreachable scheduler before a submission is given up."""


class SchedulerClient(JobControl):
    """One scheduler on one machine. Raises TransportError if the machine cannot be reached."""

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
        """Queue blocks of a submission and write their ids to the file `record`, with one command.

        The same command writes the record, so a client that dies meanwhile loses nothing. It also queues the
        `caretaker`, a retry job, for each block, and ignores its failure. If the queue is full, only the first blocks
        are queued, or none.

        Retries while the scheduler cannot be reached. If a command fails without saying what it queued, looks for the
        key in the queue and never submits those blocks again. Raises SubmissionRefused with the scheduler's message,
        or SchedulerNotFound; with `patience` 0, SchedulerError if it is unknown what was queued.
        """
        blocks = [request.block for request in requests]
        taken: list[str] = []
        end = time.monotonic() + patience
        for pause in _pauses():
            done = self._queue(record, requests, taken, caretaker)
            taken += self.scheduler.parse_submit(done.stdout)
            if len(taken) == len(requests):
                if done.status != 0:
                    _log.warning("cannot write %s: %s", record, done.words)
                break
            failure = self._failure(done)
            if failure is Failure.FULL:
                self._write_record(record, blocks, taken)
                break
            if failure is Failure.UNEXPLAINED or (failure is Failure.UNKNOWN and patience):
                taken = self._recovered(record, key, requests, done, taken, known=failure is Failure.UNEXPLAINED)
                break
            if failure is Failure.REFUSED or (patience and time.monotonic() > end):
                self._refuse(key, requests[0].script, done, taken, certain=failure is Failure.REFUSED)
            if not patience:
                message = f"{self.scheduler.name} did not report whether it queued {requests[0].comment}: {done.words}"
                raise SchedulerError(message)
            _log.warning("%s: %s; checking the queue, then submitting again", self.scheduler.name, done.words)
            time.sleep(pause)
            taken = _first(self._tagged(key, _clusters(requests[0]), until=end), key, blocks)
        return self._submitted(blocks, taken)

    def _failure(self, done: Completed) -> Failure:
        """Classify a submit command that printed too few ids."""
        printed_id = self.scheduler.parse_submit(done.stderr)
        if done.status < 0 or done.status in _SIGNALS or printed_id:
            return Failure.UNKNOWN
        return self.scheduler.parse_failure(done.words)

    def _queue(
        self, record: str, requests: Sequence[Request], taken: Sequence[str], caretaker: Request | None
    ) -> Completed:
        """Queue the remaining blocks. Some may be queued even if no answer comes."""
        script = submit_and_record.script(self.scheduler, record, requests, taken, caretaker)
        limit = _TIMEOUT * (1 + len(requests) - len(taken))
        try:
            return self._run("submit", ["sh", "-s"], stdin=script.encode(), timeout=limit)
        except TransportError as error:
            return Completed(("sh", "-s"), _UNANSWERED, "", str(error))

    def submit_now(self, record: str, key: str, request: Request, *, caretaker: Request | None) -> Submitted:
        """Queue one block without retries, for callers that must not block.

        Raises SubmissionRefused only if nothing is queued, SchedulerError if that is unknown.
        """
        try:
            return self.submit(record, key, [request], caretaker=caretaker, patience=0.0)
        except SubmissionRefused as error:
            if error.certain:
                raise
            raise SchedulerError(str(error)) from error

    def submit_once(self, record: str, key: str, request: Request, *, caretaker: Request | None) -> Submitted:
        """Like `submit_now`, but safe if another process submits the same block: cancels duplicates of the first."""
        name, block = tag(key, request.block), request.block
        clusters = _clusters(request)
        if not (ids := self._tagged(key, clusters).get(name)):
            queued = self.submit_now(record, key, request, caretaker=caretaker)
            ids = self._tagged(key, clusters).get(name)
            if not queued.blocks or not ids:
                return queued
        first, *others = sorted(ids, key=lambda id_: (len(id_), id_))
        if others:
            _log.warning("%s was queued more than once; kept %s", name, first)
            self.cancel([Target(id_, None, key) for id_ in others])
        self._write_record(record, [block], [first])
        return self._submitted([block], [first])

    def adopt(
        self, several: Mapping[str, Sequence[Block]], record: Callable[[str], str], *, clusters: str = ""
    ) -> Mapping[str, Submitted]:
        """Find queued blocks of several submissions whose client died before it recorded their ids; by key.

        Writes each record to the file that `record` names. Submissions without queued blocks are left out. `clusters`
        is the option that all of them were submitted with.
        """
        tagged = self._tagged(", ".join(several), clusters)
        found = {
            key: self._submitted(blocks, ids) for key, blocks in several.items() if (ids := _first(tagged, key, blocks))
        }
        for key, submitted in found.items():
            self._write_record(record(key), several[key], [block.id for block in submitted.blocks])
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
        """Find the ids of all blocks by their key, after a submit command that did not say what it queued.

        Raises SubmissionRefused if any is missing. The refusal is certain if the scheduler is `known` to have rejected
        the job, and the queue confirms it.
        """
        blocks = [request.block for request in requests]
        found = self._search_queue(key, blocks, _clusters(requests[0]), once=known)
        if found is None or len(found) < len(blocks):
            some = max(found or [], list(taken), key=len)
            self._refuse(key, requests[0].script, done, some, certain=known and found is not None)
        self._write_record(record, blocks, found)
        return found

    def _search_queue(self, key: str, blocks: Sequence[Block], clusters: str, *, once: bool) -> list[str] | None:
        """Look for blocks that may be queued; returns the ids of the first ones, None if the scheduler did not answer.

        The time counts from the first query that reached the cluster, so a lost connection doesn't use it up. With
        `once`, the first answer counts: a rejected job is in no backlog.
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
                _log.warning("%s; searching the queue again for %s", error, key)
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
        """The ids of all queued jobs, by their tags; `key` appears in errors.

        Transient failures are retried `until` that time.
        """
        for pause in _pauses():
            done = self._run("find", self.scheduler.find_command(clusters), timeout=timeout)
            found = self.scheduler.parse_find(done.stdout)
            # One of several clusters may have the job while another doesn't answer.
            if found is not None and (done.status == 0 or any(mark.startswith(key) for _, mark in found)):
                return _by_tag(found)
            if not self.scheduler.is_transient(done.words) or time.monotonic() > until:
                message = f"{self.scheduler.name} did not report whether {key} is queued: {done.words}"
                raise SchedulerError(message)
            time.sleep(pause)
        raise AssertionError

    def _refuse(self, key: str, script: str, done: Completed, taken: Sequence[str], *, certain: bool) -> NoReturn:
        """Give up a submission and cancel its queued blocks: a submission is queued as a whole or not at all."""
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
                f"{name} did not report whether it queued {script}, and the job is not in the queue. It may still be "
                f"queued later, so it is not submitted again. Check with cluster.job({key!r}):\n"
                f"{done.words}"
            )
        raise SubmissionRefused(message, script=script, output=done.words, certain=certain)

    def _write_record(self, record: str, blocks: Sequence[Block], ids: Sequence[str]) -> None:
        line = submit_and_record.recording(self.scheduler.name, record, blocks, list(map(shlex.quote, ids)))
        try:
            self._run("submit", ["sh", "-s"], stdin=line.encode())
        except TransportError as error:  # the job can be found by its key
            _log.warning("cannot write %s: %s", record, error)

    def _submitted(self, blocks: Sequence[Block], ids: Sequence[str]) -> Submitted:
        return submit_and_record.submitted(self.scheduler.name, blocks, ids)

    def room(self, options: Options) -> int | None:
        """The number of further elements with such options that the user may queue; None without a limit.

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
        """The number of elements that one array may have."""
        done = self._run("limits", self.scheduler.limits_command())
        if done.status != 0:
            message = f"cannot read the limits of {self.scheduler.name}: {done.words}"
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
    """The option `clusters` of a block; empty for the default clusters."""
    return str(request.options.get("clusters") or "")


def _pauses() -> Iterator[float]:
    """Seconds between retries: from one to thirty, with jitter."""
    pause = 1.0
    while True:
        yield pause * random.uniform(0.8, 1.2)  # noqa: S311 - to spread clients, not to hide anything
        pause = min(2 * pause, 30.0)
