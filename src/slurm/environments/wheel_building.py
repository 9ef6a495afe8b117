"""Build wheels on this machine: of the user's projects, and of their dependencies for clusters without Internet."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import zipfile
from email.parser import BytesHeaderParser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from slurm.environments.installer import find_uv, index_of_pip
from slurm.errors import BuildFailed, EnvironmentNotReady
from slurm.protocol.boot import RUN_MODULE
from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
_TAIL_LINES = 20
_ADVICE = {
    r"No space left on device|Disk quota exceeded": (
        "the disk is full: free space (`slurm envs gc`), or choose another root"
    ),
    r"not a supported wheel on this platform|incompatible with the current platform|no wheels with a matching": (
        "a wheel is for another platform: run this program on a machine of the cluster's platform"
    ),
    r"name resolution|Network is unreachable|Failed to establish|error sending request|Connection refused": (
        "the index cannot be reached: for a cluster without Internet, pass wheelhouse=True"
    ),
    r"No matching distribution|was not found in the|there is no version of|there are no versions of": (
        "check the name, and whether the index has it (index_url=…; wheelhouse=True gets it on this machine)"
    ),
}
"""Patterns in the output of installers, and the advice for each."""


class BuiltWheel(NamedTuple):
    """A wheel on this machine."""

    path: Path
    name: str
    version: str
    modules: tuple[str, ...]
    """The top-level modules in it."""
    requires: tuple[str, ...]
    """The requirements in its metadata, sorted. Requirements of extras have a marker."""
    requires_python: str

    @classmethod
    def read(cls, path: Path) -> BuiltWheel:
        """Read a wheel's name, file list and metadata (packaging.python.org, Binary distribution format)."""
        name, version = path.name.split("-")[:2]
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            metadata = b"".join(archive.read(file) for file in names if METADATA.fullmatch(file))
        fields = BytesHeaderParser().parsebytes(metadata)
        requires = tuple(sorted(fields.get_all("Requires-Dist", [])))
        return cls(path, name, version, tuple(sorted(set(_modules(names)))), requires, fields["Requires-Python"] or "")


def _modules(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        first, _, rest = name.partition("/")
        if first.endswith(".data"):
            scheme, _, rest = rest.partition("/")
            first, _, rest = rest.partition("/") if scheme in {"purelib", "platlib"} else ("", "", "")
        if first.endswith((".py", ".so", ".pyd")) and not rest:
            first = first.partition(".")[0]
        if first.isidentifier():
            yield first


def build(project: str, directory: str, log: Path) -> BuiltWheel:
    """Build the wheel of a project with the first of uv, `build` and pip that is installed. Raises BuildFailed.

    The build runs in the project's own directory, because builders look for the repository and files beside it.
    """
    if uv := find_uv():
        argv = [uv, "build", "--wheel", "--python", sys.executable, "--out-dir", directory, project]
    elif find_spec("build"):
        argv = [sys.executable, "-c", RUN_MODULE, "build", "--wheel", "--outdir", directory, project]
    elif find_spec("pip"):
        argv = [sys.executable, "-c", RUN_MODULE, "pip", "wheel", "--no-deps", "--wheel-dir", directory, project]
    else:
        raise EnvironmentNotReady("cannot build a wheel here: install uv, build or pip")
    # setuptools leaves its build directory in the project, and would package stale files from it.
    config = Path(directory, "distutils.cfg")
    config.write_text(f"[build]\nbuild_base = {directory}/build\n")
    run(argv, f"the wheel of {project} could not be built", log, environ={"DIST_EXTRA_CONFIG": str(config)})
    found = sorted(Path(directory).glob("*.whl"))
    if len(found) != 1:
        raise BuildFailed(
            f"{project} built {len(found)} wheels, not one: {', '.join(path.name for path in found)}", log=str(log)
        )
    return BuiltWheel.read(found[0])


def gather(requirements: Sequence[str], directory: str, log: Path) -> list[Path]:
    """Download or build the wheels of requirements and their dependencies, for this platform."""
    if not find_spec("pip"):
        raise EnvironmentNotReady(
            "wheelhouse=True needs pip on this machine, because uv cannot download wheels: install pip"
        )
    argv = [sys.executable, "-c", RUN_MODULE, "pip", "wheel", "--wheel-dir", directory, *requirements]
    run(argv, "the wheels of the dependencies could not be gathered", log)
    return sorted(Path(directory).glob("*.whl"))


def run(argv: Sequence[str], failure: str, log: Path, *, environ: Mapping[str, str] | None = None) -> str:
    """Run a command here, append its output to the log, and return its standard output. Raises BuildFailed."""
    settings = {**os.environ, **(environ or {})}
    settings.update(index_of_pip(settings) if Path(argv[0]).name == "uv" else {})
    done = subprocess.run(
        argv,
        env=settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    printed = redacted(f"{done.stdout}{done.stderr}")
    with log.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"{redacted(f'$ {shlex.join(argv)}')}\n{printed}")
    if done.returncode != 0:
        raise build_failed(failure, printed, str(log))
    return done.stdout


def build_failed(failure: str, output: str, log: str, *, remote: bool = False) -> BuildFailed:
    """Return the error for a failed command, with the end of its output, and advice."""
    output = redacted(output)
    lines = [for_terminal(line.rstrip()) for line in output.strip().splitlines()]
    advice = next((text for pattern, text in _ADVICE.items() if re.search(pattern, output)), "")
    shown = "\n".join([*(["…"] if len(lines) > _TAIL_LINES else []), *lines[-_TAIL_LINES:]])
    hint, where = f": {advice}" if advice else "", " there" if remote else ""
    message = f"{failure}{hint}; its whole output is in {log}{where}\n{shown}"
    return BuildFailed(message, output=output, log=log)
