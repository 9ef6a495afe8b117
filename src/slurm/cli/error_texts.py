"""Explain the error classes of this library: what happened, its common causes, and what to do.

The docstring of the class says what happened. Causes and advice are in `errors.md`, one section for each class.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from inspect import getdoc
from typing import TYPE_CHECKING

from slurm import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUALIFIED = re.compile(r"slurm(\.\w+)*\.(?P<name>\w+)")
"""Matches the name of a class as tracebacks show it."""


@lru_cache(maxsize=1)
def sections() -> Mapping[str, str]:
    """The Markdown text of each error class, by its name, in the order of the file."""
    _, *found = re.split(r"^## ", files("slurm.cli").joinpath("errors.md").read_text("utf-8"), flags=re.MULTILINE)
    return {name: body.strip() for name, _, body in (section.partition("\n") for section in found)}


def error_name(text: str) -> str | None:
    """The error class that a text names, with or without its module; None if the text names no error class."""
    qualified = _QUALIFIED.fullmatch(text)
    name = qualified["name"] if qualified else text
    return name if name in sections() else None


def near_names(text: str) -> list[str]:
    """The error classes with a name similar to this text, upper or lower case; the most similar first."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for an error message

    by_lower, text = {name.lower(): name for name in sections()}, text.rpartition(".")[2].lower()
    near = [text] if text in by_lower else get_close_matches(text, by_lower, cutoff=0.75)
    return [by_lower[name] for name in near]


def error_class(name: str) -> type[BaseException]:
    """The class with this name in `slurm.errors`, `slurm.tools`, `slurm.sweeps` or `slurm.procedures`."""
    from slurm import procedures, sweeps, tools  # noqa: PLC0415 - a job is explained without them

    homes = (errors, tools, sweeps, procedures)
    found: type[BaseException] = next(getattr(home, name) for home in homes if hasattr(home, name))
    return found


def explained_error(name: str) -> list[str]:
    """Explain an error class, as lines of text."""
    kind = error_class(name)
    happened, *more = summary(kind)
    return [f"{name}: {happened}", *more, *_lines(sections()[name])]


def summary(kind: type[BaseException]) -> list[str]:
    """The paragraphs about what happened: the docstring, the base class to catch, and the more precise classes."""
    paragraphs = [" ".join(each.split()) for each in (getdoc(kind) or "").split("\n\n")]
    bases = " or ".join(f"`except {base.__name__}`" for base in kind.__bases__ if base is not Exception)
    below = ", ".join(f"`{name}`" for name in sections() if kind in error_class(name).__bases__)
    more = [f"{bases} catches it, too." if bases else "", f"More precise errors: {below}." if below else ""]
    return [*paragraphs, *([text] if (text := " ".join(filter(None, more))) else [])]


def _lines(body: str) -> list[str]:
    """The lines of a Markdown text. Each list item is one line, and a link is replaced by the name of its page."""
    plain = re.sub(r"\[([^]]+)\]\(\.\./([^)]+)\)", r"\1 (docs/\2)", re.sub(r"\n +", " ", body))
    return [f"  {line}" if line.startswith("- ") else line for line in plain.splitlines() if line]
