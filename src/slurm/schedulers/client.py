"""SchedulerClient: submits jobs and finds them in the queue, by a scheduler's commands over a transport."""

from __future__ import annotations

import logging
import shlex
import time
from threading import Timer
from typing import TYPE_CHECKING

from slurm.errors import ConnectionLost, SchedulerError, SubmissionError, SubmissionRefused, TransportError
from slurm.schedulers import submit_and_record
from slurm.schedulers.base import Failure, Target
from slurm.schedulers.job_control import TIMEOUT, JobControl
from slurm.schedulers.marks import tag
from slurm.transports.base import Completed, pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import NoReturn

    from slurm.options import Options
    from slurm.protocol import Block, Submitted
    from slurm.schedulers.base import Request, Scheduler
    from slurm.schedulers.submit_and_record import Link
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

_UNANSWERED = -1
_PAUSES = (1.0, 30.0)
"""The first and the longest pause between retries, in seconds."""
_BACKLOG = 10.0
"""Seconds to search for a job that may have been queued: a scheduler that recovers may have it in its backlog."""
_LEAST = 2.0
"""The shortest time-out of one query of this search, in seconds."""
_SIGNALS = range(129, 193)
"""Exit statuses of a command that a signal ended, as shells report it. sbatch itself uses 1 and 255."""
_OFFERS = 10.0
"""Seconds for the command that a refusal runs to say what the cluster has."""
_SILENT = 10.0
"""Seconds without an answer to a submission, after which the user is told."""
_PATIENCE = 900.0
"""Seconds to retry a submission while the scheduler cannot be reached."""


