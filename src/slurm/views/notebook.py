"""Notebook: what it shows of jobs, arrays, listings and clusters.

A display takes one look, in a thread, and waits a few seconds for it: it never hangs and never raises. What it can't
learn in time it shows as it was last known, and says so.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.callbacks.progress_model import in_words
from slurm.errors import SlurmError
from slurm.places.probe import DEFAULT_ROOT
from slurm.protocol.states import JobState
from slurm.serialization.tracebacks import sourced
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
from slurm.views.status import error_of, failed, known, peak_memory, progress, statuses, submitted_at, took

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.jobs.job import Job, JobArray
    from slurm.places.place import Place
    from slurm.submission.status import JobStatus
    from slurm.tasks.settings import Settings
    from slurm.views.status import Part

_SECONDS = 3.0
"""How long a display waits for its look."""
_FAILURES = 5
"""How many failures an array shows one by one."""
_NAMED = 3
"""How many nodes or reasons are named rather than counted."""

_looking: set[str] = set()
"""The clusters that a look is under way at: one that doesn't answer isn't asked again and again."""


class Look(NamedTuple):
    """What a look has found: for each part each call's state in a word and its status; why it is old, if it is."""

    words: list[list[str]]
    statuses: list[list[JobStatus]]
    trouble: str
    at: float
    tail: str = ""
    """The end of the log of the first failure."""
    progress: Mapping[int, str] = {}
    """What the first calls that run have told last."""


def job_html(job: Job[Any]) -> str:
    """A job: its state, where and how long it ran, and of a failure the error and how its log ends."""
    look = _look([job.part])
    word, status = look.words[0][0], look.statuses[0][0]
    rows = {
        "node": escape(status.node or ""),
        "reason": escape(status.reason or ""),
        "progress": escape("".join(look.progress.values())),
        **_times(job.key, [status], look.at),
        "error": printed(error_of(status)),
        "id": f"{escape(job.job_id or 'none')} {faint('on')} {escape(job.part.url)}",
        "key": code(job.key),
    }
    log = displays.folded(f"the end of its log, {job.log_path}", look.tail) if look.tail else ""
    return card(f"{_name(job.key)} {state(word)}", [displays.facts(rows), log, _seen(look)], colour=colour(word))


def array_html(array: JobArray[Any]) -> str:
    """An array: how many are in each state and where, the first failures, and how the log of the first ends."""
    look = _look([array.part])
    words, found = look.words[0], look.statuses[0]
    counts = _counted(words)
    by_word: dict[str, list[JobStatus]] = {word: [] for word in counts}
    for word, status in zip(words, found, strict=True):
        by_word[word].append(status)
    states = [(str(counts[word]), state(word), faint(_where(by_word[word]))) for word in counts]
    failures = [(i, s) for i, s in zip(array.part.indices, found, strict=True) if failed(s)]
    errors = [(f"[{i}]", escape(s.node or ""), printed(error_of(s)) or state(s.state.value)) for i, s in failures]
    rows = {**_times(array.key, found, look.at), "on": escape(array.part.url), "key": code(array.key)}
    parts = [displays.bar(counts) if counts else "", table(states), displays.facts(rows)]
    if look.progress:
        parts.append(_below("running", [(f"[{i}]", escape(words)) for i, words in look.progress.items()]))
    if failures:
        more = f", the first {_FAILURES} of {len(failures)}" if len(failures) > _FAILURES else ""
        parts.append(_below(f"failed{more}", errors[:_FAILURES]))
    if look.tail:
        parts.append(displays.folded(f"the end of the log of [{failures[0][0]}]", look.tail))
    worst = next((w for w in counts if colour(w) == colour("FAILED")), next(iter(counts), ""))
    title = f"{_name(array.key)} {faint(f'{len(array)} job' + 's' * (len(array) != 1))}"
    return card(title, [*parts, _seen(look)], colour=colour(worst))


def listing_html(jobs: Sequence[Job[Any] | JobArray[Any]]) -> str:
    """A table of submissions."""
    if not jobs:
        return card(faint("no jobs"), [])
    look = _look([job.part for job in jobs], more=False)
    rows = []
    for job, words in zip(jobs, look.words, strict=True):
        counts = _counted(words)
        several = [f"{count if len(words) > 1 else ''} {state(word)}" for word, count in counts.items()]
        rows.append((_name(job.key), "&ensp;".join(several), faint(_submitted(job.key, look.at)), code(job.key)))
    head = ("task", "states", "submitted", "key")
    return card(faint(f"{len(jobs)} submission" + "s" * (len(jobs) != 1)), [table(rows, head=head), _seen(look)])


