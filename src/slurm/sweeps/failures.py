"""Failures: group similar errors of points. Numbers, addresses, paths and hosts in the messages do not count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol.states import JobState
from slurm.views.similar_errors import normalised

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.sweeps.records import Ended

_FRAME = re.compile(r'^ *File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$', re.MULTILINE)
_OF_LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3", "<frozen ", "/slurm/runner/", ".zip/")
_CHAINED = (
    "\nThe above exception was the direct cause of the following exception:\n",
    "\nDuring handling of the above exception, another exception occurred:\n",
)
_BY_STATE = {
    JobState.TIMEOUT: "give it more time (time=), or make it stop and go on (signal_lead=, checkpoints)",
    JobState.OUT_OF_MEMORY: "give it more memory (mem=); `slurm efficiency KEY` shows what others used",
    JobState.NODE_FAIL: "a problem of the place: complete() runs it again with failed=True",
    JobState.PREEMPTED: "it was stopped for other jobs: complete() runs it again with failed=True",
    JobState.LOST: "it left no outcome, and the scheduler does not know it: complete() runs it again with failed=True",
}
_BY_ITSELF = "its output may say why: `slurm sweep logs NAME POINT`"
_BY_TYPE = {
    "SystemExit": _BY_ITSELF,
    "ModuleNotFoundError": "the source's environment has no such package: see `slurm doctor`, or change environment=",
    "ImportError": "a package or library of the source's environment is missing or does not fit: see `slurm doctor`",
    "MemoryError": "give it more memory (mem=)",
    "FileNotFoundError": "the source has no such file: send it with cluster.put(), or use a path of the source",
    "PermissionError": "the file cannot be read or written on the source by this user",
}


class Failure(NamedTuple):
    """How one point failed."""

    point: int
    ended: Ended


class FailureGroup(NamedTuple):
    """Points that failed in the same way."""

    pattern: str
    """The error, without the text that differs between the points."""
    where: str
    """The innermost function of the user's code, such as "train (train.py)"; empty if this is not known."""
    points: tuple[int, ...]
    example: str
    """The full error of the first point."""
    traceback: str
    """The traceback of the first point; may be empty."""
    suggestion: str
    """Advice on what to do; empty if there is no general advice."""


def grouped(failures: Iterable[Failure]) -> list[FailureGroup]:
    """Group failures of the same kind; the most frequent first."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((pattern_of(failure.ended), _where(failure)), []).append(failure)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[1][0].point))
    return [_group(pattern, where, some) for (pattern, where), some in ordered]


def _group(pattern: str, where: str, some: Sequence[Failure]) -> FailureGroup:
    first = some[0].ended
    kind = (first.error or "").rpartition(".")[2]
    advice = _BY_STATE.get(first.state) or _BY_TYPE.get(kind, "") or _diagnosed(first)
    if not advice and not first.traceback and first.state is JobState.FAILED:
        advice = _BY_ITSELF
    points = tuple(failure.point for failure in some)
    return FailureGroup(pattern, where, points, message(first), first.traceback or "", advice)


def _diagnosed(ended: Ended) -> str:
    """Return the advice of the `diagnose` function of a command. The message begins with its name for the failure."""
    text = ended.message or ""
    named = (text.removeprefix(f"{name}: ") for name in ended.bases if text.startswith(f"{name}: "))
    return next(named, "").partition(". ")[0]


def message(ended: Ended) -> str:
    """Return the error of a call in one line, such as "ValueError: too small"; the state if there is no error."""
    if ended.error:
        return f"{ended.error}: {ended.message}" if ended.message else ended.error
    if ended.message:
        return ended.message
    return f"its process ended with status {ended.exit_code}" if ended.state is JobState.FAILED else ended.state.value


def pattern_of(ended: Ended) -> str:
    """Return how a call failed, without the text that differs between errors of the same kind."""
    if ended.state in _BY_STATE:
        return ended.state.value
    if not ended.error or (ended.error == "SystemExit" and (ended.message or "").isdecimal()):
        return message(ended)  # an exit status is a code: keep its number
    return normalised(message(ended), ended.host)


def _where(failure: Failure) -> str:
    """Return the innermost frame of the user's code in the first exception of a chain, where the problem began."""
    text = failure.ended.traceback
    if not text or failure.ended.state in _BY_STATE:
        return ""
    for words in _CHAINED:
        text = text.partition(words)[0]
    frames = [frame for frame in _FRAME.finditer(text) if not any(part in frame["path"] for part in _OF_LIBRARIES)]
    return f"{frames[-1]['name']} ({frames[-1]['path'].rpartition('/')[2]})" if frames else ""