class SchedulerClient(JobControl):
    """Submits jobs to one scheduler, finds them, and reads limits. Raises as `JobControl`."""

    def __init__(self, scheduler: Scheduler, transport: Transport) -> None:
        super().__init__(scheduler, transport)
        self._submit_limits: str | None = None
        self.full = ""
        """The scheduler's message when the queue was last full."""

    def submit(
        self,
        record: str,
        key: str,
        requests: Sequence[Request],
        *,
        retry_job: Request | None = None,
        patience: float = _PATIENCE,
        answer: Completed | None = None,
    ) -> Submitted:
        """Queue blocks of a submission and write their ids to the file `record`, with one command.

        The same command writes the record, so no id is lost if the client dies. It also queues the `retry_job` for each
        block, and ignores its failure. If the queue is full, only the first blocks are queued, or none.

        Retries for `patience` seconds while the scheduler cannot be reached. If it is unknown what a command queued,
        searches the queue for the key and does not submit those blocks again. `answer` is the answer to the first try,
        if `submit_chain` has made it. Raises SubmissionRefused with the scheduler's message, or SchedulerNotFound; with
        `patience` 0, SchedulerError if it is unknown what was queued.
        """
        blocks = [request.block for request in requests]
        queued: list[str] = []
        end = time.monotonic() + patience
        for pause in pauses(*_PAUSES):
            done, answer = answer or self._queue(record, requests, queued, retry_job), None
            queued += self.scheduler.parse_submit(done.stdout)
            if len(queued) == len(requests):
                if done.status != 0:
                    _log.warning("cannot write %s: %s", record, done.words)
                break
            failure = self._failure(done)
            if failure is Failure.FULL:
                self.full = done.words
                return self._record(record, blocks, queued)
            if failure is Failure.UNEXPLAINED or (failure is Failure.UNKNOWN and patience):
                return self._recovered(record, key, requests, done, queued, known=failure is Failure.UNEXPLAINED)
            if failure is Failure.REFUSED or (patience and time.monotonic() > end):
                self._refuse(key, requests[0], done, queued, certain=failure is Failure.REFUSED)
            if not patience:
                raise SchedulerError(
                    f"{self.scheduler.name} did not report whether it queued {requests[0].comment}: {done.words}"
                )
            _log.warning("%s: %s; checking the queue, then submitting again", self.scheduler.name, done.words)
            time.sleep(pause)
            queued = _first(self._tagged(key, _clusters(requests[0]), until=end), key, blocks)
        return submit_and_record.submitted(self.scheduler.name, blocks, queued)

    def _failure(self, done: Completed) -> Failure:
        """Classify a submit command that printed too few ids."""
        printed_id = self.scheduler.parse_submit(done.stderr)
        if done.status < 0 or done.status in _SIGNALS or printed_id:
            return Failure.UNKNOWN
        return self.scheduler.parse_failure(done.words)

    def _queue(
        self, record: str, requests: Sequence[Request], queued: Sequence[str], retry_job: Request | None
    ) -> Completed:
        """Queue the remaining blocks. Some may be queued even if the command does not return."""
        script = submit_and_record.script(self.scheduler, record, requests, queued, retry_job)
        return self._run_script(script, jobs=len(requests) - len(queued))

    def _run_script(self, script: str, *, jobs: int) -> Completed:
        """Run a submit script for some jobs. Some may be queued even if it does not return."""
        notice = Timer(_SILENT, _log.warning, ("the scheduler has not answered for %g s; waiting", _SILENT))
        notice.daemon = True
        notice.start()
        try:
            return self._run("submit", ["sh", "-s"], stdin=script.encode(), timeout=TIMEOUT * (1 + jobs))
        except TransportError as error:
            return Completed(("sh", "-s"), _UNANSWERED, "", str(error))
        finally:
            notice.cancel()

    def submit_chain(self, links: Sequence[Link]) -> tuple[list[Submitted], list[Completed | None]]:
        """Queue submissions of one block each, and write the record of each, with one command.

        Returns the records of the first submissions, which are queued. For each of the others, returns the `answer` to
        pass to `submit` if the submission may be queued, or None if it is not queued.
        """
        done = self._run_script(submit_and_record.chain(self.scheduler, links), jobs=len(links))
        ids = self.scheduler.parse_submit(done.stdout)
        queued = [
            submit_and_record.submitted(self.scheduler.name, [link.request.block], [id_])
            for link, id_ in zip(links, ids, strict=False)
        ]
        if len(queued) == len(links):
            if done.status != 0:
                _log.warning("cannot write %s: %s", links[-1].record, done.words)
            return queued, []
        answer = done._replace(stdout="")
        broken = done.status < 0 or done.status in _SIGNALS  # else the script stopped at the first missing id
        return queued, [answer, *[answer if broken else None] * (len(links) - len(queued) - 1)]

    def submit_now(self, record: str, key: str, request: Request, *, retry_job: Request | None) -> Submitted:
        """Queue one block without retries, for callers that must not wait.

        Raises SubmissionRefused only if nothing is queued, and SchedulerError if it is unknown what is queued.
        """
        try:
            return self.submit(record, key, [request], retry_job=retry_job, patience=0.0)
        except SubmissionRefused as error:
            if error.certain:
                raise
            raise SchedulerError(str(error)) from error

    def submit_once(self, record: str, key: str, request: Request, *, retry_job: Request | None) -> Submitted:
        """Like `submit_now`, but safe if another process submits the same block: keeps the first job only."""
        name, block = tag(key, request.block), request.block
        clusters = _clusters(request)
        if not (ids := self._tagged(key, clusters).get(name)):
            queued = self.submit_now(record, key, request, retry_job=retry_job)
            ids = self._tagged(key, clusters).get(name)
            if not queued.blocks or not ids:
                return queued
        first, *others = sorted(ids, key=lambda id_: (len(id_), id_))
        if others:
            _log.warning("%s was queued more than once; kept %s", name, first)
            self.cancel([Target(id_, None, key) for id_ in others])
        return self._record(record, [block], [first])

    def recover(
        self, submissions: Mapping[str, Sequence[Block]], record: Callable[[str], str], *, clusters: str = ""
    ) -> Mapping[str, Submitted]:
        """Find queued blocks of submissions whose client died before it recorded their ids. Returns records by key.

        Writes each record to the file `record(key)`. Submissions without queued blocks are left out. `clusters` is the
        option of that name, which all these submissions share.
        """
        tagged = self._tagged(", ".join(submissions), clusters)
        found = {key: (blocks, _first(tagged, key, blocks)) for key, blocks in submissions.items()}
        return {key: self._record(record(key), blocks, ids) for key, (blocks, ids) in found.items() if ids}

    def _recovered(
        self,
        record: str,
        key: str,
        requests: Sequence[Request],
        done: Completed,
        queued: Sequence[str],
        *,
        known: bool,
    ) -> Submitted:
        """Find all blocks by their key after a submit command that did not report what it queued.

        Raises SubmissionRefused if any is missing. The refusal is certain if the scheduler is `known` to have rejected
        the job and the queue confirms it.
        """
        blocks = [request.block for request in requests]
        found = self._search_queue(key, blocks, _clusters(requests[0]), once=known)
        if found is None or len(found) < len(blocks):
            known_ids = max(found or [], list(queued), key=len)
            self._refuse(key, requests[0], done, known_ids, certain=known and found is not None)
        return self._record(record, blocks, found)

    def _search_queue(self, key: str, blocks: Sequence[Block], clusters: str, *, once: bool) -> list[str] | None:
        """Search for blocks that may be queued. Returns ids of the first ones; None if the scheduler did not answer.

        The time limit counts from the first query that reached the cluster, so a lost connection does not use it up.
        With `once`, the first answer counts: a rejected job is in no backlog.
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
        self, key: str, clusters: str, *, until: float = 0.0, timeout: float = TIMEOUT
    ) -> Mapping[str, list[str]]:
        """Return the ids of all queued jobs by their tags; `key` appears in errors.

        Transient failures are retried `until` that time.
        """
        for pause in pauses(*_PAUSES):
            done = self._run("find", self.scheduler.find_command(clusters), timeout=timeout)
            found = self.scheduler.parse_find(done.stdout)
            # One of several clusters may have the job while another does not answer.
            if found is not None and (done.status == 0 or any(mark.startswith(key) for _, mark in found)):
                return _by_tag(found)
            if not self.scheduler.is_transient(done.words) or time.monotonic() > until:
                raise SchedulerError(f"{self.scheduler.name} did not report whether {key} is queued: {done.words}")
            time.sleep(pause)
        raise AssertionError

    def _refuse(self, key: str, request: Request, done: Completed, queued: Sequence[str], *, certain: bool) -> NoReturn:
        """Raise SubmissionRefused. Cancels queued blocks first: a submission is queued completely or not at all."""
        name, script = self.scheduler.name, request.script
        try:
            if queued:
                self.cancel([Target(id_, None, key) for id_ in queued])
        except (SchedulerError, TransportError) as error:
            _log.warning("cannot cancel the blocks of %s: %s", key, error)
            certain = False
        from slurm.schedulers import causes  # noqa: PLC0415 - only for an error message

        options = self.scheduler.refused_options(done.words, request.options) if certain else ()
        offers = self.offers(_clusters(request), options) if certain else ""
        message = "\n".join(
            filter(None, (f"{name} refused {script}:", done.words, causes.describe(options, request.options), offers))
        )
        if not certain:
            message = (
                f"{name} did not report whether it queued {script}, and the job is not in the queue. It may still be "
                f"queued later, so it is not submitted again. Check with cluster.job({key!r}):\n"
                f"{done.words}"
            )
        raise SubmissionRefused(
            message, script=script, output=done.words, certain=certain, offers=offers, options=tuple(options)
        )

    def offers(self, cluster: str, about: Sequence[str] = ()) -> str:
        """Return what the cluster has, for a message; empty if it cannot be read at once."""
        output = self._at_once("limits", self.scheduler.offers_command(cluster, about))
        return "" if output is None else self.scheduler.parse_offers(output)

    def line(self, id_: str, cluster: str = "") -> str:
        """Return a waiting job's position in the queue, in words; empty if it cannot be read at once."""
        output = self._at_once("line", self.scheduler.line_command(cluster=cluster))
        return "" if output is None else self.scheduler.parse_line(output, id_)

    def _at_once(self, kind: str, command: Sequence[str]) -> str | None:
        """Return the output of a command for a message; None if there is no command, or it fails or takes long."""
        try:
            done = self._run(kind, command, timeout=_OFFERS) if command else None
        except (SchedulerError, SubmissionError, TransportError) as error:
            _log.debug("%s", error)
            return None
        return done.stdout if done and done.status == 0 else None

    def _record(self, record: str, blocks: Sequence[Block], ids: Sequence[str]) -> Submitted:
        """Write the record of blocks to the file `record`, and return it."""
        line = submit_and_record.recording(self.scheduler.name, record, blocks, list(map(shlex.quote, ids)))
        try:
            self._run("submit", ["sh", "-s"], stdin=line.encode())
        except TransportError as error:  # the job can be found by its key
            _log.warning("cannot write %s: %s", record, error)
        return submit_and_record.submitted(self.scheduler.name, blocks, ids)

    def room(self, options: Options) -> int | None:
        """Return how many more elements with these options the user may queue; None without a limit.

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
        """Return the number of elements that one array may have."""
        done = self._run("limits", self.scheduler.limits_command())
        if done.status != 0:
            raise SchedulerError(f"cannot read the limits of {self.scheduler.name}: {done.words}")
        return self.scheduler.parse_max_array_size(done.stdout)


def _first(tagged: Mapping[str, Sequence[str]], key: str, blocks: Sequence[Block]) -> list[str]:
    """Return the ids of a submission's blocks up to the first one that is not in the queue."""
    found = [tagged[name][0] if (name := tag(key, block)) in tagged else None for block in blocks]
    return [id_ for id_ in found[: (*found, None).index(None)] if id_ is not None]


def _by_tag(found: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """Group ids by the tags of their marks."""
    ids: dict[str, dict[str, None]] = {}
    for id_, mark in found:
        ids.setdefault(mark.partition(" ")[0], {})[id_] = None
    return {name: list(group) for name, group in ids.items()}


def _clusters(request: Request) -> str:
    """Return the option `clusters` of a block; empty for the default clusters."""
    return str(request.options.get("clusters") or "")
