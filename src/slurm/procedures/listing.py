"""Listing: find all procedures of a root, and their summaries, with few commands."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from slurm.errors import ProtocolError, TransportError
from slurm.procedures import states
from slurm.procedures.event_file import event_path
from slurm.procedures.preparing import EarlyEvents, submit, was_removed
from slurm.procedures.procedure import Procedure
from slurm.protocol.procedures import BEAT, PROCEDURES, ProcedureRecord, record_numbers
from slurm.storage.commit import commit
from slurm.storage.log_growth import growth
from slurm.views.status import Part, statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.clusters.cluster import Cluster
    from slurm.procedures.states import Event, ProcedureSummary
    from slurm.submission.status import JobStatus

ABANDONED_SECONDS = 60.0
"""The time after which this process submits a procedure without a job, if its preparer has written no heartbeat."""


class Listing:
    """The procedures of a root. Ended procedures are read only once. Not thread-safe."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[int, Procedure] = {}
        self._ended: dict[int, ProcedureSummary] = {}
        self._unsubmitted: dict[int, tuple[float, bytes]] = {}

    def numbers(self) -> list[int]:
        """Return the numbers of all procedures, newest first. Takes one command."""
        place = self._cluster.place
        directory = f"{place.store.root}/{PROCEDURES}"
        return record_numbers(place.transport.list([directory])[directory])[::-1]

    def procedures(self, numbers: Sequence[int]) -> list[Procedure]:
        """Return the procedures with `numbers`, in this order. Takes one command. Skips records that cannot be read."""
        place = self._cluster.place
        paths = {f"{place.store.root}/{PROCEDURES}/{n}.json": n for n in numbers if n not in self._known}
        for path, data in place.transport.get_each(list(paths), private=True).items():
            try:
                if isinstance(data, bytes):
                    record = ProcedureRecord.loads(data, where=path)
                    self._known[paths[path]] = Procedure(self._cluster, paths[path], record)
            except (ProtocolError, TransportError):
                continue
        return [self._known[number] for number in numbers if number in self._known]

    def summaries(self, procedures: Sequence[Procedure]) -> list[ProcedureSummary]:
        """Return the summaries of procedures. One command reads the events; others query procedures that still run."""
        new = [each for each in procedures if each.number not in self._ended]
        events = self._events(new)
        found = {each.number: states.summary(each.number, each.record, events[each.key]) for each in new}
        alive = [each for each in new if not found[each.number].state.ended]
        jobs = self._jobs(alive)
        for each in alive:
            if each.number not in jobs:
                if was_removed(self._cluster.place, each.key):
                    self._ended[each.number] = found[each.number] = states.without_files(found[each.number])
                else:
                    self._submit_abandoned(each)
            elif jobs[each.number].state.final:
                events |= self._events([each])  # the procedure may have written its end just now
                found[each.number] = states.summary(each.number, each.record, events[each.key], jobs[each.number])
                each.settle_abort(events[each.key], found[each.number])
        self._ended |= {number: summary for number, summary in found.items() if summary.state.ended}
        return [found.get(each.number) or self._ended[each.number] for each in procedures]

    def _events(self, procedures: Sequence[Procedure]) -> dict[str, list[Event]]:
        """Read the events of procedures, by key."""
        place = self._cluster.place
        paths = {event_path(place.store.directory(each.key)): each.key for each in procedures}
        data = dict.fromkeys(paths, b"")
        left = dict.fromkeys(paths, 0)
        while more := growth(place.transport, left):
            data |= {path: data[path] + added for path, added in more.items()}
            left = {path: len(data[path]) for path in more}
        return {paths[path]: list(states.parse(text[: text.rfind(b"\n") + 1])) for path, text in data.items()}

    def _jobs(self, procedures: Sequence[Procedure]) -> dict[int, JobStatus]:
        """Return the states of the jobs of procedures, by number. Skips procedures that are not known to be queued."""
        place = self._cluster.place
        submissions = place.registry.get_several([each.key for each in procedures])
        known = {state.key: state for state in submissions if state.submitted or state.refused}
        with_job = [each for each in procedures if each.key in known]
        found = statuses([Part(place, known[each.key], (0,)) for each in with_job])
        return {each.number: status for each, (status,) in zip(with_job, found, strict=True)}

    def _submit_abandoned(self, procedure: Procedure) -> None:
        """Submit a procedure if its preparer has written no heartbeat for a while.

        A claim makes sure that only one process submits the procedure.
        """
        place, number = self._cluster.place, procedure.number
        path = f"{place.store.directory(procedure.key)}/{BEAT}"
        now, beat = time.monotonic(), place.transport.get([path]).get(path, b"")
        since, before = self._unsubmitted.setdefault(number, (now, beat))
        if beat != before:
            self._unsubmitted[number] = now, beat
        elif now - since >= ABANDONED_SECONDS:
            del self._unsubmitted[number]
            if self._is_queued(procedure.key):
                return
            directory = f"{place.store.root}/{PROCEDURES}"
            claims = sum(name.startswith(f"{number}.claim-") for name in place.transport.list([directory])[directory])
            if commit(place.transport, directory, {f"{number}.claim-{claims + 1}": os.urandom(8)}):
                submit(self._cluster, procedure.record, EarlyEvents.open(place, procedure.record))

    def _is_queued(self, key: str) -> bool:
        """Whether the scheduler has the job of a procedure whose preparer died before it recorded the job's id."""
        place = self._cluster.place
        found = place.registry.get_several([key])
        place.recovery.complete(found)
        return any(state.submitted or state.refused for state in found)
