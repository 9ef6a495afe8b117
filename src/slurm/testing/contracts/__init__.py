"""Contract suites: test classes for implementations of a seam, which subclass them. They need pytest."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.scheduler_commands", f"{__name__}.running_scheduler")

from slurm.testing.contracts.running_scheduler import RunningSchedulerContract  # noqa: E402 - after the line above
from slurm.testing.contracts.scheduler_commands import (  # noqa: E402
    KEY,
    SchedulerCommandsContract,
    SchedulerSamples,
)

__all__ = ["KEY", "RunningSchedulerContract", "SchedulerCommandsContract", "SchedulerSamples"]
