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


class CannotHold(SchedulerError):
    """The scheduler cannot hold or release single elements of an array."""


class _Step(NamedTuple):
    """A command about jobs."""

    kind: str
    argv: Sequence[str]
    ids: Mapping[str, Sequence[str]]
    """The full ids, by the ids in the command."""


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
        return self._answers((ask, self._run("query", ask.argv)) for ask in self._queries(ids))

    def hold_and_query(self, targets: Sequence[Target], ids: Sequence[str]) -> Answers:
        """Hold pending elements of targets, as `hold`, then query ids, as `query`, with one command for all."""
        changes, queries = list(self._changes("hold", targets)), list(self._queries(ids))
        held, asked = self._run_together({"hold": changes, "query": queries})
        for change, done in zip(changes, held, strict=True):
            self._check(change, done)
        return self._answers(zip(queries, asked, strict=True))

    def release_and_cancel(self, release: Sequence[Target], cancel: Sequence[Target]) -> None:
        """Release targets, as `hold` with `release`, and cancel others, as `cancel`, with one command for all."""
        several = {kind: list(self._changes(kind, some)) for kind, some in (("release", release), ("cancel", cancel))}
        if any(several.values()):
            for changes, finished in zip(several.values(), self._run_together(several), strict=True):
                for change, done in zip(changes, finished, strict=True):
                    self._check(change, done)

    def _queries(self, ids: Sequence[str]) -> Iterator[_Step]:
        """Yield the commands that query ids. Each maps the ids in the command to the full ids."""
        for cluster, group in self._by_cluster(ids).items():
            for portion in _portions(list(group), [1] * len(group)):
                argv = self.scheduler.status_command(portion, cluster=cluster)
                yield _Step("query", argv, {number: group[number] for number in portion})

    def _answers(self, answered: Iterable[tuple[_Step, Completed]]) -> Answers:
        """Parse the answers to queries."""
        found, unanswered, trouble = list[Report](), set[str](), None
        for (_, _, group), done in answered:
            reports = self.scheduler.parse_status(done.stdout)
            if done.status != 0:
                reports = (reports or ()) if self.scheduler.ids_unknown(done.words) else None
            if reports is None:
                unanswered.update(id_ for several in group.values() for id_ in several)
                trouble = f"cannot get the state of jobs {', '.join(group)} from {self.scheduler.name}: {done.words}"
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
        self._change("cancel", targets)

    def hold(self, targets: Sequence[Target], *, release: bool = False) -> None:
        """Keep pending elements of targets from starting, or let them start again, as `cancel` does.

        Afterwards, an element of the targets that is reported as pending does not start until it is released. Running
        elements continue, but may not start again after a requeue until they are released. Raises CannotHold if the
        scheduler cannot hold single elements.
        """
        self._change("release" if release else "hold", targets)

    def _change(self, kind: str, targets: Sequence[Target]) -> None:
        for change in self._changes(kind, targets):
            self._check(change, self._run(kind, ["sh", "-s"], stdin=change.argv[-1].encode()))

    def _changes(self, kind: str, targets: Sequence[Target]) -> Iterator[_Step]:
        """Yield the commands that cancel, hold or release targets."""
        script_of: Callable[..., str] = self.scheduler.cancel_script
        if kind != "cancel":
            script_of = partial(self.scheduler.hold_script, release=kind == "release")
        for cluster, group in self._by_cluster([target.id for target in targets]).items():
            names = {id_: number for number, ids in group.items() for id_ in ids}
            bare = [target._replace(id=names[target.id]) for target in targets if target.id in names]
            parts = [part for target in bare for part in _parts(target)]
            for portion in _portions(parts, [len(part.tasks or "1") for part in parts]):
                script = script_of(portion, cluster=cluster)
                if not script:
                    raise CannotHold(f"{self.scheduler.name} cannot {kind} single elements of an array")
                yield _Step(kind, ["sh", "-c", script], {target.id: [target.id] for target in portion})

    def _check(self, change: _Step, done: Completed) -> None:
        if done.status != 0 and not self.scheduler.ids_unknown(done.words):
            raise SchedulerError(
                f"{self.scheduler.name} cannot {change.kind} jobs {', '.join(change.ids)}: {done.words}"
            )

    def _run_together(self, several: Mapping[str, Sequence[_Step]]) -> list[list[Completed]]:
        """Run steps of several kinds by one command, in order; return how they ended, by kind."""
        for kind, steps in several.items():
            self.calls[kind] = self.calls.get(kind, 0) + len(steps)
        flat = [step.argv for steps in several.values() for step in steps]
        done = iter(self._transport.run_together(flat, timeout=TIMEOUT * max(1, len(flat))))
        return [[next(done) for _ in steps] for steps in several.values()]

    def _by_cluster(self, ids: Iterable[str]) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """Group ids by cluster, "" for the local one. Maps the ids without the cluster to the full ids."""
        here, siblings = (self.here.cluster, self.here.federation or ()) if self.here else ("", ())
        groups: dict[str, dict[str, list[str]]] = {}
        for id_ in dict.fromkeys(ids):
            number, cluster = self.scheduler.split_id(id_)
            known = cluster == here or (cluster in siblings and self.scheduler.is_federated(number))
            groups.setdefault("" if known else cluster, {}).setdefault(number, []).append(id_)
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
