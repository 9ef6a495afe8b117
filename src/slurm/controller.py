"""Controller: runs a scheduler's commands over a transport, and counts them."""

from __future__ import annotations

import logging
import math
import random
import shlex
import time
from typing import TYPE_CHECKING

from slurm.errors import SchedulerError, SchedulerNotFound, SubmissionRefused, TransportError
from slurm.protocol import SUBMITTED, Block, Submitted
from slurm.schedulers.base import tag
from slurm.transports.base import Completed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import NoReturn

    from slurm.schedulers.base import Report, Request, Scheduler
    from slurm.transports.base import Transport

    Span = tuple[int, int]  # a block: its first element, and how many

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

# Within a job, its SLURM_ variables would be taken for the new job's; the user's own configuration stays.
_SCRUB = """\
if [ -n "${SLURM_JOB_ID:-}" ]; then
    for name in $(env | sed -n 's/^\\(SLURM_[A-Za-z0-9_]*\\)=.*/\\1/p'); do
        case $name in SLURM_CONF*|SLURM_CLUSTERS|SLURM_JWT|SLURM_TIME_FORMAT) ;; *) unset "$name" ;; esac
    done
fi
"""


class Controller:
    """One scheduler at one place. Raises TransportError if the place can't be reached."""

    def __init__(self, scheduler: Scheduler, transport: Transport) -> None:
        self.scheduler = scheduler
        self._transport = transport
        self._history_from = 0.0
        self.calls: dict[str, int] = {}
        """How many commands of each kind were run."""

    def submit(self, directory: str, key: str, requests: Sequence[Request]) -> Submitted:
        """Queue the blocks of a submission and record their ids in its directory, by one command.

        The record is written there, next to the scheduler's answer: a client that dies meanwhile loses nothing. While
        the scheduler can't be reached this tries again, but never queues twice what was taken without an answer: its
        key, in its comment, tells. Raises SubmissionRefused with the scheduler's words, or SchedulerNotFound.
        """
        spans = [(request.first, request.count) for request in requests]
        taken: list[str] = []
        end = time.monotonic() + _PATIENCE
        for pause in _pauses():
            script = _SCRUB + self._script(directory, requests, taken)
            limit = _TIMEOUT * (1 + len(requests) - len(taken))
            try:
                done = self._run("submit", ["sh", "-s"], stdin=script.encode(), timeout=limit)
            except TransportError as error:  # some of it may have been taken all the same
                done = Completed(("sh", "-s"), _UNANSWERED, "", str(error))
            taken += done.stdout.split()
            if len(taken) == len(requests):
                if done.status != 0:
                    _log.warning("%s/%s could not be written: %s", directory, SUBMITTED, done.words)
                break
            passes = done.status == _UNANSWERED or self.scheduler.passing(done.words)
            if not passes or time.monotonic() > end:
                self._refuse(requests[0].script, done, taken)
            _log.warning("%s: %s; looking what it has taken, then trying again", self.scheduler.name, done.words)
            time.sleep(pause)
            taken = self._taken(key, spans, until=end)
            if len(taken) < len(spans):  # what came before the trouble may be worked off after the first answer
                time.sleep(_BACKLOG)
                taken = self._taken(key, spans, until=end)
        return self._submitted(spans, taken)

    def adopt(self, directory: str, key: str, spans: Sequence[Span]) -> Submitted | None:
        """The ids of a submission whose client died before it learnt them, recorded now; None if it isn't queued."""
        ids = self._taken(key, spans, until=0.0)
        if len(ids) < len(spans):
            return None
        script = self._record(directory, spans, [shlex.quote(id_) for id_ in ids])
        self._run("submit", ["sh", "-s"], stdin=script.encode())
        return self._submitted(spans, ids)

    def _taken(self, key: str, spans: Sequence[Span], *, until: float) -> list[str]:
        """The ids of the first blocks that were queued under a key. One that is away is asked again, `until` then."""
        for pause in _pauses():
            done = self._run("find", self.scheduler.find())
            if done.status == 0:
                break
            if not self.scheduler.passing(done.words) or time.monotonic() > until:
                message = f"{self.scheduler.name} doesn't tell whether it has {key}: {done.words}"
                raise SchedulerError(message)
            time.sleep(pause)
        ids = dict(reversed([(comment.partition(" ")[0], id_) for id_, comment in self.scheduler.found(done.stdout)]))
        found = [ids.get(tag(key, first)) for first, _ in spans]
        return [id_ for id_ in found[: (*found, None).index(None)] if id_ is not None]

    def _refuse(self, script: str, done: Completed, taken: Sequence[str]) -> NoReturn:
        if taken:  # earlier blocks were: a submission is whole or not at all
            self.cancel(dict.fromkeys(taken))
        message = f"{self.scheduler.name} refused {script}:\n{done.words}"
        raise SubmissionRefused(message, script=script, output=done.words)

    def _script(self, directory: str, requests: Sequence[Request], taken: Sequence[str]) -> str:
        """Shell lines: queue each block not taken yet, print its id (the last line it is told), record all ids."""
        names = [f"id{number}" for number in range(len(requests))]
        lines = ["newline='\n'"]
        lines += [f"{name}={shlex.quote(id_)}" for name, id_ in zip(names, taken, strict=False)]
        for name, request in list(zip(names, requests, strict=True))[len(taken) :]:
            lines.append(f"{name}=$({shlex.join(self.scheduler.submit(request))} < /dev/null) || exit")
            lines.append(f'{name}=${{{name}##*"$newline"}}; echo "${name}"')
        spans = [(request.first, request.count) for request in requests]
        return "\n".join([*lines, self._record(directory, spans, [f'"${name}"' for name in names])])

    def _record(self, directory: str, spans: Sequence[Span], words: Sequence[str]) -> str:
        """A shell line that writes `submitted.json`, with ids that are words of the shell."""
        text = shlex.quote(self._submitted(spans, ["%s"] * len(spans)).dumps().decode().strip())
        target = shlex.quote(f"{directory}/{SUBMITTED}")
        return f"umask 077; printf {text} {' '.join(words)} > {target}.new && mv {target}.new {target}"

    def _submitted(self, spans: Sequence[Span], ids: Sequence[str]) -> Submitted:
        blocks = [Block(id=id_, first=first, count=count) for id_, (first, count) in zip(ids, spans, strict=True)]
        return Submitted(scheduler=self.scheduler.name, blocks=tuple(blocks))

    def query(self, ids: Sequence[str]) -> Iterable[Report]:
        """The states of all elements of ids, by one command; ids that the scheduler has forgotten are left out.

        Raises SchedulerError if the scheduler can't tell.
        """
        found: list[Report] = []
        for some in (ids[at : at + _MOST_IDS] for at in range(0, len(ids), _MOST_IDS)):
            done = self._run("query", self.scheduler.query(some))
            if done.status != 0 and not self.scheduler.knows_none(done.words):
                message = f"{self.scheduler.name} doesn't tell the state of jobs {', '.join(some)}: {done.words}"
                raise SchedulerError(message)
            found += self.scheduler.reports(done.stdout)
        return found

    def history(self, ids: Sequence[str]) -> Iterable[Report]:
        """What the accounting remembers of ids that the scheduler has forgotten; nothing where it is down.

        That a site has no accounting is learnt once and remembered; one that hangs is left alone for a while, lest it
        keep everybody from looking at outcomes.
        """
        if time.monotonic() < self._history_from:
            return ()
        try:
            done = self._run("history", self.scheduler.history(ids), timeout=_HISTORY_TIMEOUT)
        except TransportError:
            self._history_from = time.monotonic() + _HISTORY_PAUSE
            return ()
        except SchedulerNotFound:
            self._history_from = math.inf
            return ()
        if self.scheduler.has_no_history(done.words):
            self._history_from = math.inf
        return tuple(self.scheduler.histories(done.stdout)) if done.status == 0 else ()

    def cancel(self, tasks: Mapping[str, Sequence[int] | None]) -> None:
        """Cancel array tasks of ids, all of an id where there is None; those that have ended already stay ended."""
        for some in _portions(tasks):
            done = self._run("cancel", self.scheduler.cancel(some))
            if done.status != 0:
                message = f"{self.scheduler.name} didn't cancel {', '.join(some)}: {done.words}"
                raise SchedulerError(message)

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
                "this where they are (a login node), or load what brings them. To run on this machine: Cluster('local')"
            )
            raise SchedulerNotFound(message)
        return done


def _portions(tasks: Mapping[str, Sequence[int] | None]) -> Iterator[dict[str, Sequence[int] | None]]:
    """The same in portions of as many ids, or numbers of tasks, as one command may have."""
    portion: dict[str, Sequence[int] | None] = {}
    room = _MOST_IDS
    for id_, numbers in tasks.items():
        parts = [numbers[at : at + _MOST_IDS] for at in range(0, len(numbers), _MOST_IDS)] if numbers else [numbers]
        for part in parts:
            size = len(part) if part else 1
            if size > room:
                yield portion
                portion, room = {}, _MOST_IDS
            portion[id_] = part
            room -= size
    if portion:
        yield portion


def _pauses() -> Iterator[float]:
    """Seconds between tries: from one to thirty, none quite like another's."""
    pause = 1.0
    while True:
        yield pause * random.uniform(0.8, 1.2)  # noqa: S311 - to spread clients, not to hide anything
        pause = min(2 * pause, 30.0)
