"""Charts: inline SVG in the colours of the page, each with its numbers as text for readers who cannot see it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from slurm.sweeps.reports.markup import Markup, joined, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurm.sweeps.adaptive.progress import Trial
    from slurm.sweeps.reports.spread import Bin, Spread

_WIDTH, _HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 26
"""The margins around the area of a chart, for its labels, in units of the SVG."""

_TICKS = 4
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_DOTS = 5000
"""The most values of a search that are drawn."""

_FAR = 5
"""The worst tenth of the values is drawn at the edge if it is this many times as far from the best value as the
others.
"""

_MOST = 1e300


def bar(counts: Mapping[str, int]) -> Markup:
    """Draw a bar with a part for each state. The names of the states are names of CSS classes of the page."""
    parts = [
        tag("span", class_=f"part {name.replace(' ', '-')}", style=f"flex: {count}", title=f"{count} {name}")
        for name, count in counts.items()
        if count
    ]
    return tag("div", *parts, class_="bar", role="img", aria_label=", ".join(f"{n} {s}" for s, n in counts.items()))


def steps(moments: Sequence[tuple[float, Mapping[str, int]]], *, label: str, clock: Callable[[float], str]) -> Markup:
    """Draw counts over time, stacked; `clock` formats a time."""
    if not moments:
        return Markup("")
    begin, end = moments[0][0], moments[-1][0]
    top = max(sum(counts.values()) for _, counts in moments)
    scale = _ticks(top)
    names = list(moments[-1][1])
    below = [0] * len(moments)
    areas = list[Markup]()
    for name in names:
        above = [low + counts[name] for low, (_, counts) in zip(below, moments, strict=True)]
        xs = [_x(when, begin, end) for when, _ in moments]
        upper = " L".join(f"{x:.1f},{_y(value, scale[-1]):.1f}" for x, value in zip(xs, above, strict=True))
        lower = " L".join(
            f"{x:.1f},{_y(value, scale[-1]):.1f}" for x, value in reversed(list(zip(xs, below, strict=True)))
        )
        areas.append(tag("path", d=f"M{upper} L{lower} Z", class_=name))
        below = above
    marks = [(_x(when, begin, end), clock(when)) for when in dict.fromkeys((begin, (begin + end) / 2, end))]
    return _chart(joined(areas), marks, [(value, f"{value:g}") for value in scale], label)


def columns(bins: Sequence[Bin], *, label: str, unit: Callable[[float], str]) -> Markup:
    """Draw a histogram; `unit` formats a number on its axis."""
    if not bins:
        return Markup("")
    begin, end = bins[0].low, bins[-1].high
    scale = _ticks(max(one.number for one in bins))
    drawn = []
    for one in bins:
        x, y = _x(one.low, begin, end), _y(one.number, scale[-1])
        width = max(_x(one.high, begin, end) - x - 1, 1.0)
        title = tag("title", f"{unit(one.low)} to {unit(one.high)}: {one.number}")
        shape = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{_y(0, 1) - y:.1f}"}
        drawn.append(tag("rect", title, class_="column", **shape))
    marks = [(_x(value, begin, end), unit(value)) for value in dict.fromkeys((begin, (begin + end) / 2, end))]
    return _chart(joined(drawn), marks, [(value, f"{value:g}") for value in scale], label)


def trials(some: Sequence[Trial], *, largest: bool, label: str) -> Markup:
    """Draw the values of a search by the numbers of their points, and a line for the best value so far.

    Values far from the best ones are drawn at the edge, so that the differences between the others stay visible.
    """
    scale = _ticks_between(*_limits([each.value for each in some], largest=largest))
    low, high, begin, end = scale[0], scale[-1], some[0].point, some[-1].point

    def at(point: int, value: float) -> tuple[str, str]:
        y = _y(min(max(value, low), high) - low, high - low)
        return f"{_x(point, begin, end):.1f}", f"{y:.1f}"

    shapes = list[Markup]()
    every = -(-len(some) // _DOTS)
    for name, pruned in (("value", False), ("pruned", True)):
        dots = ["M{},{}h0".format(*at(each.point, each.value)) for each in some[::every] if each.pruned is pruned]
        shapes += [tag("path", d="".join(dots), class_=f"dots {name}")] if dots else []
    line, best = "", None
    for each in some:
        if each.best is not None and each.best != best:
            line += ("H{}V{}" if line else "M{},{}").format(*at(each.point, each.best))
            best = each.best
    if best is not None:
        shapes.append(tag("path", d=f"{line}H{at(end, best)[0]}", class_="line best"))
    marks = [(_x(number, begin, end), str(number)) for number in dict.fromkeys((begin, (begin + end) // 2, end))]
    return _chart(joined(shapes), marks, [(value - low, f"{value:.6g}") for value in scale], label)


def box(spread: Spread, most: float) -> Markup:
    """Draw a small box plot on an axis from 0 to `most`: smallest value, quartiles, median and largest value."""
    width, height, middle = 160, 14, 7

    def at(value: float) -> str:
        return f"{value / most * (width - 2) + 1 if most > 0 else 1:.1f}"

    inside = max(float(at(spread.upper)) - float(at(spread.lower)), 1.0)
    parts = (
        tag("line", x1=at(spread.least), x2=at(spread.most), y1=middle, y2=middle, class_="whisker"),
        tag("rect", x=at(spread.lower), y=2, width=f"{inside:.1f}", height=height - 4, class_="box"),
        tag("line", x1=at(spread.median), x2=at(spread.median), y1=1, y2=height - 1, class_="median"),
    )
    return tag("svg", *parts, width=width, height=height, viewBox=f"0 0 {width} {height}", aria_hidden="true")


def _chart(
    inside: Markup, marks: Sequence[tuple[float, str]], scale: Sequence[tuple[float, str]], label: str
) -> Markup:
    """Draw a chart around `inside`: labels for `marks` below, and grid lines with the labels of `scale` at the left."""
    bottom, most = _HEIGHT - _BOTTOM, scale[-1][0]
    parts = list[Markup]()
    for value, text in scale:
        y = f"{_y(value, most):.1f}"
        parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", text, x=_LEFT - 6, y=y, class_="scale"))
    parts.append(inside)
    for number, (x, text) in enumerate(marks):
        anchor = "start" if number == 0 else "end" if number == len(marks) - 1 else "middle"
        parts.append(tag("text", text, x=f"{x:.1f}", y=bottom + 18, text_anchor=anchor))
    return tag("svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="chart", role="img", aria_label=label)


def _x(value: float, begin: float, end: float) -> float:
    part = (value - begin) / (end - begin) if end > begin else 0.0
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, most: float) -> float:
    return _HEIGHT - _BOTTOM - value / most * (_HEIGHT - _TOP - _BOTTOM)


def _ticks(most: float) -> list[float]:
    """Return round numbers from 0 to at least `most`, which is at least 1."""
    rough = max(most, 1) / _TICKS
    power = 10.0 ** (len(str(int(rough))) - 1)
    step = next(power * factor for factor in _STEPS if power * factor >= rough)
    step = max(1.0, float(int(step)) if step >= 1 else 1.0)
    count = -(-max(most, 1) // step)
    return [step * number for number in range(int(count) + 1)]


def _limits(values: Sequence[float], *, largest: bool) -> tuple[float, float]:
    """Return the limits of an axis for the values of a search, without the worst tenth if it is far from the others."""
    best, *others = sorted(values, reverse=largest)
    worst = others[-1] if others else best
    most = others[int(0.9 * len(others))] if others else best
    if abs(worst - best) > _FAR * abs(most - best) > 0:
        worst = most
    return min(best, worst), max(best, worst)


def _ticks_between(low: float, high: float) -> list[float]:
    """Return round numbers from at most `low` to at least `high`."""
    low, high = max(low, -_MOST), min(high, _MOST)
    size = max(abs(low), abs(high))
    if high - low <= size * 1e-9:
        low, high = low - (size or 1) / 20, high + (size or 1) / 20
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (*_STEPS, 20.0) if power * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, last + 1)]
