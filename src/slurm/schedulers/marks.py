"""Marks: decide which submission a reported job belongs to.

A scheduler that lost its state gives ids again; keys are never reused. Two marks of a job hold the key of its
submission: the comment, and the path of the script.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.schedulers.base import Report

_KEY = re.compile(r"[^/\s+~]+/\d{8}T\d{6}Z-[0-9a-f]{8}([+~]|$)")
_NOT_TOLD = ("", "N/A", "Unknown")
_CLOCKS = 86400.0
"""Seconds by which the clocks of client and scheduler may differ, a wrong time zone included."""


def whose(tag: str, *, comment: str, script: str) -> bool | None:
    """Whether a job belongs to the block with this tag; None if it has no mark.

    `script` is the path of its script, or the command line that submitted it. One mark that fits is enough. Any other
    script, or a comment that begins with another key, marks the job of another submission.
    """
    word = comment.partition(" ")[0]
    if word == tag:
        return True
    key = re.split("[+~]", tag, maxsplit=1)[0]
    named = _KEY.match(word) is not None
    told = script not in _NOT_TOLD
    if told and f"/{key}/" in script:
        return not (named and re.split("[+~]", word, maxsplit=1)[0] == key)  # else it is another block of the same
    return False if named or told else None


def belongs(report: Report, tag: str, *, created: float) -> bool:
    """Whether a report is about the block with this tag, submitted at `created` by the client's clock.

    A report without a mark counts if the job is the user's own and isn't older than the submission.
    """
    mine = whose(tag, comment=report.comment, script=report.script)
    if mine is not None:
        return mine
    return report.own and (report.submitted is None or report.submitted > created - _CLOCKS)
