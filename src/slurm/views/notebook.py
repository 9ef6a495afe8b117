"""Notebook: the displays of jobs, arrays, listings and clusters.

A display makes one query, in a thread, and waits a few seconds for the answer. So a display never hangs and never
raises. Without an answer, it shows the last known states, and says why they are not up to date.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from slurm.callbacks.progress_model import progress_text
from slurm.errors import SlurmError
from slurm.places.probe import DEFAULT_ROOT
from slurm.protocol.states import JobState
from slurm.serialization.tracebacks import sourced
from slurm.storage.keys import submitted_at
from slurm.views import displays
from slurm.views.displays import (
    card,
    clock,
    code,
    colour,
    duration,
    escape,
    faint,
    memory,
    printed,
    state,
    strong,
    table,
)
from slurm.views.overview import overviews
from slurm.views.status import error_of, failed, in_chunks, known, peak_memory, progress, statuses, took

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.environments.base import Environment
    from slurm.options import Options
    from slurm.places.place import Place
    from slurm.submission.status import JobStatus
    from slurm.views.status import Part

_SECONDS = 3.0
"""Seconds that a display waits for its query."""
_FAILURES = 5
"""The largest number of failures that the display of an array lists."""
_MAX_NAMES = 3
"""Up to this many nodes or reasons are named; the others are only counted."""

_queried: set[str] = set()
"""URLs of clusters with a query in progress. A cluster that does not answer gets no further query meanwhile."""


class Snapshot(NamedTuple):
    """For each part, the name of the state and, with details, the status of each call.

    `trouble` says why they are not up to date; empty if they are.
    """

    names: list[list[str]]
    statuses: list[list[JobStatus]]
    trouble: str
    at: float
    tail: str = ""
    """The end of the log of the first failure."""
    progress: Mapping[int, str] = {}
    """The last reported progress of the first running calls."""


def job_html(part: Part) -> str:
    """A job: its state, node and duration; after a failure also the error and the end of the log."""
    snapshot = _snapshot([part])
    name, status = snapshot.names[0][0], snapshot.statuses[0][0]
    place, submission, (index,) = part
    key = submission.name(index)
    rows = {
        "node": escape(status.node or ""),
        "reason": escape(": ".join(filter(None, (status.reason, status.explanation)))),
        "progress": escape("".join(snapshot.progress.values())),
        **_times(key, [status], snapshot.at),
        "error": printed(error_of(status)),
        "id": f"{escape(submission.job_id(index) or 'none')} {faint('on')} {escape(part.url)}",
        "key": code(key),
    }
    title = f"the end of its log, {place.log_path(submission, index)}"
    log = displays.folded(title, snapshot.tail) if snapshot.tail else ""
    return card(f"{_name(key)} {state(name)}", [displays.facts(rows), log, _footer(snapshot)], colour=colour(name))


def array_html(part: Part) -> str:
    """An array: the jobs in each state and their nodes, the first failures, and the end of the first failure's log."""
    snapshot, key, count = _snapshot([part]), part.state.key, len(part.indices)
    names, found = snapshot.names[0], snapshot.statuses[0]
    counts = _counted(names)
    by_name: dict[str, list[JobStatus]] = {name: [] for name in counts}
    for name, status in zip(names, found, strict=True):
        by_name[name].append(status)
    states = [(str(counts[name]), state(name), faint(_nodes_or_reasons(by_name[name]))) for name in counts]
    failures = [(i, s) for i, s in zip(part.indices, found, strict=True) if failed(s)]
    errors = [(f"[{i}]", escape(s.node or ""), printed(error_of(s)) or state(s.state.value)) for i, s in failures]
    rows = {**_times(key, found, snapshot.at), "on": escape(part.url), "key": code(key)}
    parts = [displays.bar(counts) if counts else "", table(states), displays.facts(rows)]
    if snapshot.progress:
        parts.append(_section("running", [(f"[{i}]", escape(text)) for i, text in snapshot.progress.items()]))
    if failures:
        more = f", the first {_FAILURES} of {len(failures)}" if len(failures) > _FAILURES else ""
        parts.append(_section(f"failed{more}", errors[:_FAILURES]))
    if snapshot.tail:
        parts.append(displays.folded(f"the end of the log of [{failures[0][0]}]", snapshot.tail))
    worst = next((name for name in counts if colour(name) == colour("FAILED")), next(iter(counts), ""))
    title = f"{_name(key)} {faint(f'{count} job' + 's' * (count != 1) + in_chunks([part]))}"
    return card(title, [*parts, _footer(snapshot)], colour=colour(worst))


