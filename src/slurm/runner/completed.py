"""What the script runs where its runner could not say itself that the element has ended: killed, or tried too often."""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.callback_runner import CallbackRunner
from slurm.runner.job_context import JobContext
from slurm.runner.result_saver import ResultSaver

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Call the hooks for an element that has its outcome by this attempt: `root key element tag chunk attempt`."""
    root, key, element, tag, chunk, attempt = argv
    job = JobContext.from_environment(root, key, int(element) * int(chunk), os.environ, int(attempt))
    outcome = ResultSaver(job, int(element)).earlier()
    if outcome is not None and outcome.attempt == job.attempt:
        CallbackRunner.of(job, tag).fire("on_completed", outcome=outcome)
