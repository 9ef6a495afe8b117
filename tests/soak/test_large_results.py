"""A result of 1 GB through a pool on Slurm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from end_to_end.test_large_results import MEGABYTE, check_large_values
from slurm import Cluster

GIGABYTE = 1 << 30
NEEDED_MEMORY, NEEDED_DISK = 8 * GIGABYTE, 2 * GIGABYTE
"""The worker has the result and its pickle, the client has the result, and the disk may be a part of the memory."""


@pytest.mark.slurm
@pytest.mark.timeout(900)
def test_a_result_of_a_gigabyte_arrives_and_delays_no_other_call(slurm_env: object, root: Path, tmp_path: Path) -> None:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    memory, disk = int(lines["MemAvailable"].split()[0]) * 1024, shutil.disk_usage(tmp_path).free
    if memory < NEEDED_MEMORY or disk < NEEDED_DISK:
        pytest.skip(f"needs 8 GiB of memory, and 2 GiB of disk; there are {memory >> 20:,} MiB and {disk >> 20:,} MiB")
    with Cluster("slurm", root=root) as cluster:
        check_large_values(cluster, root, tmp_path, argument=64 * MEGABYTE, result=GIGABYTE)
