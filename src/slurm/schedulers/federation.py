"""Federations: clusters that know their jobs by common ids, and move jobs that are not arrays to each other.

A job that was moved is REVOKED on its origin, the cluster that assigned its id. With the options that this module adds,
squeue and sacct also print the report of the cluster that runs the job.
Source: "Slurm Federated Scheduling Guide", squeue(1), sacct(1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.schedulers.base import Report

_FIRST_ID = 1 << 26
"""In an id, the bits from here on are the number of the origin. Other clusters assign only smaller ids: MaxJobId."""
_NUMBER = re.compile(r"\d+")
_MEMBER = re.compile(r"^(?:Self|Sibling): +([\w.-]+):", re.MULTILINE)
_MOVED, _UNREPORTED = "REVOKED", "another cluster of the federation has it, and does not report it"


def has_id(id_: str) -> bool:
    """Whether an id of a job, or of an array task, was assigned in a federation."""
    number = _NUMBER.match(id_)
    return number is not None and int(number[0]) >= _FIRST_ID


def options(ids: Sequence[str], cluster: str, *more: str) -> list[str]:
    """Return the options for squeue and sacct that report jobs wherever they are, if ids need such options."""
    return ["--federation", *more] if not cluster and any(map(has_id, ids)) else []


def members(output: str) -> tuple[str, ...]:
    """Parse the names of the clusters of this federation in the output of `scontrol show federation`."""
    return tuple(sorted(_MEMBER.findall(output)))


def current(reports: Sequence[Report]) -> list[Report]:
    """Leave out squeue's reports that a job waits, if another cluster has started it: its origin learns this later."""
    started = {report.id for report in reports if has_id(report.id) and report.state is not JobState.PENDING}
    return where_they_are(
        [
            report
            for report in reports
            if report.tasks is not None or report.id not in started or report.state is not JobState.PENDING
        ]
    )


def where_they_are(reports: Sequence[Report]) -> list[Report]:
    """Leave out reports of clusters that have moved a job, if another cluster reports it.

    A job that is cancelled while another cluster starts it is CANCELLED on its origin, and has failed at its launch on
    the other cluster: it was cancelled. Only whole jobs are compared: no array is moved.
    """
    known = {report.id for report in reports if report.word != _MOVED}
    cancelled = {report.id for report in reports if has_id(report.id) and report.state is JobState.CANCELLED}
    return [
        report._replace(explanation=_UNREPORTED) if report.word == _MOVED else report
        for report in reports
        if (report.word != _MOVED or report.id not in known)
        and (report.state is not JobState.FAILED or report.tasks is not None or report.id not in cancelled)
    ]
