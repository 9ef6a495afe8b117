"""Listing: all procedures of a root, and their summaries, with few commands."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from slurm.errors import ProtocolError, TransportError
from slurm.procedures import states
from slurm.procedures.preparing import submit
from slurm.procedures.procedure import Procedure
from slurm.protocol import EVENTS
from slurm.protocol.procedures import EVENT_FILE, PROCEDURES, ProcedureRecord
from slurm.storage.commit import commit
from slurm.storage.log_growth import growth
from slurm.views.status import Part, statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.clusters.cluster import Cluster
    from slurm.procedures.states import Event, ProcedureSummary
    from slurm.submission.status import JobStatus

ABANDONED_SECONDS = 60.0
"""A procedure that has no job so long after this process saw it first is submitted: its preparer has died."""


class Listing:
    """The procedures of a root. What has ended is read once. Not for several threads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[int, Procedure] = {}
        self._ended: dict[int, ProcedureSummary] = {}
        self._unsubmitted: dict[int, float] = {}

    def numbers(self) -> list[int]:
        """The numbers of all procedures, newest first. One command."""
        place = self._cluster.place
        directory = f"{place.store.root}/{PROCEDURES}"
        names = (name.partition(".") for name in place.transport.list([directory])[directory])
        return sorted((int(number) for number, _, end in names if number.isdecimal() and end == "json"), reverse=True)

    def procedures(self, numbers: Sequence[int]) -> list[Procedure]:
        """Some procedures, in this order. One command. Records that cannot be read are left out."""
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
        """What is known of some procedures now. One command reads their events; others ask for those that go on."""
        new = [each for each in procedures if each.number not in self._ended]
        events = self._events(new)
        found = {each.number: states.summary(each.number, each.record, events[each.key]) for each in new}
        for each, status in self._jobs([each for each in new if not found[each.number].state.ended]):
            if status.state.final:
                events |= self._events([each])  # it may have said its end just now
                found[each.number] = states.summary(each.number, each.record, events[each.key], status)
                each.settle_abort(events[each.key], found[each.number])
        self._ended |= {number: summary for number, summary in found.items() if summary.state.ended}
        return [found.get(each.number) or self._ended[each.number] for each in procedures]

    def _events(self, procedures: Sequence[Procedure]) -> dict[str, list[Event]]:
        """Read the events of procedures, by key."""
        place = self._cluster.place
        paths = {f"{place.store.directory(each.key)}/{EVENTS}/{EVENT_FILE}": each.key for each in procedures}
        data = dict.fromkeys(paths, b"")
        left = dict.fromkeys(paths, 0)
        while more := growth(place.transport, left):
            data |= {path: data[path] + added for path, added in more.items()}
            left = {path: len(data[path]) for path in more}
        return {paths[path]: list(states.parse(text[: text.rfind(b"\n") + 1])) for path, text in data.items()}

    def _jobs(self, procedures: Sequence[Procedure]) -> list[tuple[Procedure, JobStatus]]:
        """The states of jobs. A procedure without a job is left out, and submitted after a while."""
        place = self._cluster.place
        known = {state.key: state for state in place.registry.get_several([each.key for each in procedures])}
        for each in procedures:
            if each.key not in known:
                self._submit_abandoned(each)
        with_job = [each for each in procedures if each.key in known]
        found = statuses([Part(place, known[each.key], (0,)) for each in with_job])
        return [(each, status) for each, (status,) in zip(with_job, found, strict=True)]

    def _submit_abandoned(self, procedure: Procedure) -> None:
        """Submit a procedure whose preparer has died. A claim makes sure that one process does it."""
        now, place = time.monotonic(), self._cluster.place
        if now - self._unsubmitted.setdefault(procedure.number, now) < ABANDONED_SECONDS:
            return
        del self._unsubmitted[procedure.number]
        directory = f"{place.store.root}/{PROCEDURES}"
        names = place.transport.list([directory])[directory]
        claims = sum(name.startswith(f"{procedure.number}.claim-") for name in names)
        if commit(place.transport, directory, {f"{procedure.number}.claim-{claims + 1}": os.urandom(8)}):
            submit(self._cluster, procedure.record)
