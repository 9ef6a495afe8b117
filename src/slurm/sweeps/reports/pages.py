"""Pages: the three reports of a sweep as HTML: completion, performance and errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from slurm.protocol.ranges import ranges
from slurm.sweeps.reports import charts
from slurm.sweeps.reports.markup import joined, tag
from slurm.sweeps.reports.page import legend, page, paragraph, section, table, tiles
from slurm.sweeps.reports.spread import histogram
from slurm.sweeps.snapshot import State
from slurm.views.displays import clock, duration, memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurm.sweeps.adaptive.progress import SearchStatus, Trial
    from slurm.sweeps.reports.markup import Markup
    from slurm.sweeps.reports.numbers import Completion, Costs, Failed, Performance

T = TypeVar("T")

_STATES = tuple(map(str, State))
_GROUPS = 100
"""The most groups of failures on a page."""

_BETTER = 12
"""The most points of a search that are listed."""

_POINTS = 40
"""The most points of a group that are listed."""

_TRACEBACK = 10_000
"""The most characters of a traceback that are shown: its end, which is the most informative part."""

_CARETS = re.compile(r"^ *[~^]+\n", re.MULTILINE)
"""The markers that Python prints below a line of code. They are removed, because a narrow page breaks such lines."""


def completion_page(name: str, subtitle: str, found: Completion) -> str:
    """Return the page that shows how far a sweep is: over time, at each source, and by each parameter."""
    status = found.status
    counts = {str(state): number for state, number in status.counts.items()}
    moments = [(one.time, {"done": one.done, "failed": one.failed}) for one in found.progress]
    last = found.progress[-1] if found.progress else None
    over_time = (
        charts.steps(moments, label=f"{last.done} done and {last.failed} failed over time", clock=clock)
        if last is not None
        else paragraph("No point has ended yet.")
    )
    sources = [
        (source, charts.bar(_by_state(states)), ", ".join(f"{number} {state}" for state, number in states.items()))
        for source, states in status.sources.items()
    ]
    troubles = [tag("p", f"{url} does not answer: {why}") for url, why in status.troubles.items()]
    return page(
        f"{name}: completion",
        subtitle,
        tiles([(str(status.total), "points"), *((str(number), state) for state, number in counts.items())]),
        charts.bar(counts),
        legend(counts),
        *troubles,
        section("Over time", over_time, paragraph("Points that had ended, by the clocks of their nodes.")),
        *([_search(status.search, found.trials)] if status.search else []),
        section("Sources", table(("source", "", "points"), sources) if sources else paragraph("None has points yet.")),
        *_parameters(found.parameters, _states_table),
    )


def performance_page(name: str, subtitle: str, found: Performance) -> str:
    """Return the page on the time and memory that the succeeded points took, by source and parameter."""
    spread, peak, busy = found.all
    if spread is None:
        return page(f"{name}: performance", subtitle, paragraph("No point has succeeded yet."))
    facts = [(str(spread.number), "points"), (duration(spread.median), "median duration")]
    facts += [(memory(round(peak.most)), "largest memory")] if peak is not None else []
    facts += [(f"{busy.median:.1f}", "CPUs busy, median")] if busy is not None else []
    facts += [(duration(found.computed), "computed in all"), (duration(found.elapsed), "from first to last")]
    facts += [(f"{found.concurrency:.1f}", "points at once, on average")] if found.concurrency is not None else []
    sizes = columns_of(found.memory, "memory", lambda size: memory(round(size)))
    return page(
        f"{name}: performance",
        subtitle,
        tiles(facts),
        section("Duration", columns_of(found.seconds, "durations", duration)),
        section("Memory", sizes if found.memory else paragraph("No source has measured it.")),
        section("Sources", _costs_table(found.sources, "source")),
        *_parameters(found.parameters, _costs_table),
        paragraph(
            "A box spans the middle half of the durations, its line is the median, the whiskers reach the least and "
            "the largest. Points in one array element share its mean duration and its largest memory."
        ),
    )


def errors_page(name: str, subtitle: str, found: Sequence[Failed], total: int) -> str:
    """Return the page on the failed points, in groups of the same kind."""
    failed = sum(len(one.group.points) for one in found)
    if not found:
        return page(f"{name}: errors", subtitle, paragraph(f"None of {total} points has failed."))
    facts = tiles([(str(failed), f"of {total} points failed"), (str(len(found)), "kinds of failures")])
    more = [paragraph(f"{len(found) - _GROUPS} rarer kinds are not shown.")] if len(found) > _GROUPS else []
    return page(f"{name}: errors", subtitle, facts, *(_group(one, failed) for one in found[:_GROUPS]), *more)


def _search(status: SearchStatus, trials: Sequence[Trial]) -> Markup:
    """Return the section on how far an adaptive search is: its best value, and the value of each point."""
    metric = status.metric
    facts = [(f"{status.ended} of {status.trials}" if status.trials else str(status.ended), "trials ended")]
    if status.best is not None:
        facts += [(f"{status.best:.6g}", f"best {metric}"), (str(status.point), "its point")]
    facts.append((str(status.pruned), "pruned"))
    how = f"The sampler {status.sampler} looks for points that {status.direction} {metric}."
    if not trials:
        return section("Search", tiles(facts), paragraph(f"{how} No point has a value yet."))
    names = ["value", *(["pruned"] if any(each.pruned for each in trials) else []), "best so far"]
    chart = charts.trials(
        trials, largest=status.direction == "maximize", label=f"{metric} of {len(trials)} points, by their numbers"
    )
    better = [each for each, last in zip(trials, [None, *trials], strict=False) if each.best != (last and last.best)]
    rows = [(str(each.point), f"{each.value:.6g}", _params(each.params)) for each in better[-_BETTER:]]
    return section(
        "Search",
        tiles(facts),
        chart,
        legend(names),
        paragraph(f"{how} The chart has {metric} by the numbers of points; values far from the best are at its edge."),
        tag("h3", "Points that were the best"),
        table(("point", metric, "parameters"), rows, numbers=(0, 1)),
    )


def _params(params: Mapping[str, Any]) -> str:
    numbers = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in params.items()}
    return " ".join(f"{name}={value}" for name, value in numbers.items())


def columns_of(numbers: Sequence[float], what: str, unit: Callable[[float], str]) -> Markup:
    """Return a histogram of numbers."""
    return charts.columns(histogram(numbers), label=f"histogram of {len(numbers)} {what}", unit=unit)


def _group(one: Failed, failed: int) -> Markup:
    group = one.group
    count = len(group.points)
    named = ranges(group.points[:_POINTS]).replace(",", ", ") + (", …" if count > _POINTS else "")
    text = _CARETS.sub("", (group.traceback or group.example).rstrip())[-_TRACEBACK:]
    common = ", ".join(f"{name} = {value}" for name, value in one.common.items())
    return tag(
        "div",
        tag("h3", f"{count} × {group.pattern}", f" in {group.where}" if group.where else ""),
        charts.bar({"failed": count, "other failures": failed - count} if failed > count else {"failed": count}),
        tag("p", "Points ", tag("code", named)),
        *([tag("p", "All of them have ", tag("code", common))] if common else []),
        *([tag("p", f"What to do: {group.suggestion}")] if group.suggestion else []),
        tag("pre", text),
        class_="group",
    )


def _parameters(
    found: Mapping[str, Mapping[str, T]], levels_table: Callable[[Mapping[str, T], str], Markup]
) -> list[Markup]:
    """Return a section with a table for each parameter."""
    tables = [joined([tag("h3", name), levels_table(levels, "value")]) for name, levels in found.items()]
    return [section("Parameters", *tables)] if tables else []


def _states_table(found: Mapping[str, Mapping[str, int]], what: str) -> Markup:
    """Return a table with a row for each value: a bar, and the number of points in each state."""
    names = [name for name in _STATES if any(name in counts for counts in found.values())]
    rows = [
        (value, charts.bar(counts), *(str(counts.get(name, 0)) for name in names)) for value, counts in found.items()
    ]
    return table((what, "", *names), rows, numbers=range(2, 2 + len(names)))


def _costs_table(found: Mapping[str, Costs], what: str) -> Markup:
    """Return a table with a row for each value: the durations as a box plot on a common axis, and the numbers."""
    most = max((costs.seconds.most for costs in found.values() if costs.seconds), default=0.0)
    rows = []
    for value, (seconds, peak, cpus) in found.items():
        if seconds is not None:
            took = [duration(number) for number in (seconds.least, seconds.median, seconds.most)]
            sizes = [memory(round(number)) for number in (peak.median, peak.most)] if peak is not None else ["", ""]
            busy = f"{cpus.median:.1f}" if cpus is not None else ""
            rows.append((value, str(seconds.number), charts.box(seconds, most), *took, *sizes, busy))
    head = (what, "points", "duration", "least", "median", "largest", "memory, median", "largest", "CPUs busy")
    return table(head, rows, numbers=(1, 3, 4, 5, 6, 7, 8))


def _by_state(counts: Mapping[str, int]) -> Mapping[str, int]:
    """Count the points of a source by the states of points. A point in any state of the scheduler counts as alive."""
    found = dict.fromkeys(_STATES, 0)
    for name, number in counts.items():
        found[name if name in found else str(State.ALIVE)] += number
    return {name: number for name, number in found.items() if number}
