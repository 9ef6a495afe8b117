"""Page: one HTML file with its styles, for light and dark, narrow and printed pages. No script; loads no file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slurm.sweeps.reports.markup import Markup, tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE = Path(__file__).with_name("page.css")


def page(title: str, subtitle: str, *sections: Markup) -> str:
    """Return a complete HTML document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    body = tag("body", tag("h1", title), tag("p", subtitle, class_="faint"), *sections)
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def section(title: str, *parts: Markup) -> Markup:
    """Return `parts` under a heading."""
    return tag("section", tag("h2", title), *parts)


def paragraph(text: str) -> Markup:
    """Return a paragraph of dimmed text."""
    return tag("p", text, class_="faint")


def tiles(facts: Iterable[tuple[str, str]]) -> Markup:
    """Return numbers in large type; each fact is a value and its name."""
    return tag("div", *(tag("div", tag("b", value), name, class_="tile") for value, name in facts), class_="tiles")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> Markup:
    """Return a table that scrolls on narrow screens; the columns `numbers`, from 0, are aligned at the right."""
    right = frozenset(numbers)

    def line(kind: str, cells: Sequence[str]) -> Markup:
        return tag("tr", *(tag(kind, cell, class_="number" if at in right else None) for at, cell in enumerate(cells)))

    return tag("div", tag("table", line("th", head), *(line("td", row) for row in rows)), class_="scroll")


def legend(names: Iterable[str]) -> Markup:
    """Return a legend for the colours of states."""
    marks = (
        tag("span", tag("span", class_=f"key part {name.replace(' ', '-')}"), name, class_="name") for name in names
    )
    return tag("p", *marks, class_="faint")
