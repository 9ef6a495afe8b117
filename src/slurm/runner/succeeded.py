"""Tell the script whether an element has succeeded although its process failed while it was exiting."""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import JobContext
from slurm.runner.result_saver import ResultSaver

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Return 0 if the outcome of an element is a success, else 1: `root key element`."""
    root, key, element = argv
    job = JobContext.from_environment(root, key, int(element), os.environ, 0)
    outcome = ResultSaver(job).earlier()
    return 0 if outcome is not None and outcome.succeeded else 1
