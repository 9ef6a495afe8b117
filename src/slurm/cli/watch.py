"""`slurm watch`: show jobs while they run, as a live table or as lines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_of, complete_keys, job_of, nothing_on, on_option
from slurm.cli.output import json_option
from slurm.jobs.facts import pool_now, pool_text
from slurm.jobs.find import newest_first
from slurm.jobs.job import JobArray
from slurm.protocol.states import JobState
from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_json, for_line
from slurm.views.displays import clock, duration
from slurm.views.overview import overviews
from slurm.views.status import call_text, error_of, failed, took
from slurm.views.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from slurm.jobs.job import Job
    from slurm.submission.status import JobStatus

    Watched = Job[Any] | JobArray[Any]

_SECONDS = 1.0
"""Seconds between two looks at the states that the tracker knows."""
_NEWEST = 100
"""Without KEY, the unfinished ones of this many newest submissions are watched."""
_STYLES = {JobState.COMPLETED: "green", JobState.RUNNING: "blue", JobState.PENDING: "", JobState.CANCELLED: "yellow"}
_NARROW = 110
"""On a terminal with fewer columns, each job takes two lines in the table."""
_FIRST = (JobState.RUNNING, JobState.COMPLETING, JobState.PENDING)
"""If there is no room for all calls, failed calls are shown first, and then calls in these states."""


class _Row(NamedTuple):
    """A line of the table: a submission, or one call."""

    name: str
    states: Counter[JobState]
    took: str
    detail: str


@click.command(short_help="Show jobs while they run.")
@click.argument("keys", metavar="[KEY]...", nargs=-1, shell_complete=complete_keys)
@on_option
@json_option
def watch(keys: tuple[str, ...], cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the states of the jobs KEY... in a table that is updated, until all have ended. For a single map,
    show each call.

    Without KEY, show those of the newest 100 jobs that have not ended. If the output is not a terminal, print a line
    when the states of a job change. With --json, each line is a JSON object. An elastic pool ends when all programs
    have closed it. Ctrl-C ends the command; the jobs continue. The exit status is 1 if a call has failed or was
    cancelled.
    """
    jobs = [job_of(key, cluster) for key in dict.fromkeys(keys)] if keys else _unfinished(cluster)
    if not jobs:
        place = cluster_of(cluster).place
        where = f"on {place.url}" if cluster else f"in {place.store.root}"
        nothing_on(cluster, f"there are no unfinished jobs {where}")
        return
    table = sys.stdout.isatty() and not as_json
    try:
        with Watch([job.part for job in jobs]) as watched:
            found = _show_table(jobs, watched) if table else _print_changes(jobs, watched, as_json=as_json)
    except KeyboardInterrupt:
        raise SystemExit(output.INTERRUPTED) from None
    if any(status.state is not JobState.COMPLETED for some in found for status in some):
        raise SystemExit(1)


def _unfinished(cluster: str | None) -> list[Watched]:
    """The jobs on a cluster that have not ended; without a cluster, those of all schedulers under the default root."""
    place = cluster_of(cluster).place
    keys = place.store.keys()[:_NEWEST]
    groups = newest_first(place, keys, at_once=_NEWEST, labels={}, everywhere=cluster is None)
    jobs = [job for some in groups for job in some]
    found = zip(jobs, overviews([job.part for job in jobs]), strict=True)
    return [job for job, overview in found if any(not state.final for state in overview.states)]


def _looks(watched: Watch) -> Iterator[list[list[JobStatus]]]:
    """Yield the statuses now and every second, until all have ended."""
    while True:
        yield watched.read()
        if watched.ended:
            return
        time.sleep(_SECONDS)


def _print_changes(jobs: Sequence[Watched], watched: Watch, *, as_json: bool) -> list[list[JobStatus]]:
    """Print a line for each job now, and when the states of its calls change. Returns the last statuses."""
    before: list[Counter[JobState] | None] = [None] * len(jobs)
    told: list[set[int]] = [set() for _ in jobs]
    found: list[list[JobStatus]] = []
    for found in _looks(watched):
        for at, (job, some) in enumerate(zip(_grown(jobs, watched), found, strict=True)):
            states = Counter(status.state for status in some)
            if states == before[at]:
                continue
            before[at] = states
            errors = {i: error for i, error in _errors(job, some).items() if i not in told[at]}
            told[at].update(errors)
            output.show(_json_line(job, states, errors) if as_json else _line(job, states, errors))
    return found


def _grown(jobs: Sequence[Watched], watched: Watch) -> list[Watched]:
    """The jobs. Elastic pools include the elements that the last look has found."""
    pairs = zip(jobs, watched.parts, strict=True)
    return [
        job if job.part == part else JobArray(part.place, part.state, range(len(part.indices))) for job, part in pairs
    ]


def _errors(job: Watched, found: Sequence[JobStatus]) -> dict[int, str]:
    """The errors of the calls that have failed, by index."""
    pairs = zip(job.part.indices, found, strict=True)
    return {index: redacted(error_of(status) or status.state.value) for index, status in pairs if failed(status)}


