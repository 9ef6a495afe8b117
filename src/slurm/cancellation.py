"""Cancelling jobs, however many, by one command for each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.protocol import FAILED, OUTCOMES, PROCESS, Outcome, outcome_name
from slurm.states import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.backend import Backend
    from slurm.job import Job
    from slurm.protocol import Block
    from slurm.watched import Watched


def cancel(jobs: Iterable[Job[Any]]) -> None:
    """Ask the scheduler to end jobs, those that have not ended as far as is known, by one command for each cluster.

    A call that shares its element of the array with others (`chunk_size`) ends with them. Those that wait for room in
    the queue never get there.
    """
    backends: dict[Backend, dict[Block, set[int]]] = {}
    unqueued: dict[Watched, tuple[Backend, set[int]]] = {}
    for job in jobs:
        backend, watched = job.where
        if watched.submitted is None:
            backend.complete(watched)
        element = watched.element(job.index)
        block = watched.block(element)
        if watched.finished(job.index):
            continue
        if block is not None:
            backends.setdefault(backend, {}).setdefault(block, set()).add(element - block.first)
        elif watched.submitted is not None:
            unqueued.setdefault(watched, (backend, set()))[1].add(element)
    for watched, (backend, elements) in unqueued.items():
        cancelled = Outcome(
            status=FAILED, phase=PROCESS, exit_code=1, state=JobState.CANCELLED.value, reason="it was not queued yet"
        ).dumps()
        backend.store.commit(watched.key, OUTCOMES, {outcome_name(element): cancelled for element in elements})
    for backend, blocks in backends.items():
        tasks = {block.id: None if len(some) == len(block.elements) else sorted(some) for block, some in blocks.items()}
        backend.controller.cancel(tasks)
        backend.tracker.hurry()
