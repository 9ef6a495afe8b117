"""Measure what the design promises: `python benchmarks/run.py [--quick] [--write]` prints a Markdown table.

`nox -s benchmarks` also installs the other tools, in environments of their own, and names them to this program.

Everything is measured in a fresh virtual environment, which holds this project as it stands, cloudpickle, Paramiko,
submitit, Optuna and the server's packages if they are installed here, and the modules in `installed/`: what else this
Python has doesn't count.
"""

from __future__ import annotations

import compileall
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import distribution
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = (
    *("slurm", "cloudpickle", "filelock", "submitit", "typing_extensions"),
    *("click", "yaml", "_yaml"),
    *("paramiko", "cryptography", "bcrypt", "nacl", "cffi", "_cffi_backend"),
    *("optuna", "numpy", "colorlog", "packaging", "tqdm"),
    *("starlette", "uvicorn", "sse_starlette", "anyio", "sniffio", "idna", "h11", "exceptiongroup"),
)
DISTRIBUTIONS = ("slurm-tasks", "cloudpickle", "paramiko", "submitit")


def main() -> int:
    """Make the environment, measure in it, remove it."""
    with tempfile.TemporaryDirectory(prefix="slurm-benchmarks-") as directory:
        python = make_environment(Path(directory, "environment"))
        workspace = Path(directory, "workspace")
        workspace.mkdir(mode=0o700)
        return subprocess.run([python, HERE / "measure.py", workspace, *sys.argv[1:]], check=False).returncode


def make_environment(directory: Path) -> Path:
    """A virtual environment with copies of the packages; returns its interpreter."""
    venv.create(directory, symlinks=True)
    site = next(directory.glob("lib/python*/site-packages"))
    for name in PACKAGES:
        copy_package(name, site)
    for path in (HERE / "installed").glob("*.py"):
        shutil.copy(path, site)
    for name in DISTRIBUTIONS:
        if importlib.util.find_spec(name) or name == "slurm-tasks":
            found = distribution(name)
            record = site / f"{name.replace('-', '_')}-{found.version}.dist-info" / "METADATA"
            record.parent.mkdir()
            record.write_text(found.read_text("METADATA") or "")
    compileall.compile_dir(site, quiet=1)
    return directory / "bin" / "python"


def copy_package(name: str, site: Path) -> None:
    """Copy a package or module that is installed here, if it is."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return
    if found.submodule_search_locations:
        ignored, package = shutil.ignore_patterns("__pycache__"), Path(found.origin).parent
        shutil.copytree(package, site / name, ignore=ignored)
        if (libraries := package.with_name(f"{name}.libs")).is_dir():
            shutil.copytree(libraries, site / libraries.name)
    else:
        shutil.copy(found.origin, site)


if __name__ == "__main__":
    sys.exit(main())