def _json_line(job: Watched, states: Counter[JobState], errors: dict[int, str]) -> str:
    facts = {
        "time": time.time(),
        "key": job.key,
        "count": len(job.part.indices),
        "states": {state.value: states[state] for state in JobState if states[state]},
        "failed": {f"{index}": error for index, error in errors.items()},
    }
    return for_json(json.dumps(facts, ensure_ascii=False))


def _line(job: Watched, states: Counter[JobState], errors: dict[int, str]) -> str:
    first = next(iter(errors.items()), None)
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    which = f"{call_text(job.part.state, first[0])} " if first and isinstance(job, JobArray) else ""
    error = f": {which}{for_line(first[1])}{more}" if first else ""
    return f"{clock(time.time())}  {for_line(job.key)}: {_counts(states)}{error}"


def _counts(states: Counter[JobState]) -> str:
    total = sum(states.values())
    names = [state for state in JobState if states[state]]
    return ", ".join(f"{states[state]} {state}" if total > 1 else state.value for state in names)


def _show_table(jobs: Sequence[Watched], watched: Watch) -> list[list[JobStatus]]:
    """Show the table until all have ended. Returns the last statuses."""
    from rich.console import Console, Group  # noqa: PLC0415 - only this needs it
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    colourless = bool(os.environ.get("NO_COLOR"))  # some versions of rich also obey an empty NO_COLOR
    console, found = Console(highlight=False, markup=False, no_color=colourless), []
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for found in _looks(watched):
            jobs = _grown(jobs, watched)
            rows = [_row(job, some) for job, some in zip(jobs, found, strict=True)]
            if len(jobs) == 1 and isinstance(jobs[0], JobArray):
                calls, rest = _calls(jobs[0], found[0], room=console.height - 5)
                more = [Text(f"… {len(rest)} more: ").append_text(_styled(Counter(rest)))] if rest else []
                shown: list[RenderableType] = [_lines(rows), _table("CALL", calls), *more]
            else:
                shown = [_lines(rows) if console.width < _NARROW else _table("KEY", rows)]
            live.update(Group(*shown), refresh=True)
    return found


def _row(job: Watched, found: Sequence[JobStatus]) -> _Row:
    """The row of a submission, with its first error or, without errors, the reason why it waits."""
    errors = [*_errors(job, found).items()]
    which = f"{call_text(job.part.state, errors[0][0])} " if errors and isinstance(job, JobArray) else ""
    waits = next((status.explanation or status.reason for status in found if status.state is JobState.PENDING), None)
    seconds = took(found)
    detail = which + errors[0][1] if errors else waits or pool_text(pool_now(job.part, found))
    return _Row(job.key, Counter(s.state for s in found), "" if seconds is None else duration(seconds), detail)


def _calls(job: JobArray[Any], found: Sequence[JobStatus], *, room: int) -> tuple[list[_Row], list[JobState]]:
    """Rows for up to `room` calls, and the states of the other calls. Calls that failed or run come first."""
    pairs = list(zip(job.part.indices, found, strict=True))
    if len(pairs) > room:
        order = {state: at for at, state in enumerate(_FIRST)}
        pairs.sort(key=lambda pair: (not failed(pair[1]), order.get(pair[1].state, len(order))))
        room = max(room - 1, 1)
    return [_call(job, *pair) for pair in pairs[:room]], [status.state for _, status in pairs[room:]]


def _call(job: JobArray[Any], index: int, status: JobStatus) -> _Row:
    seconds = took([status])
    detail = redacted(error_of(status)) or status.explanation or status.reason or status.node or ""
    return _Row(
        call_text(job.part.state, index).rstrip(":"),
        Counter([status.state]),
        "" if seconds is None else duration(seconds),
        detail,
    )


def _table(name: str, rows: Sequence[_Row]) -> Table:
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for each in (name, "STATE", "TOOK", "DETAIL"):
        table.add_column(each, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(Text(for_line(row.name)), _styled(row.states), Text(row.took), Text(for_line(row.detail)))
    return table


def _lines(rows: Sequence[_Row]) -> Text:
    """Two lines for each row, for a narrow terminal."""
    from rich.text import Text  # noqa: PLC0415 - as above

    lines = []
    for row in rows:
        rest = "  ".join(filter(None, (row.took, for_line(row.detail))))
        lines += [
            Text(for_line(row.name), style="bold"),
            Text("  ").append_text(_styled(row.states)).append(f"  {rest}"),
        ]
    return Text("\n").join(lines)


def _styled(states: Counter[JobState]) -> Text:
    from rich.text import Text  # noqa: PLC0415 - as above

    several = sum(states.values()) > 1
    words = (
        Text(
            f"{states[state]} {state}" if several else state.value,
            style=_STYLES.get(state, "red" if state.final else ""),
        )
        for state in JobState
        if states[state]
    )
    return Text(", ").join(words)
