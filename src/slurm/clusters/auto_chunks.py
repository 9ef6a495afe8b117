"""AutoChunks: maps with `chunk_size="auto"`, which submit some calls first, to learn how long one takes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from slurm.errors import OptionError, SubmissionError
from slurm.jobs.chunking import CANARY, canary_of, chunk_for
from slurm.jobs.pieces import Call, JoinedArray, joined
from slurm.submission.requests import several_ranks
from slurm.views.status import of_ended, took

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.clusters.cluster import Cluster
    from slurm.jobs.job import JobArray
    from slurm.jobs.submit import Batched
    from slurm.serialization.pickling import Arguments
    from slurm.tasks.task import Task

_log = logging.getLogger(__name__)


def submit_auto(
    cluster: Cluster, of: Task[..., Any], calls: Sequence[Arguments], *, batch: Batched | None
) -> JobArray[Any]:
    """Submit at most 20 calls, wait for their end, and submit the other calls.

    Raises SubmissionError if none of the first calls has succeeded; then the others are not submitted. A
    KeyboardInterrupt during the wait says how to open the first calls again.
    """
    options = cluster.settings.merged(of.terms).options
    if of.is_workflow or several_ranks(options):
        what = "is a workflow" if of.is_workflow else "asks for several ranks (ntasks)"
        raise OptionError(f"{of.name} {what}, of which an element makes one call: leave out chunk_size")

    def submit(which: Sequence[int], size: int) -> JobArray[Any]:
        some = batch.of_some(which) if batch else None
        task = of.with_options(chunk_size=size)
        chosen = [calls[at] for at in which]
        return cluster._submit_now(task, chosen, mapped=True, batch=some)  # noqa: SLF001 - of this package

    every = range(len(calls))
    if len(calls) <= CANARY:
        return submit(every, 1)
    first = canary_of(every)
    chosen = frozenset(first)
    rest = [at for at in every if at not in chosen]
    canary = submit(first, 1)
    size = chunk_for(_seconds(canary, of.name, len(rest)), int(options.get("workers") or 1))
    others = submit(rest, size)
    found = dict(zip([*first, *rest], [*_calls(canary), *_calls(others)], strict=True))
    return JoinedArray(cluster.place, joined([found[at] for at in every]))


def _seconds(canary: JobArray[Any], name: str, rest: int) -> float:
    """Wait for the first calls, and return their mean time. Raises SubmissionError if none has succeeded."""
    try:
        errors = canary.exceptions()
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"{interrupt}. The other {rest} calls of {name} were not submitted") from None
    if None not in errors:
        raise SubmissionError(
            f"none of the first {len(errors)} calls of {name} has succeeded, so the other {rest} were not submitted. "
            f"The first error of {', '.join(canary.keys)} is {type(errors[0]).__name__}: {errors[0]}"
        ) from errors[0]
    times = [seconds for found in of_ended(canary.parts) for each in found if (seconds := took([each])) is not None]
    mean = sum(times) / max(1, len(times))
    _log.info("the first calls of %s took %.1f s each", name, mean)
    return mean


def _calls(jobs: JobArray[Any]) -> list[Call]:
    own = {part.state.key for part in jobs.own_parts}
    return [Call(part.state, at, own=part.state.key in own) for part in jobs.parts for at in part.indices]
