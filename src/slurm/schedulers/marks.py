"""Marks: decide which submission a reported job belongs to.

A scheduler that lost its state assigns ids again; keys are never reused. A job has two marks with the key of its
submission: the comment and the path of the script.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.protocol import Block
    from slurm.schedulers.base import Report

_KEY = re.compile(r"[^/\s+~]+/\d{8}T\d{6}Z-[0-9a-f]{8}([+~]|$)")
_MISSING = ("", "N/A", "Unknown")
"""Texts that mean that the script is unknown."""
_CLOCK_DIFFERENCE = 86400.0
"""The maximum difference between the clocks of client and scheduler in seconds, including a wrong time zone."""


def tag(key: str, block: Block) -> str:
    """Return the first word of a block's comment, which identifies it: the submission's key, then the block."""
    return key + (f"+{block.first}" if block.first else "") + (f"~{block.name}" if block.name else "")


def has_tag(tag: str, *, comment: str, script: str) -> bool | None:
    """Whether the marks of a job are those of the block with this tag; None if it has no mark.

    `script` is the path of its script, or the command line that submitted it. One matching mark is enough. Any other
    script, or a comment that begins with another key, is the mark of another submission.
    """
    first = comment.partition(" ")[0]
    if first == tag:
        return True
    key = re.split("[+~]", tag, maxsplit=1)[0]
    has_key, has_script = _KEY.match(first) is not None, script not in _MISSING
    if has_script and f"/{key}/" in script:
        return not (has_key and re.split("[+~]", first, maxsplit=1)[0] == key)  # same key: another block
    return False if has_key or has_script else None


def belongs(report: Report, tag: str, *, created: float) -> bool:
    """Whether a report is about the block with this tag, submitted at `created` by the client's clock.

    A report without a mark counts if the job is the user's own and not older than the submission.
    """
    marked = has_tag(tag, comment=report.comment, script=report.script)
    if marked is not None:
        return marked
    return report.own and (report.submitted is None or report.submitted > created - _CLOCK_DIFFERENCE)
