"""Gathering: from what the ranks of an element have said to its one outcome, once all of them have ended."""

from __future__ import annotations

import os
import sys
import time
from io import BytesIO
from pickle import Unpickler

from slurm.protocol import PROCESS, SAVE, STOPPED
from slurm.protocol.files import open_own
from slurm.protocol.outcomes import Outcome
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner import checkpoint
from slurm.runner.callback_runner import CallbackRunner, are_named
from slurm.runner.job_context import JobContext
from slurm.runner.pickling import pickle_into
from slurm.runner.placeholder_resolver import LAG
from slurm.runner.ranks import directory_of
from slurm.runner.result_saver import ResultSaver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Words = Mapping[int, Outcome]

_BY_OTHERS = (128 + 15, 128 + 6)
"""How a rank may end because another one failed: SIGTERM, or SIGABRT, as communication libraries do."""


def main(argv: Sequence[str]) -> int:
    """Make the outcome of one element: `gather status`, then what `slurm.runner.main` takes.

    `status` is how the launcher ended; it is returned if there is nothing to make an outcome of, which is then the
    script's to write.
    """
    gather, status, root, key, element, tag, _, _, attempt, *stop = argv
    hooked = are_named(stop)
    job = JobContext.from_environment(root, key, int(element), os.environ, int(attempt))
    saver = ResultSaver(job, continues=bool(stop))
    outcome = saver.earlier()
    if outcome is None:
        outcome = _gathered(job, saver, _words(job, complete=status == "0"), gather=bool(gather))
        if outcome is None:
            return int(status) or 1
        if hooked:  # rank 0 had no outcome to tell of
            CallbackRunner.of(job, tag).fire_end(outcome, final=saver.is_final(outcome))
    for number in range(job.attempt + 1):
        _remove(directory_of(job, number))
    return outcome.exit_code


def _words(job: JobContext, *, complete: bool) -> Words:
    """What each rank has said; a `complete` set is waited for, as other nodes' files may show late."""
    directory, end = directory_of(job, job.attempt), time.monotonic() + LAG
    words: dict[int, Outcome] = {}
    while True:
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            rank, _, ending = name.partition(".")
            if ending in ("done", "failed") and int(rank) not in words:
                with open_own(f"{directory}/{name}") as file:
                    words[int(rank)] = Outcome.loads(file.read(), where=f"{directory}/{name}")
        if not complete or _all_there(words) or time.monotonic() > end:
            return words
        time.sleep(0.1)


def _all_there(words: Words) -> bool:
    return bool(words) and len(words) == next(iter(words.values())).ranks


def _gathered(job: JobContext, saver: ResultSaver, words: Words, *, gather: bool) -> Outcome | None:
    failed = sorted((word for word in words.values() if not word.succeeded and word.phase != STOPPED), key=_urgency)
    for word in failed:
        how = f"{word.error.type}: {word.error.message}" if word.error else f"ended with status {word.exit_code}"
        print(f"rank {word.rank} of {word.ranks}, on {word.host}: {how}", file=sys.stderr)
    if failed:
        return saver.keep(failed[0].replace(peak_memory=_peak(words)))
    stopped = [word for word in words.values() if word.phase == STOPPED]
    if stopped:
        return saver.stopped(str(stopped[0].reason))
    if not _all_there(words):
        return None
    try:
        outcome = _success(job, saver, words, gather=gather)
    except OSError as error:
        return saver.failure(SAVE, error)
    for number in words:
        checkpoint.remove(job.directory, f"{job.index}-{number}", job.attempt)
    return outcome


def _urgency(word: Outcome) -> tuple[bool, float]:
    """What failed first comes first. But whose process died counts before what the others make of its silence."""
    return word.phase != PROCESS or word.exit_code in _BY_OTHERS, word.ended or 0.0


def _peak(words: Words) -> int:
    return max(word.peak_memory or 0 for word in words.values())


def _success(job: JobContext, saver: ResultSaver, words: Words, *, gather: bool) -> Outcome:
    result, ended = words[0].result, max(word.ended or 0.0 for word in words.values())
    if gather:
        parts = []
        for number in range(len(words)):
            with open_own(f"{directory_of(job, job.attempt)}/{number}.pkl") as file:
                parts.append(file.read())
        result = saver.write(lambda file: pickle_into(file, _Several(parts)))
    return saver.keep(words[0].replace(result=result, rank=None, ended=ended, peak_memory=_peak(words)))


class _Several:
    """Pickles of values, which unpickles as the list of these: nothing of the user's is loaded on the way."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return several, (self._parts,)


def several(parts: list[bytes]) -> list[Any]:
    """The values of several pickles: what the pickle of a gathered result calls."""
    return [Unpickler(BytesIO(part)).load() for part in parts]  # noqa: S301 - whoever unpickles this has looked whose it is


def _remove(directory: str) -> None:
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