def listing_html(parts: Sequence[Part]) -> str:
    """A table of submissions."""
    if not parts:
        return card(faint("no jobs"), [])
    snapshot, total = _snapshot(parts, details=False), len(parts)
    rows = []
    for key, names in zip((part.state.key for part in parts), snapshot.names, strict=True):
        several = [f"{count if len(names) > 1 else ''} {state(name)}" for name, count in _counted(names).items()]
        rows.append((_name(key), "&ensp;".join(several), faint(_submitted(key, snapshot.at)), code(key)))
    head = ("task", "states", "submitted", "key")
    return card(faint(f"{total} submission" + "s" * (total != 1)), [table(rows, head=head), _footer(snapshot)])


def cluster_html(place: Place, environment: Sequence[Environment], options: Options) -> str:
    """A cluster: its URL, its root and the settings of its jobs. Makes no query."""
    spec = place.spec
    rows = {
        "root": place.known_root or DEFAULT_ROOT,
        "Python": spec.python or "",
        "environment": ", ".join(map(repr, environment)),
        "setup": "; ".join(spec.setup),
    }
    listed = [(faint(name), code(str(value))) for name, value in options.to_json().items()]
    shown = displays.facts({name: code(value) for name, value in rows.items() if value})
    return card(f"{strong('Cluster')} {escape(str(place.url))}", [shown, _section("options", listed) if listed else ""])


def _snapshot(parts: Sequence[Part], *, details: bool = True) -> Snapshot:
    """Query some calls, or use the last known states if there is no answer in time.

    With `details`, the snapshot also has the progress and the end of a log of the first part.
    """
    urls = {part.url for part in parts}
    busy = "the previous query has no answer yet" if urls & _queried else ""
    answer = busy or _in_time(urls, lambda: _query(parts, details=details))
    if isinstance(answer, Snapshot):
        return answer
    names = [[submission.state_name(index) for index in indices] for _, submission, indices in parts]
    return Snapshot(names, [known(part) for part in parts], answer, time.time())


def _query(parts: Sequence[Part], *, details: bool) -> Snapshot:
    if not details:
        names = [[state.value for state in each.states.elements()] for each in overviews(parts)]
        return Snapshot(names, [], "", time.time())
    found = statuses(parts)
    names = [[status.state.value for status in some] for some in found]
    texts = {index: progress_text(event) for index, event in progress(parts[0], found[0]).items()}
    return Snapshot(names, found, "", time.time(), _tail(parts[0], found[0]), texts)


def _tail(part: Part, found: Sequence[JobStatus]) -> str:
    place, submission, indices = part
    for index, status in zip(indices, found, strict=True):
        if failed(status):
            return sourced(place.store.log_tail(place.log_path(submission, index)))
    return ""


def _in_time(urls: set[str], query: Callable[[], Snapshot]) -> Snapshot | str:
    """The snapshot of a query, or the reason why there is none."""
    answers: queue.SimpleQueue[Snapshot | str] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(query())
        except (SlurmError, OSError) as error:
            answers.put(f"{type(error).__name__}: {error}")
        finally:
            _queried.difference_update(urls)

    _queried.update(urls)
    threading.Thread(target=run, name="slurm-display", daemon=True).start()
    try:
        return answers.get(timeout=_SECONDS)
    except queue.Empty:
        return f"no answer within {_SECONDS:g} s"


def _section(title: str, rows: Sequence[Sequence[str]]) -> str:
    return f'<div style="margin-top: 6px">{faint(title)}</div>{table(rows)}'


def _name(key: str) -> str:
    return strong(key.partition("/")[0])


def _counted(names: Iterable[str]) -> dict[str, int]:
    """The number of calls in each state, in the usual order of states."""
    counts = Counter(names)
    order = ["not asked", "submitted", *(state.value for state in JobState), "ended"]
    return {name: counts[name] for name in sorted(counts, key=order.index)}


def _nodes_or_reasons(some: Sequence[JobStatus]) -> str:
    """The nodes of some calls; the scheduler's reasons if no call has a node."""
    for values, plural in (([s.node for s in some], "nodes"), ([s.reason for s in some], "reasons")):
        names = sorted({value for value in values if value})
        if names:
            return ", ".join(names) if len(names) <= _MAX_NAMES else f"{len(names)} {plural}"
    return ""


def _times(key: str, found: Sequence[JobStatus], now: float) -> dict[str, str]:
    """The time of submission; of finished calls also the duration and the peak memory."""
    seconds, peak = took(found), peak_memory(found)
    return {
        "submitted": escape(_submitted(key, now)),
        "took": "" if seconds is None else escape(duration(seconds)),
        "memory": "" if peak is None else escape(f"{memory(peak)} at most"),
    }


def _submitted(key: str, now: float) -> str:
    then = submitted_at(key)
    return "" if then is None else f"{clock(then)}, {displays.age(now - then)}"


def _footer(snapshot: Snapshot) -> str:
    trouble = f"; not up to date: {snapshot.trouble}" if snapshot.trouble else ""
    return f'<div style="margin-top: 4px; font-size: 11px">{faint(f"seen at {clock(snapshot.at)}{trouble}")}</div>'
