"""JobEnvironment: the job that this code runs in."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from slurm.runner.job_context import JobContext, current_job

if TYPE_CHECKING:
    from pathlib import Path

debugged: list[str] = []
"""The ids of the jobs that run in this process, of the debug executor."""


class JobEnvironment:
    """The ids, ranks and nodes of the current job. Raises RuntimeError outside of a job."""

    def __init__(self) -> None:
        self._context = JobContext(root="", key="", index=0, job_id=debugged[-1]) if debugged else current_job()
        on_slurm = "SLURM_CLUSTER_NAME" in os.environ or "SLURMD_NODENAME" in os.environ
        self.cluster = "debug" if debugged else "slurm" if on_slurm else "local"

    @staticmethod
    def activated() -> bool:
        """Whether this code runs in a job."""
        try:
            return bool(debugged or current_job())
        except RuntimeError:
            return False

    @property
    def job_id(self) -> str:
        """The scheduler's id, such as "1234_7"."""
        return self._context.job_id or ""

    @property
    def raw_job_id(self) -> str:
        """The id without the number of the element; in an array, SLURM_JOB_ID."""
        return os.environ.get("SLURM_JOB_ID") or self.job_id.partition("_")[0]

    @property
    def array_job_id(self) -> str | None:
        """The id of the array. Each job is an element of one."""
        array, _, element = self.job_id.partition("_")
        return array if element.isdigit() else None

    @property
    def array_task_id(self) -> str | None:
        """The number of the element in its array."""
        element = self.job_id.partition("_")[2]
        return element if element.isdigit() else None

    @property
    def hostname(self) -> str:
        """The name of this machine."""
        return socket.gethostname()

    @property
    def hostnames(self) -> list[str]:
        """The names of the job's nodes."""
        return [host for host in self._context.hosts if host] or [self.hostname]

    @property
    def num_tasks(self) -> int:
        """The number of processes that run the call."""
        return self._context.world_size

    @property
    def num_nodes(self) -> int:
        """The number of nodes."""
        return len(self.hostnames)

    @property
    def node(self) -> int:
        """The number of this node."""
        return self._context.node_rank

    @property
    def global_rank(self) -> int:
        """The number of this process."""
        return self._context.rank

    @property
    def local_rank(self) -> int:
        """The number of this process on its node."""
        return self._context.local_rank

    @property
    def folder(self) -> Path:
        """A directory for files of this call, kept with the job. Created if it is missing."""
        return self._context.output_directory()

    def __repr__(self) -> str:
        ranks = f"local_rank={self.local_rank}, node={self.node}({self.num_nodes}), global_rank={self.global_rank}"
        return f"JobEnvironment(job_id={self.job_id}, hostname={self.hostname}, {ranks}({self.num_tasks}))"
