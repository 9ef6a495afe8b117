"""Make the page of errors: `python tests/errors_page.py` writes docs/reference/errors.md from docstrings and causes."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

from slurm.cli.error_texts import error_class, sections, summary

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "errors.md"
_WIDTH = 128
_TOP = """\
# Errors: causes and what to do

This page lists the error classes of the library, what each means, its common causes, and what to do.
`slurm explain JobTimedOut` prints a section of this page without a network. It takes the name as a traceback shows it,
too: `slurm.errors.JobTimedOut`. `slurm explain KEY` says what happened to a job.

[Errors and tracebacks](../how-to/errors.md) shows how to handle errors in a program.
[The API page](api.md#errors) has the tree of their classes. [Failures](failures.md) lists which failure causes which
error.
"""


def page() -> str:
    """The Markdown text of the page."""
    parts = [_TOP]
    for name, body in sections().items():
        prose = "\n\n".join(fill(each, _WIDTH, break_on_hyphens=False) for each in summary(error_class(name)))
        parts.append(f"## {name}\n\n{prose}\n\n{body}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
