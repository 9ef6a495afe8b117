"""Support for tests: a cluster that runs in this process and fails on request. `contracts` needs pytest."""

from slurm.testing.inline.cluster import InlineCluster
from slurm.testing.inline.faults import REQUEUE, Answer
from slurm.testing.inline.queue import InlineQueue

__all__ = ["REQUEUE", "Answer", "InlineCluster", "InlineQueue"]
