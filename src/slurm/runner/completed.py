"""Call the hooks for a finished element whose runner could not call them: it was killed, or retried too often.

The job script runs this module.
"""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.callback_runner import CallbackRunner
from slurm.runner.job_context import JobContext
from slurm.runner.result_saver import ResultSaver

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Call `on_completed` if this attempt made the element's outcome: `root key element tag chunk attempt`."""
    root, key, element, tag, chunk, attempt = argv
    job = JobContext.from_environment(root, key, int(element) * int(chunk), os.environ, int(attempt))
    outcome = ResultSaver(job, int(element)).earlier()
    if outcome is not None and outcome.attempt == job.attempt:
        CallbackRunner.of(job, tag).fire("on_completed", outcome=outcome)
