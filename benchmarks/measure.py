"""All topics, one after the other, in the environment that run.py made."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests"))

import adaptive  # noqa: E402 - the tests' testbed is to be found first
import chunks  # noqa: E402
import import_time  # noqa: E402
import long_programs  # noqa: E402
import pools  # noqa: E402
import program_peers  # noqa: E402
import programs  # noqa: E402
import records  # noqa: E402
import rest  # noqa: E402
import runner_start  # noqa: E402
import server  # noqa: E402
import spaces  # noqa: E402
import sweep_peers  # noqa: E402
import sweeps  # noqa: E402
from common import Settings, table, unmeasured  # noqa: E402

import tools  # noqa: E402
from slurm.schedulers.local_queue import client  # noqa: E402
from testbed import missing  # noqa: E402
from testbed.programs import find_program  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common import Row

PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- begin of the table that benchmarks/run.py --write replaces -->", "<!-- end of the table -->"


def main() -> None:
    """Measure, print the table as it comes, and write the page if asked to."""
    arguments = _arguments()
    settings = Settings(
        workspace=arguments.workspace,
        rounds=10 if arguments.quick else 40,
        calls=4 if arguments.quick else 13,
        arrays=1 if arguments.quick else 4,
        slurm_sdk_python=arguments.slurm_sdk_python,
        peers_python=arguments.peers_python,
    )
    os.environ["SLURMTASKS_LOCAL_DIR"] = str(arguments.workspace / "local")
    os.environ["XDG_CACHE_HOME"] = str(arguments.workspace / "cache")
    lines = []
    try:
        for line in table(_rows(settings, arguments.only)):
            print(line, flush=True)
            lines.append(line)
    finally:
        client.stop()
    print(f"\n{_machine()}")
    if arguments.write and not arguments.only:
        _write([*lines, "", _machine()])


def _rows(settings: Settings, only: Sequence[str]) -> Iterator[Row]:
    local = (import_time, runner_start, programs, program_peers, chunks, pools, records, long_programs)
    for topic in (*local, server, spaces, sweeps, adaptive, sweep_peers, tools, rest):
        if not only or topic.__name__ in only:
            yield from topic.rows(settings)
    lacking = missing()
    if lacking:
        yield unmeasured("calls, arrays and commands on a real Slurm", lacking)
        return
    import cached  # noqa: PLC0415 - for where there is a Slurm
    import counts  # noqa: PLC0415
    import far  # noqa: PLC0415
    import peers  # noqa: PLC0415
    import scale  # noqa: PLC0415
    import slurm_calls  # noqa: PLC0415
    from bare_slurm import test_slurm  # noqa: PLC0415

    with test_slurm():
        for topic in (slurm_calls, peers, scale, counts, far, cached):
            if not only or topic.__name__ in only:
                yield from topic.rows(settings)


def _write(lines: Sequence[str]) -> None:
    """Replace the table on the page. The other text of the page, about single topics and reasons, stays."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text("\n".join([f"{before}{BEGIN}\n", *lines, "", f"{END}{after}"]), encoding="utf-8")


def _machine() -> str:
    slurmctld = find_program("slurmctld")
    slurm = "no Slurm"
    if slurmctld and missing() is None:
        version = subprocess.run([slurmctld, "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]
        slurm = f"Slurm {version} (the tests' own: 2 nodes of 4 CPUs on this one machine)"
    cores = len(os.sched_getaffinity(0))
    today = datetime.now(timezone.utc).date()
    return f"{today}, {cores} cores, {platform.system()}, Python {platform.python_version()}, {slurm}."


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description="Measure what the design promises.")
    parser.add_argument("workspace", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="measure less often: a rough table, soon")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/benchmarks.md too")
    parser.add_argument(
        "--only", metavar="TOPIC", action="append", default=[], help="one topic, such as far; not written"
    )
    parser.add_argument("--slurm-sdk-python", metavar="PATH", help="a Python that has slurm-sdk, to compare with")
    words = "a Python that has dask-jobqueue, parsl, executorlib, submitit, hydra-core, signac and snakemake"
    parser.add_argument("--peers-python", metavar="PATH", help=words)
    return parser.parse_args()


if __name__ == "__main__":
    main()
