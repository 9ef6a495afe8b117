"""Advice: why calls wait or have failed, and what to do about it, as lines of text."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from slurm.protocol.pools import pool_key
from slurm.protocol.ranges import ranges
from slurm.protocol.states import JobState
from slurm.submission.dependencies import failed_upstreams
from slurm.views.displays import duration, memory
from slurm.views.similar_errors import normalised
from slurm.views.status import error_of, peak_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from slurm.submission.status import JobStatus
    from slurm.views.overview import Overview

_MOST_GROUPS = 5
"""The largest number of different reasons or errors that are shown."""

_LONGEST = 40
"""The largest number of characters for the list of indices."""

_SIZES = (
    *("partition", "nodes", "ntasks", "ntasks_per_node", "cpus_per_task", "mem", "mem_per_cpu", "gpus", "gres"),
    *("constraint", "time"),
)
"""The options that may ask for more than a partition has."""

_CLUSTER = "a problem of the cluster: submit it again with `slurm retry {key} --failed`"
_ADVICE: Mapping[JobState, str] = {
    JobState.OUT_OF_MEMORY: "it asked for {mem}, and its peak was {peak}: `slurm retry {key} --failed --mem …`, or the "
    "option retry=Retry(mem='x2')",
    JobState.TIMEOUT: "it asked for {time}: `slurm retry {key} --failed --time …`, or the options signal_lead or "
    "retry=Retry(time='x2')",
    JobState.NODE_FAIL: _CLUSTER,
    JobState.PREEMPTED: _CLUSTER,
    JobState.BOOT_FAIL: _CLUSTER,
    JobState.DEADLINE: "it could not end before its deadline: change deadline= or time=",
    JobState.CANCELLED: "`slurm retry {key}` submits it again",
    JobState.LOST: "the scheduler no longer knows it, and it left no outcome: see `slurm logs {key}`",
    JobState.REFUSED: "the scheduler rejected it: see `slurm script {key}`",
    JobState.FAILED: "`slurm logs {first}` shows its output, `slurm replay {first}` makes the call here, "
    "and `slurm retry {key} --failed` submits it again",
}
_UPSTREAM = (
    "`slurm explain {upstream}` shows what it waited for. `slurm retry` waits for the same job again, so first correct "
    "what is wrong there, and then call both tasks again"
)
_CALL = re.compile(r"[^\s'`]+/\d{8}T\d{6}Z-[0-9a-f]{8}(?:\[\d+\])?")
_NOT_RUN = "DependencyFailed: "
_AGAIN = "give its task the option retry, and another element makes it again"
_ADVICE_IN_POOLS: Mapping[JobState, str] = {
    JobState.OUT_OF_MEMORY: "its pool asked for {mem}: make a pool with more memory or fewer workers, "
    "cluster.pool(workers=…, mem=…)",
    JobState.TIMEOUT: f"its pool asked for {{time}}: make a pool with more, cluster.pool(time=…), or {_AGAIN}",
    JobState.NODE_FAIL: f"a problem of the cluster: {_AGAIN}",
    JobState.PREEMPTED: f"a problem of the cluster: {_AGAIN}",
    JobState.FAILED: "`slurm logs {first}` shows its output",
}
"""Advice for calls of pools. Only the program that has made such calls can submit them again."""


def explained(found: Overview) -> list[str]:
    """Explain a submission: a line for each reason why calls wait, and for each way in which calls have failed.

    Advice follows the failures of each state. Calls whose state is unknown have lines, too.

    Reads its records. May read the outcomes of failed calls, and the line of waiting jobs.
    """
    key, states = found.part.state.key, found.states
    options = found.part.place.store.records(pool_key(key)).submission.options
    lines = [f"{key}: {', '.join(f'{count} {state}' for state, count in states.items())}"]
    waiting = [(i, s) for i, s in zip(found.part.indices, found.calls, strict=False) if s.state is JobState.PENDING]
    lines += _waiting(found, waiting, options)
    lines += _unknown(found)
    ended = dict(found.failures())
    ended |= {i: s for i, s in zip(found.part.indices, found.calls, strict=False) if s.state is JobState.CANCELLED}
    not_run = _not_run(found, ended)
    errors = {i: _error(s) or not_run.get(i, "") for i, s in ended.items()}
    for state, some in _grouped((i, s.state) for i, s in ended.items()):
        lines += _ended(found, state, {index: ended[index] for index in some}, options, errors)
    if not waiting and not ended and states[JobState.COMPLETED] == sum(states.values()):
        seconds, peak = found.summary.seconds, found.summary.peak_memory
        more = [
            f"took {duration(seconds)}" if seconds is not None else "",
            f"peak memory {memory(peak)}" if peak else "",
        ]
        lines.append(", ".join(["all succeeded", *filter(None, more)]))
    return lines


def _waiting(found: Overview, waiting: Iterable[tuple[int, JobStatus]], options: Mapping[str, Any]) -> list[str]:
    lines = []
    groups = _grouped((i, (s.reason or "", s.explanation or "")) for i, s in waiting)
    for (reason, words), indices in groups[:_MOST_GROUPS]:
        why = ": ".join(filter(None, (reason, words))) or "the scheduler gives no reason"
        lines.append(f"{_calls(found, indices)}PENDING, {why}")
        if (line := _line(found, indices[0], options)) and f"    {line}" not in lines:
            lines.append(f"    {line}")
    return lines + _more(groups, "reasons")


def _unknown(found: Overview) -> list[str]:
    unknown = [(i, s) for i, s in zip(found.part.indices, found.calls, strict=False) if s.state is JobState.UNKNOWN]
    groups = _grouped((i, s.reason or "the scheduler does not say it") for i, s in unknown)
    lines = [f"{_calls(found, indices)}UNKNOWN, {reason}" for reason, indices in groups[:_MOST_GROUPS]]
    lines += _more(groups, "reasons")
    if unknown and found.part.state.submitted is None:
        key = shlex.quote(found.part.state.key)
        lines.append(f"    if the program that submitted it has ended: `slurm retry {key}`")
    return lines


def _ended(
    found: Overview,
    state: JobState,
    ended: Mapping[int, JobStatus],
    options: Mapping[str, Any],
    errors: Mapping[int, str],
) -> list[str]:
    """Explain the calls that have ended in a state: a line for each kind of error, then the advice."""
    key, lines = found.part.state.key, []
    groups = _grouped((i, normalised(errors[i], s.outcome.host if s.outcome else None)) for i, s in ended.items())
    for _, indices in groups[:_MOST_GROUPS]:
        error = errors[indices[0]]
        others = sum(errors[index] != error for index in indices)
        similar = f", and {others} similar error{'s' * (others != 1)}" if others else ""
        lines.append(f"{_calls(found, indices)}{state}{': ' if error else ''}{error}{similar}")
        if why := _not_raised(ended[indices[0]]):
            lines.append(f"    TaskFailed is raised instead: {why}")
        if upstream := _failed_upstream(error):
            lines.append(f"    {_UPSTREAM.format(upstream=shlex.quote(upstream))}")
    lines += _more(groups, "errors")
    own = [index for _, indices in groups for index in indices if not _failed_upstream(errors[index])]
    if own and (advice := (_ADVICE if pool_key(key) == key else _ADVICE_IN_POOLS).get(state)):
        names = {"key": shlex.quote(key), "first": shlex.quote(found.part.state.name(own[0]))}
        lines.append(f"    {advice.format(**names, **_asked(options, [ended[index] for index in own]))}")
    return lines


def _more(groups: Sequence[tuple[Any, Sequence[int]]], what: str) -> list[str]:
    """A line about the groups that are left out."""
    left = groups[_MOST_GROUPS:]
    calls = sum(len(indices) for _, indices in left)
    return [f"… {len(left)} more {what}, of {calls} calls"] if left else []


def _line(found: Overview, index: int, options: Mapping[str, Any]) -> str:
    """The place in the queue of a call that waits; for a call that cannot start, its requests and the cluster's offers.

    Empty if the call does not wait in the queue, or if this is unknown. Makes one query.
    """
    place, state, _ = found.part
    block = state.block(state.element(index))
    if block is None or state.elsewhere(place.queue.here, block):
        return ""
    client, report = place.queue.client, state.report(index)
    cluster = client.scheduler.split_id(block.id)[1]
    if report is None or not report.stuck:
        return client.line(block.id, cluster)
    asked = ", ".join(f"{name}={options[name]}" for name in _SIZES if options.get(name))
    return ". ".join(filter(None, (asked and f"it asks for {asked}", client.offers(cluster))))


def _error(status: JobStatus) -> str:
    """The error in one line, or the reason of the fence that ended the call."""
    outcome = status.outcome
    return error_of(status) or (outcome.reason if outcome and outcome.fence else None) or ""


def _not_run(found: Overview, ended: Mapping[int, JobStatus]) -> dict[int, str]:
    """The errors of calls that the scheduler has cancelled because of a dependency, and that have no outcome yet.

    Reads the outcomes of the calls that they waited for, if there are such calls.
    """
    state = found.part.state
    elements = {
        index: state.element(index)
        for index, status in ended.items()
        if status.outcome is None and (status.reason or "").startswith("Dependency")
    }
    if not elements:
        return {}
    messages = failed_upstreams(found.part.place.store, state.key, {*elements.values()})
    return {index: f"{_NOT_RUN}{messages[e]}" for index, e in elements.items() if e in messages}


def _failed_upstream(error: str) -> str:
    """The call because of which a call was not run, if its error names it."""
    call = _CALL.search(error) if error.startswith(_NOT_RUN) else None
    return call[0].removesuffix("[0]") if call else ""


def _not_raised(status: JobStatus) -> str:
    """Why the task's own exception is not raised, if its outcome says this."""
    error = status.outcome.error if status.outcome else None
    return (error and error.not_pickled) or ""


def _asked(options: Mapping[str, Any], some: Sequence[JobStatus]) -> dict[str, str]:
    peak = peak_memory(some)
    return {
        "mem": f"mem={options['mem']}" if options.get("mem") else "the site's default memory",
        "time": f"time={options['time']}" if options.get("time") else "the site's default time",
        "peak": memory(peak) if peak else "not reported",
    }


def _grouped(items: Iterable[tuple[int, Any]]) -> list[tuple[Any, list[int]]]:
    """Group calls with the same text, the largest group first."""
    groups: dict[Any, list[int]] = {}
    for index, text in items:
        groups.setdefault(text, []).append(index)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _calls(found: Overview, indices: Sequence[int]) -> str:
    """Name the calls of a map, such as "[0-3,7] "; empty for a single call."""
    text = ranges(indices)
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST].rpartition(',')[0]},…"
    functions = found.part.state.functions
    names = f"{', '.join(dict.fromkeys(map(functions.of, indices)))}: " if functions else ""
    return f"[{shown}] {names}" if found.part.state.mapped else ""
