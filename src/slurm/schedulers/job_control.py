"""JobControl: query, requeue and cancel queued jobs, by a scheduler's commands over a transport."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from slurm.errors import SchedulerError, SchedulerNotFound, TransportError
from slurm.schedulers.base import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slurm.protocol import Origin
    from slurm.schedulers.base import Scheduler, Target
    from slurm.transports.base import Completed, Transport

T = TypeVar("T")

NOT_FOUND = 127
TIMEOUT = 300.0
"""Seconds for one command: sbatch itself retries for 120 s if MaxJobCount is reached."""
_ACCOUNTING_PAUSE = 60.0
"""Seconds without a query of an accounting that did not answer."""
_MOST_IDS = 2000
"""The limit of ids in one command: Linux limits an argument to 128 KiB."""


class Answers(NamedTuple):
    """Reports about ids, the ids on clusters that did not answer, and the last error of such a cluster."""

    reports: Sequence[Report]
    unanswered: set[str]
    trouble: str | None


class JobControl:
    """Queries and changes jobs of one scheduler. Raises TransportError if its machine cannot be reached."""

    def __init__(self, scheduler: Scheduler, transport: Transport) -> None:
        self.scheduler = scheduler
        self._transport = transport
        self.here: Origin | None = None
        """The scheduler's identity, if it is known."""
        self._history_from = 0.0
        self.history_trouble = ""
        """Why the accounting did not answer the last time; empty if it did, or if the site has none."""
        self.calls: dict[str, int] = {}
        """The number of commands that were run, by kind."""

    def requeue(self, id_: str) -> str | None:
        """Requeue a running element under its id. Returns the scheduler's error message, or None for success."""
        if not (command := self.scheduler.requeue_command(id_)):
            return f"{self.scheduler.name} cannot requeue jobs"
        done = self._run("requeue", command)
        return None if done.status == 0 else done.words

    def inside_command(self, id_: str, argv: Sequence[str], *, terminal: bool) -> Sequence[str]:
        """Return the command that runs `argv` in the allocation of a running element.

        Runs nothing. Raises SchedulerError if the scheduler has no such command.
        """
        ((cluster, numbers),) = self._by_cluster([id_]).items()
        command = self.scheduler.inside_command(next(iter(numbers)), argv, terminal=terminal, cluster=cluster)
        if not command:
            raise SchedulerError(f"{self.scheduler.name} cannot run a command in the allocation of a job")
        return command

    def query(self, ids: Sequence[str]) -> Answers:
        """Query the states of all elements of ids, with one command for each cluster.

        There is no report for an id that the scheduler has forgotten. Ids on a cluster that fails are `unanswered`.
        """
        found, unanswered, trouble = list[Report](), set[str](), None
        for cluster, group in self._by_cluster(ids).items():
            for portion in _portions(list(group), [1] * len(group)):
                done = self._run("query", self.scheduler.status_command(portion, cluster=cluster))
                reports = self.scheduler.parse_status(done.stdout)
                if done.status != 0:
                    reports = (reports or ()) if self.scheduler.ids_unknown(done.words) else None
                if reports is None:
                    unanswered.update(id_ for number in portion for id_ in group[number])
                    trouble = (
                        f"cannot get the state of jobs {', '.join(portion)} from {self.scheduler.name}: {done.words}"
                    )
                    continue
                self.here = self.scheduler.parse_origin(done.stdout) or self.here
                found += [report._replace(id=id_) for report in reports for id_ in group.get(report.id, ())]
        return Answers(found, unanswered, trouble)

    def history(self, ids: Sequence[str]) -> Iterable[Report]:
        """Return reports about ids from the accounting; none if it is down.

        A site without accounting is queried only once. After a time-out there are no queries for a minute.
        """
        found: list[Report] = []
        for cluster, group in self._by_cluster(ids).items():
            for portion in _portions(list(group), [1] * len(group)):
                if time.monotonic() < self._history_from:
                    return found
                reports = self._history(portion, cluster)
                found += [report._replace(id=id_) for report in reports for id_ in group.get(report.id, ())]
        return found

    def _history(self, ids: Sequence[str], cluster: str) -> Iterable[Report]:
        if not (command := self.scheduler.accounting_command(ids, cluster=cluster)):
            return ()
        try:
            done = self._run("history", command, timeout=self.scheduler.accounting_timeout)
        except TransportError as error:
            self._history_from = time.monotonic() + _ACCOUNTING_PAUSE
            self.history_trouble = str(error)
            return ()
        except SchedulerNotFound:
            self._history_from = math.inf
            return ()
        missing = self.scheduler.accounting_missing(done.words)
        if missing:
            self._history_from = math.inf
        self.history_trouble = "" if missing or done.status == 0 else done.words
        return self.scheduler.parse_accounting(done.stdout) if done.status == 0 else ()

    def cancel(self, targets: Sequence[Target]) -> None:
        """Cancel targets that belong to their submissions, with one command for each cluster. Ignores finished jobs."""
        self._change("cancel", targets, self.scheduler.cancel_script)

    def hold(self, targets: Sequence[Target], *, release: bool = False) -> None:
        """Keep pending elements of targets from starting, or let them start again, as `cancel` does.

        Afterwards, an element of the targets that is reported as pending does not start until it is released. Running
        elements run on, but may not start again after a requeue until they are released. Raises SchedulerError if the
        scheduler cannot hold single elements.
        """
        self._change("release" if release else "hold", targets, partial(self.scheduler.hold_script, release=release))

    def _change(self, kind: str, targets: Sequence[Target], script_of: Callable[..., str]) -> None:
        for cluster, group in self._by_cluster([target.id for target in targets]).items():
            names = {id_: number for number, ids in group.items() for id_ in ids}
            bare = [target._replace(id=names[target.id]) for target in targets if target.id in names]
            parts = [part for target in bare for part in _parts(target)]
            for portion in _portions(parts, [len(part.tasks or "1") for part in parts]):
                script = script_of(portion, cluster=cluster)
                if not script:
                    raise SchedulerError(f"{self.scheduler.name} cannot {kind} single elements of an array")
                done = self._run(kind, ["sh", "-s"], stdin=script.encode())
                if done.status != 0 and not self.scheduler.ids_unknown(done.words):
                    ids = ", ".join(target.id for target in portion)
                    raise SchedulerError(f"{self.scheduler.name} cannot {kind} jobs {ids}: {done.words}")

    def _by_cluster(self, ids: Iterable[str]) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """Group ids by cluster, "" for the local one. Maps the ids without the cluster to the full ids."""
        here = self.here.cluster if self.here else ""
        groups: dict[str, dict[str, list[str]]] = {}
        for id_ in dict.fromkeys(ids):
            number, cluster = self.scheduler.split_id(id_)
            groups.setdefault("" if cluster == here else cluster, {}).setdefault(number, []).append(id_)
        return groups

    def _run(self, kind: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = TIMEOUT) -> Completed:
        self.calls[kind] = self.calls.get(kind, 0) + 1
        done = self._transport.run(argv, stdin=stdin, timeout=timeout)
        if done.status == NOT_FOUND:
            raise SchedulerNotFound(
                f"{done.words.splitlines()[-1]}. The scheduler {self.scheduler.name!r} needs its commands on PATH: run "
                "this where they are (a login node), or load the module that provides them. If only login shells have "
                "them, use Cluster(…, login_shell=True). To run without a scheduler, use Cluster('local')"
            )
        return done


def _parts(target: Target) -> Iterator[Target]:
    """Split a target so that one command can name its tasks."""
    if target.tasks is None:
        yield target
    for at in range(0, len(target.tasks or ()), _MOST_IDS):
        yield target._replace(tasks=target.tasks[at : at + _MOST_IDS])  # type: ignore[index]


def _portions(items: Sequence[T], sizes: Sequence[int]) -> Iterator[list[T]]:
    """Split items, by their sizes, into portions for one command each."""
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
