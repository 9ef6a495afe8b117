"""Gathering: combine the reports of an element's ranks into one outcome when all ranks have finished."""

from __future__ import annotations

import os
import sys
import time
from io import BytesIO
from pickle import Unpickler

from slurm.protocol import PROCESS, SAVE, STOPPED, freshness
from slurm.protocol.files import open_own
from slurm.protocol.outcomes import Outcome
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner import checkpoint
from slurm.runner.callback_runner import CallbackRunner, pop_callbacks_flag, pop_metrics_flag
from slurm.runner.job_context import JobContext
from slurm.runner.pickling import pickle_into
from slurm.runner.placeholder_resolver import LAG
from slurm.runner.ranks import ranks_directory
from slurm.runner.result_saver import ResultSaver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Reports = Mapping[int, Outcome]

_CONSEQUENCE = (128 + 15, 128 + 6)
"""Exit statuses of ranks that end because another rank failed: SIGTERM, and SIGABRT from communication libraries."""


def main(argv: Sequence[str]) -> int:
    """Make the outcome of one element: `gather status`, then the arguments of `slurm.runner.main`.

    `status` is the launcher's exit status. It is returned if the reports allow no outcome; the script then writes one.
    """
    gather, status, root, key, element, tag, _, _, attempt, *stop = argv
    hooked = pop_callbacks_flag(stop)
    pop_metrics_flag(stop)
    job = JobContext.from_environment(root, key, int(element), os.environ, int(attempt))
    saver = ResultSaver(job, continues=bool(stop))
    outcome = saver.earlier()
    if outcome is None:
        outcome = _gathered(job, saver, _read_reports(job, complete=status == "0"), gather=bool(gather))
        if outcome is None:
            return int(status) or 1
        if hooked:  # rank 0 had no outcome to pass to the hooks
            CallbackRunner.of(job, tag).fire_end(outcome, final=saver.is_final(outcome))
    for number in range(job.attempt + 1):
        _remove(ranks_directory(job, number))
    return outcome.exit_code


def _read_reports(job: JobContext, *, complete: bool) -> Reports:
    """Read the report of each rank. With `complete`, waits for all: files of other nodes may become visible late."""
    directory, end = ranks_directory(job, job.attempt), time.monotonic() + LAG
    reports: dict[int, Outcome] = {}
    while True:
        for name in freshness.list_names(directory) if freshness.exists(directory) else ():
            rank, _, suffix = name.partition(".")
            if suffix in ("done", "failed") and int(rank) not in reports:
                with open_own(f"{directory}/{name}") as file:
                    reports[int(rank)] = Outcome.loads(file.read(), where=f"{directory}/{name}")
        if not complete or _is_complete(reports) or time.monotonic() > end:
            return reports
        time.sleep(0.1)


def _is_complete(reports: Reports) -> bool:
    return bool(reports) and len(reports) == next(iter(reports.values())).ranks


def _gathered(job: JobContext, saver: ResultSaver, reports: Reports, *, gather: bool) -> Outcome | None:
    failed = sorted((each for each in reports.values() if not each.succeeded and each.phase != STOPPED), key=_priority)
    for report in failed:
        problem = f"{report.error.type}: {report.error.message}" if report.error else f"exit status {report.exit_code}"
        print(f"rank {report.rank} of {report.ranks}, on {report.host}: {problem}", file=sys.stderr)
    if failed:
        return saver.keep(failed[0].replace(**_use(reports)))
    stopped = [report for report in reports.values() if report.phase == STOPPED]
    if stopped:
        return saver.stopped(str(stopped[0].reason))
    if not _is_complete(reports):
        return None
    try:
        outcome = _success(job, saver, reports, gather=gather)
    except OSError as error:
        return saver.failure(SAVE, error)
    for number in reports:
        checkpoint.remove(job.directory, f"{job.index}-{number}", job.attempt)
    return outcome


def _priority(report: Outcome) -> tuple[bool, float]:
    """Sort failures by likely cause: a process that died by itself precedes errors of ranks that waited for it."""
    return report.phase != PROCESS or report.exit_code in _CONSEQUENCE, report.ended or 0.0


def _use(reports: Reports) -> dict[str, float]:
    """What the ranks have used: the largest peak memory of one process, and the CPU time of all together."""
    return {
        "peak_memory": max(report.peak_memory or 0 for report in reports.values()),
        "cpu_seconds": round(sum(report.cpu_seconds or 0.0 for report in reports.values()), 2),
    }


def _success(job: JobContext, saver: ResultSaver, reports: Reports, *, gather: bool) -> Outcome:
    result, ended = reports[0].result, max(report.ended or 0.0 for report in reports.values())
    if gather:
        parts = []
        for number in range(len(reports)):
            with open_own(f"{ranks_directory(job, job.attempt)}/{number}.pkl") as file:
                parts.append(file.read())
        result = saver.write(lambda file: pickle_into(file, _Several(parts)))
    return saver.keep(reports[0].replace(result=result, rank=None, ended=ended, **_use(reports)))


class _Several:
    """Pickled values that unpickle as a list, so that gathering loads none of the user's code."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return several, (self._parts,)


def several(parts: list[bytes]) -> list[Any]:
    """Unpickle several values. Pickles of gathered results refer to this function by name."""
    return [Unpickler(BytesIO(part)).load() for part in parts]  # noqa: S301 - the reader has checked the file's owner


def _remove(directory: str) -> None:
    if freshness.exists(directory):
        for name in freshness.list_names(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
