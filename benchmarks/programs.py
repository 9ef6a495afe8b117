"""What a node spends on a command, over the same program started by `bash -c`: CPU time, and entries of directories."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

from common import Row, in_turns, judged, unmeasured
from runner_start import Element

from slurm import Container, command
from slurm.runner.launcher_variables import LAUNCHER
from testbed.containers import ContainerTestbed, missing_containers, missing_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from common import Settings

MOST_MILLISECONDS = 60
MOST_ENTRIES = 4
PROGRAM = ("bash", "-c", "echo > out")
write = command("bash -c 'echo > out'", products=["out"])
talk = command("bash -c 'echo > out; echo said; echo no >&2'", products=["out"])


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    element = CommandElement(settings.workspace / "programs", write)
    bash = shutil.which("bash") or "/bin/bash"
    here = settings.workspace / "programs-bash"
    here.mkdir()
    subjects = {
        "bash": cpu_of((bash, "-c", f"cd {here}; {PROGRAM[2]}"), before=lambda: None),
        "command": cpu_of(element.argv(), before=element.forget),
        "pass": cpu_of((sys.executable, "-c", "pass"), before=lambda: None),
    }
    times = in_turns(subjects, settings.rounds)
    spent, bare, python = (1000 * median(times[name]) for name in ("command", "bash", "pass"))
    measured = f"{spent - bare:.0f} ms ({spent:.0f} ms against {bare:.0f} ms; a bare Python {python:.0f} ms)"
    what = "CPU time of a `command` on the node, over `bash -c`"
    kept = spent - bare <= MOST_MILLISECONDS
    yield judged(what, measured, budget=f"≤ {MOST_MILLISECONDS} ms more", kept=kept)
    talking = CommandElement(settings.workspace / "programs-talk", talk)
    for how, each in ("nothing", element), ("to both logs", talking):
        made = each.made()
        what = f"entries of directories that a call of a `command` makes, besides its product, if it prints {how}"
        measured = f"{len(made)}: {', '.join(made)}"
        yield judged(what, measured, budget=f"≤ {MOST_ENTRIES}", kept=len(made) <= MOST_ENTRIES)
    yield _in_container(settings)


def _in_container(settings: Settings) -> Row:
    """The CPU time of a command in an image without a Python, without processes that the engine has detached."""
    what = "CPU time of a `command` in a container of podman, over `podman run --rm` of the same program"
    if lacking := missing_containers() or missing_ids():
        return unmeasured(what, lacking)
    with ContainerTestbed() as containers:
        os.environ.update(containers.env)
        image = containers.static_image()
        environment = Container(image, runtime="podman", builder="podman")
        element = CommandElement(
            settings.workspace / "programs-contained", command("/program", environment=environment)
        )
        podman = (shutil.which("podman") or "podman", "run", "--rm", "--network=host", image, "/program")
        with element.variables():
            subjects = {
                "podman": cpu_of(podman, before=lambda: None),
                "command": cpu_of(element.argv(), before=element.forget),
            }
            times = in_turns(subjects, settings.rounds)
        for name in containers.env:
            del os.environ[name]
    spent, bare = (1000 * median(times[name]) for name in ("command", "podman"))
    return Row(what, f"{spent - bare:.0f} ms ({spent:.0f} ms against {bare:.0f} ms)", "–", "no budget")


class CommandElement(Element):
    """An element whose call runs a program."""

    def __init__(self, root: Path, of: object) -> None:
        super().__init__(root, of)  # type: ignore[arg-type]
        self.forget()

    @contextmanager
    def variables(self) -> Iterator[None]:
        """The variables by which the job's script names the launcher of its programs."""
        record = json.loads((self._directory / "submission.json").read_text())
        os.environ[LAUNCHER] = record["environment"]["program"]
        try:
            yield
        finally:
            del os.environ[LAUNCHER]

    def forget(self) -> None:
        """Remove also what the program wrote, but not `work`, which all calls of a job share."""
        super().forget()
        for path in (self._directory / "work").iterdir():
            shutil.rmtree(path)

    def made(self) -> list[str]:
        """The entries that a run makes."""
        self.forget()
        before = self._entries()
        cpu_of(self.argv(), before=lambda: None)()
        return sorted(self._entries() - before)

    def _entries(self) -> set[str]:
        """The paths in the job's directory, but for the product, which the program itself makes."""
        found = (path for path in self._directory.rglob("*") if path.name != "out")
        return {str(path.relative_to(self._directory)) for path in found}


def cpu_of(argv: Sequence[str], *, before: Callable[[], object]) -> Callable[[], float]:
    """What runs a program, after `before`, and returns the CPU time of its processes, in seconds."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]

    def run() -> float:
        before()
        child = os.posix_spawn(argv[0], list(argv), os.environ, file_actions=quiet)
        _, status, usage = os.wait4(child, 0)
        if status:
            raise ChildProcessError(f"{argv} ended with {os.waitstatus_to_exitcode(status)}")
        return usage.ru_utime + usage.ru_stime

    return run
