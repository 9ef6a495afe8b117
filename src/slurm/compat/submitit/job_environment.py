"""JobEnvironment: the job that this code runs in."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from slurm.runner.job_context import JobContext, current_job

if TYPE_CHECKING:
    from pathlib import Path

debugged: list[str] = []
"""The ids of the debug executor's jobs that run in this process."""


class JobEnvironment:
    """The ids, ranks and nodes of the current job. The constructor raises RuntimeError outside of a job."""

    def __init__(self) -> None:
        context = JobContext(root="", key="", index=0, job_id=debugged[-1]) if debugged else current_job()
        on_slurm = "SLURM_CLUSTER_NAME" in os.environ or "SLURMD_NODENAME" in os.environ
        self.cluster = "debug" if debugged else "slurm" if on_slurm else "local"
        self.job_id = context.job_id or ""  # such as "1234_7"
        array, _, element = self.job_id.partition("_")
        self.array_job_id = array if element.isdigit() else None
        self.array_task_id = element if element.isdigit() else None
        self.raw_job_id = os.environ.get("SLURM_JOB_ID") or array
        self.hostname = socket.gethostname()
        self.hostnames = [host for host in context.hosts if host] or [self.hostname]
        self.num_nodes, self.num_tasks = len(self.hostnames), context.world_size
        self.node, self.local_rank, self.global_rank = context.node_rank, context.local_rank, context.rank
        self._context = context

    @staticmethod
    def activated() -> bool:
        """Whether this code runs in a job."""
        try:
            return bool(debugged or current_job())
        except RuntimeError:
            return False

    @property
    def folder(self) -> Path:
        """A directory for files of this call, which is kept with the job. It is created if it is missing."""
        return self._context.output_directory()

    def __repr__(self) -> str:
        ranks = f"local_rank={self.local_rank}, node={self.node}({self.num_nodes}), global_rank={self.global_rank}"
        return f"JobEnvironment(job_id={self.job_id}, hostname={self.hostname}, {ranks}({self.num_tasks}))"
