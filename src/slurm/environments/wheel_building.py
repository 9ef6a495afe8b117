"""Building wheels on this machine: of the user's own projects, and of what they need where there is no Internet."""

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

_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
_TAIL_LINES = 20
_ADVICE = {
    r"No space left on device|Disk quota exceeded": (
        "the disk is full: make room (`slurm envs gc`), or name another root"
    ),
    r"not a supported wheel on this platform|incompatible with the current platform|no wheels with a matching": (
        "a wheel is for another platform: run this program on a machine like the cluster's"
    ),
    r"name resolution|Network is unreachable|Failed to establish|error sending request|Connection refused": (
        "the index can't be reached: where there is no Internet, wheelhouse=True sends what is needed"
    ),
    r"No matching distribution|was not found in the|there is no version of|there are no versions of": (
        "is the name right, and does the index have it? (index_url=…; wheelhouse=True takes it from this machine)"
    ),
}
"""Patterns of what installers print, and what can be done."""


class BuiltWheel(NamedTuple):
    """A wheel on this machine."""

    path: Path
    name: str
    version: str
    modules: tuple[str, ...]
    """Its top-level modules."""
    requires: tuple[str, ...]
    """Its requirements as its metadata has them, those of its extras with a marker that says so; sorted."""
    requires_python: str

    @classmethod
    def read(cls, path: Path) -> BuiltWheel:
        """What a wheel's name, list of files and metadata tell (packaging.python.org, Binary distribution format)."""
        name, version = path.name.split("-")[:2]
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            metadata = b"".join(archive.read(file) for file in names if _METADATA.fullmatch(file))
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
    """Build a project's wheel, by uv where it is, else by `build`, else by pip. Raises BuildFailed.

    The project is built where it is, so that builders find what they look for: the repository, files beside it.
    """
    if uv := find_uv():
        argv = [uv, "build", "--wheel", "--python", sys.executable, "--out-dir", directory, project]
    elif find_spec("build"):
        argv = [sys.executable, "-c", RUN_MODULE, "build", "--wheel", "--outdir", directory, project]
    elif find_spec("pip"):
        argv = [sys.executable, "-c", RUN_MODULE, "pip", "wheel", "--no-deps", "--wheel-dir", directory, project]
    else:
        message = "a wheel can't be built here: there is neither uv, nor build, nor pip; install one"
        raise EnvironmentNotReady(message)
    # setuptools leaves what it has built in the project, and takes it again for files that are gone by now.
    config = Path(directory, "distutils.cfg")
    config.write_text(f"[build]\nbuild_base = {directory}/build\n")
    run(argv, f"the wheel of {project} could not be built", log, environ={"DIST_EXTRA_CONFIG": str(config)})
    found = sorted(Path(directory).glob("*.whl"))
    if len(found) != 1:
        message = f"{project} built {len(found)} wheels, not one: {', '.join(path.name for path in found)}"
        raise BuildFailed(message, log=str(log))
    return BuiltWheel.read(found[0])


def gather(requirements: Sequence[str], directory: str, log: Path) -> list[Path]:
    """Wheels of requirements and of all that these need: from this machine's index, or built; for one like it."""
    if not find_spec("pip"):
        message = "wheelhouse=True needs pip on this machine (uv can't download wheels): install it"
        raise EnvironmentNotReady(message)
    argv = [sys.executable, "-c", RUN_MODULE, "pip", "wheel", "--wheel-dir", directory, *requirements]
    run(argv, "the wheels of the dependencies could not be gathered", log)
    return sorted(Path(directory).glob("*.whl"))


def export_lock(project: str, log: Path) -> str:
    """What uv.lock says, as constraints."""
    uv = find_uv()
    if uv is None:
        message = "uv.lock is read by uv, which isn't here: install uv, or export it to a file of requirements"
        raise EnvironmentNotReady(message)
    options = ["--frozen", "--no-hashes", "--no-emit-workspace", "--all-extras", "--no-header", "--no-annotate"]
    return run([uv, "export", "--quiet", "--project", project, *options], "uv.lock could not be read", log)


def run(argv: Sequence[str], failure: str, log: Path, *, environ: Mapping[str, str] | None = None) -> str:
    """Run a command here; what it prints goes to the log, and is returned. Raises BuildFailed."""
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


def build_failed(failure: str, output: str, log: str, *, there: bool = False) -> BuildFailed:
    """The error of a command that failed: the end of what it printed, and what can be done."""
    output = redacted(output)
    lines = [for_terminal(line.rstrip()) for line in output.strip().splitlines()]
    advice = next((words for pattern, words in _ADVICE.items() if re.search(pattern, output)), "")
    shown = "\n".join([*(["…"] if len(lines) > _TAIL_LINES else []), *lines[-_TAIL_LINES:]])
    hint, where = f": {advice}" if advice else "", " there" if there else ""
    message = f"{failure}{hint}; all of its output is in {log}{where}\n{shown}"
    return BuildFailed(message, output=output, log=log)
