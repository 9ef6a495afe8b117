"""What sweep_peers.py does, done by another tool: run by a Python that has it, without this project.

Prints the seconds, the files, the peak memory in bytes, and the version of the tool.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parent / "installed"))

from peak_memory import peak

if TYPE_CHECKING:
    from collections.abc import Callable


def hydra(folder: Path, count: int) -> None:
    """Run a function that does nothing at each point, by the basic launcher, in one process."""
    program = folder / "program.py"
    program.write_text(
        "import hydra\n@hydra.main(version_base=None, config_path=None)\ndef main(config): pass\nmain()\n"
    )
    points = ",".join(map(str, range(count)))
    _run([sys.executable, str(program), "--multirun", f"+x={points}"], folder)


def signac(folder: Path, count: int) -> None:
    """Store the points, each a job with a directory of its own."""
    import signac as tool  # noqa: PLC0415 - only one of the tools need be there

    project = tool.init_project(str(folder))
    for x in range(count):
        project.open_job({"x": x}).init()


def signac_missing(folder: Path, count: int) -> None:
    """Look which of the stored points have no result yet."""
    import signac as tool  # noqa: PLC0415

    project = tool.get_project(str(folder))
    assert sum(not job.isfile("result.json") for job in project) == count


def snakemake(folder: Path, count: int) -> None:
    """Plan a job for each point."""
    (folder / "Snakefile").write_text(
        f"rule all:\n    input: expand('out/{{x}}', x=range({count}))\n"
        "rule one:\n    output: 'out/{x}'\n    shell: 'echo > {output}'\n"
    )
    program = str(Path(sys.executable).with_name("snakemake"))
    _run([program, "--dry-run", "--quiet", "all", "--cores", "1"], folder)


def _run(argv: list[str], folder: Path) -> None:
    subprocess.run(argv, cwd=folder, stdout=subprocess.DEVNULL, check=True)


TOOLS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "hydra": ("hydra-core", hydra),
    "signac": ("signac", signac),
    "signac-missing": ("signac", signac_missing),
    "snakemake": ("snakemake", snakemake),
}


def main() -> None:
    """Do it in a folder."""
    tool, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    distribution, run = TOOLS[tool]
    if tool == "signac-missing":
        signac(folder, count)
    begin = time.perf_counter()
    run(folder, count)
    seconds = time.perf_counter() - begin
    files = sum(len(names) for _, _, names in os.walk(folder))
    largest = int(1024**2 * max(peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))
    print(json.dumps([seconds, files, largest, f"{distribution} {version(distribution)}"]))


if __name__ == "__main__":
    main()