def cluster_html(place: Place, terms: Settings) -> str:
    """A cluster: where it is, and what its jobs are given. Without a look."""
    spec = place.spec
    rows = {
        "root": place.known_root or DEFAULT_ROOT,
        "Python": spec.python or "",
        "environment": ", ".join(map(repr, terms.environment or ())),
        "setup": "; ".join(spec.setup),
    }
    listed = [(faint(name), code(str(value))) for name, value in terms.options.to_json().items()]
    below = _below("options", listed) if listed else ""
    shown = displays.facts({name: code(value) for name, value in rows.items() if value})
    return card(f"{strong('Cluster')} {escape(str(place.url))}", [shown, below])


# Looking.


def _look(parts: Sequence[Part], *, more: bool = True) -> Look:
    """One look at some calls, in a few seconds or not at all; with `more`, at what the first part tells besides."""
    urls = {part.url for part in parts}
    found = "the look before has no answer yet" if urls & _looking else _answered(urls, lambda: _ask(parts, more=more))
    if isinstance(found, Look):
        return found
    words = [[watched.word(index) for index in indices] for _, watched, indices in parts]
    return Look(words, [known(part) for part in parts], found, time.time())


def _ask(parts: Sequence[Part], *, more: bool) -> Look:
    found = statuses(parts)
    words = [[status.state.value for status in some] for some in found]
    if not more:
        return Look(words, found, "", time.time())
    told = {index: in_words(event) for index, event in progress(parts[0], found[0]).items()}
    return Look(words, found, "", time.time(), _tail(parts[0], found[0]), told)


def _tail(part: Part, found: Sequence[JobStatus]) -> str:
    place, watched, indices = part
    for index, status in zip(indices, found, strict=True):
        if failed(status):
            return sourced(place.store.log_tail(place.log_path(watched, index)))
    return ""


def _answered(urls: set[str], look: Callable[[], Look]) -> Look | str:
    """What a look gives, or why it gives nothing."""
    answers: queue.SimpleQueue[Look | str] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(look())
        except (SlurmError, OSError) as error:
            answers.put(f"{type(error).__name__}: {error}")
        finally:
            _looking.difference_update(urls)

    _looking.update(urls)
    threading.Thread(target=run, name="slurm-display", daemon=True).start()
    try:
        return answers.get(timeout=_SECONDS)
    except queue.Empty:
        return f"no answer within {_SECONDS:g} s"


# What to say of it.


def _below(title: str, rows: Sequence[Sequence[str]]) -> str:
    return f'<div style="margin-top: 6px">{faint(title)}</div>{table(rows)}'


def _name(key: str) -> str:
    return strong(key.partition("/")[0])


def _counted(words: Iterable[str]) -> dict[str, int]:
    """How many of each, in the order in which states follow on one another."""
    counts = Counter(words)
    order = ["submitted", *(state.value for state in JobState), "ended"]
    return {word: counts[word] for word in sorted(counts, key=order.index)}


def _where(some: Sequence[JobStatus]) -> str:
    """The nodes of those that have one, else why they have none."""
    for words, plural in (([s.node for s in some], "nodes"), ([s.reason for s in some], "reasons")):
        names = sorted({word for word in words if word})
        if names:
            return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} {plural}"
    return ""


def _times(key: str, found: Sequence[JobStatus], now: float) -> dict[str, str]:
    """When it was submitted; of what has ended, how long it took and the memory it needed."""
    seconds, peak = took(found), peak_memory(found)
    return {
        "submitted": escape(_submitted(key, now)),
        "took": "" if seconds is None else escape(duration(seconds)),
        "memory": "" if peak is None else escape(f"{memory(peak)} at most"),
    }


def _submitted(key: str, now: float) -> str:
    then = submitted_at(key)
    return "" if then is None else f"{clock(then)}, {displays.age(now - then)}"


def _seen(look: Look) -> str:
    trouble = f"; not up to date: {look.trouble}" if look.trouble else ""
    return f'<div style="margin-top: 4px; font-size: 11px">{faint(f"seen at {clock(look.at)}{trouble}")}</div>'
