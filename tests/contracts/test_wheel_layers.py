"""A project's environment stands on one of what it needs: what an edit costs, and what is found in both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from projects import project, wheel
from slurm.environments.base import BuildTarget
from slurm.environments.setup import render_steps
from slurm.environments.wheel import Wheel
from slurm.protocol import ResolvedEnvironment
from slurm.transports.local import LocalTransport
from waiting import until

LACKING = {
    "lacking-1.0.dist-info/entry_points.txt": "[console_scripts]\nlacking-says = lacking:say\n",
    "lacking.pth": "import sys; sys.found_by_pth = True\n",
    "split/__init__.py": "",
    "split/below.py": "",
}
SAY = """\
def say():
    import json, subprocess, sys
    import own, split.above, split.below
    from importlib.metadata import distributions
    from importlib.util import find_spec
    inner = "import own, lacking; print(own.VERSION)"
    print(json.dumps({
        "version": own.VERSION,
        "inner": int(subprocess.check_output([sys.executable, "-c", inner])),
        "pth": sys.found_by_pth,
        "dropped": find_spec("own.dropped") is not None,
        "all": sorted(each.name for each in distributions()),
    }))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "röot of jobs"


@pytest.fixture
def place(root: Path) -> BuildTarget:
    return BuildTarget.at(LocalTransport(), str(root))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A project, and one wheel that it needs, which share a package."""
    wheel(tmp_path / "house", "lacking", SAY, files=LACKING)
    found = project(tmp_path / "own", "own", "VERSION = 1\n", requires=("lacking>=1",))
    (found / "src" / "own" / "dropped.py").touch()
    (found / "src" / "split").mkdir()
    (found / "src" / "split" / "above.py").touch()
    return found


def edit(source: Path, old: str, new: str) -> None:
    source.write_text(source.read_text().replace(old, new))


def said(environment: ResolvedEnvironment, program: str) -> dict[str, object]:
    """What a program that is found there says, as a job would start it."""
    script = "\n".join([*render_steps(environment.setup), program])
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found: dict[str, object] = json.loads(subprocess.check_output(["bash", "-c", script], env=environ))
    return found


def all_of(root: Path) -> dict[Path, float]:
    return {path: path.lstat().st_mtime for path in root.glob("envs/dependencies-*/**/*")}


def test_an_edit_installs_the_project_alone_and_another_dependency_all(
    place: BuildTarget, root: Path, own: Path
) -> None:
    environment = Wheel(own, wheelhouse=own.parent / "house")
    first = environment.prepare(place)
    lower = all_of(root)
    edit(own / "src" / "own" / "__init__.py", "1", "2")
    (own / "src" / "own" / "dropped.py").unlink()
    second = environment.prepare(place)
    for prepared, version in ((first, 1), (second, 2)):
        assert said(prepared, "lacking-says") == {
            "version": version,
            "inner": version,
            "pth": True,
            "dropped": version == 1,
            "all": ["lacking", "own"],
        }
    assert first.below == second.below
    assert all_of(root) == lower  # nor did those programs write there
    [compiled] = Path(second.python).parents[1].glob("lib/python*/site-packages/__pycache__")
    assert not compiled.is_symlink()
    installed = {
        key: [line for line in (root / "envs" / f"{key}.log").read_text().splitlines() if line.startswith(" + ")]
        for key in (first.below, second.key)
    }
    assert [line.split()[1][:7] for line in installed[first.below]] == ["lacking", "own==1."]
    assert [line.split()[1][:4] for line in installed[second.key]] == ["own="]
    wheel(own.parent / "house", "other", "")
    edit(own / "backend.py", "'lacking>=1'", "'lacking>=1', 'other'")
    third = environment.prepare(place)
    assert third.below not in {None, first.below}
    assert said(third, "lacking-says")["all"] == ["lacking", "other", "own"]


def test_what_needs_nothing_has_no_second_layer(place: BuildTarget, root: Path, tmp_path: Path) -> None:
    main = project(tmp_path / "main", "main", "", requires=("Be.side", "unwanted; extra == 'more'"))
    beside = project(tmp_path / "be_side", "be_side", "")
    prepared = Wheel(main, packages=beside, wheelhouse=tmp_path).prepare(place)
    assert (prepared.below, [path.name for path in root.glob("envs/*.json")]) == (None, [f"{prepared.key}.json"])


BUILDER = """\
import sys
from slurm.environments import building
from slurm.environments.base import BuildTarget
from slurm.environments.wheel import Wheel
from slurm.transports.local import LocalTransport

building.BEAT_SECONDS, building.STALE_SECONDS = 0.1, 2.0
root, own, house, sources = sys.argv[1:]
print(Wheel(own, wheelhouse=house, find_links=sources).prepare(BuildTarget.at(LocalTransport(), root)).python)
"""


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    listed = subprocess.check_output(["ps", "-e", "-o", "pid=,ppid="], text=True).splitlines()
    parents = {int(child): int(parent) for child, parent in map(str.split, listed)}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def test_a_waiter_takes_over_both_layers_from_a_builder_that_was_killed(root: Path, own: Path, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    waits = f"import pathlib, time; pathlib.Path({str(begun)!r}).touch()\n    "
    waits += f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)"
    slow = project(tmp_path / "slow-1.2", "slow", "", building=waits)
    (tmp_path / "sources").mkdir()
    with tarfile.open(tmp_path / "sources" / "slow-1.2.tar.gz", "w:gz") as archive:
        archive.add(slow, slow.name)
    edit(own / "backend.py", "'lacking>=1'", "'slow'")
    argv = [sys.executable, "-c", BUILDER, str(root), str(own), str(tmp_path / "house"), str(tmp_path / "sources")]
    dead = subprocess.Popen(argv)
    until(begun.exists)
    for pid in reversed([dead.pid, *descendants(dead.pid)]):  # else its pip goes on, and fills its directory again
        with suppress(ProcessLookupError):  # it ended with its child
            os.kill(pid, signal.SIGKILL)
    dead.wait()
    living = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    until(lambda: list(root.glob("envs/dependencies-*.lock/2")))
    gate.touch()
    python = living.communicate(timeout=60)[0].strip()
    assert subprocess.check_output([python, "-c", "import own, slow; print(own.VERSION)"], text=True) == "1\n"
    assert [len(list(root.glob(f"envs/{kind}-*/*/"))) for kind in ("wheel", "dependencies")] == [1, 1]
