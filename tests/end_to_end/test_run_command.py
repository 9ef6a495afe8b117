"""`slurm run`: a function of a file or a module, with its parameters as options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

SLURM = Path(sys.executable).with_name("slurm")
MODULE = '''
from __future__ import annotations
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional
from slurm import JobContext, task
if TYPE_CHECKING:
    from nowhere import Unknown

class Color(Enum):
    RED = 1
    BLUE = 2

def plain(number: int, rate: float = 0.5, verbose: bool = True, out: Path = Path("."), sizes: list[int] = [],
          mode: Literal["fast", 2] = "fast", color: Color = Color.RED, limit: Optional[int] = None,
          config: dict[str, Any] = {}, either: "int | str" = 0, guess=1.5, unknown: Unknown = None):
    """Do something.

    Args:
        number: how many
    """
    return [number, rate, verbose, str(out), sizes, mode, color.name, limit, config, either, guess, unknown]

@task
def with_context(first_word: str, ctx: JobContext) -> str:
    return f"{first_word} {ctx.key.partition('/')[0]}"

def several(first, /, second=2, *rest: int, **more):
    return [first, second, rest, more]

def fail(number: int):
    raise ValueError(number)

def sleep_until(path: Path) -> None:
    while not path.exists():
        time.sleep(0.1)

def count():
    yield 1

text = "no function"
'''


@pytest.fixture
def on(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the cluster, in a directory with a module and no Slurmfile."""
    (tmp_path / "user_tasks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return cluster.url


def run(on: str, *argv: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    argv = (os.fspath(SLURM), "run", "--on", on, *options, *argv)
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


def test_the_parameters_are_options(on: str) -> None:
    few = run(on, "user_tasks.py:plain", "--number", "3", options=["--json"])
    assert few.returncode == 0, few.stderr
    assert json.loads(few.stdout) == [3, 0.5, True, ".", [], "fast", "RED", None, {}, 0, 1.5, None]
    assert few.stderr.startswith("submitted plain/")
    words = "--number=4 --rate 2 --no-verbose --out a/b --sizes 1 --sizes 2 --mode 2 --color BLUE --limit 7 --either x"
    given = run(on, "user_tasks:plain", *words.split(), "--config", '{"a": [1]}', "--guess", "2", "--unknown", "[3]")
    assert given.stdout == f"{[4, 2.0, False, 'a/b', [1, 2], 2, 'BLUE', 7, {'a': [1]}, 'x', 2.0, [3]]}\n"
    for option in ("--first-word", "--first_word"):
        assert run(on, "user_tasks:with_context", option, "hi").stdout == "'hi with_context'\n"
    places = run(on, "user_tasks:several", "--first", "1", "--rest", "3", "--rest", "4", "--more", '{"a_b": 5}')
    assert places.stdout == "[1, 2, (3, 4), {'a_b': 5}]\n"
    failed = run(on, "user_tasks:fail", "--number", "7")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "raise ValueError(number)\n" in failed.stderr


def test_options_of_the_job_and_a_job_that_goes_on(on: str, cluster: Cluster, tmp_path: Path) -> None:
    options = ("--mem", "100M", "--time", "5", "-O", "labels=" + '{"a": "b"}', "--detach")
    detached = run(on, "user_tasks:sleep_until", "--path", "go", options=options)
    job = cluster.job(detached.stdout.strip())
    assert isinstance(job, Job)
    assert job.labels == {"a": "b"}
    plain = cluster.place.store.records(job.key).submission.options
    assert (str(plain["mem"]), str(plain["time"])) == ("100M", "5")
    argv = [os.fspath(SLURM), "run", "--on", on, "user_tasks:sleep_until", "--path", os.fspath(tmp_path / "go")]
    waiting = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiting.stderr is not None
    key = waiting.stderr.readline().split()[1]
    time.sleep(0.5)
    waiting.send_signal(signal.SIGINT)
    _, error = waiting.communicate(timeout=60)
    assert (waiting.returncode, error) == (130, f"interrupted; the job goes on: {key}\n")
    (tmp_path / "go").touch()
    job.cancel()
    assert cluster.job(key).result(60) is None  # type: ignore[union-attr] # a single call


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("user_tasks:plain", "Missing option '--number'"),
        ("user_tasks:plain 3", "'3' is no option: name the parameter, such as --number 3"),
        ("user_tasks:plain --number x", "Invalid value for '--number': 'x' is not a valid integer"),
        ("user_tasks:plain --number 1 --rat 2", "--rate"),
        ("user_tasks:plain --number 1 --color GREEN", "'GREEN' is not one of RED, BLUE."),
        ("user_tasks:plain --number 1 --config 3", "'3' is a number in JSON, not dict[str, typing.Any]."),
        ("user_tasks:plain --number 1 --config {", "'{' is not JSON: "),
        ("user_tasks:plain --number 1 --mem 3G", "an option of `slurm run` stands before user_tasks:plain."),
        ("user_tasks:plan", "user_tasks has no function 'plan': did you mean 'plain'?"),
        ("user_tasks:text", "task takes plain functions, not 'no function'"),
        ("user_tasks:count", "count returns a generator"),
        ("user_tasks.py", "'user_tasks.py' names no function: write MODULE:FUNCTION, such as user_tasks.py:main"),
        ("other_tasks:f", "no module named 'other_tasks'; for a file, write PATH.py:FUNCTION"),
        ("other_tasks.py:f", "there is no file other_tasks.py"),
        ("json.py:f", "json.py has the name of the module 'json': rename the file"),
    ],
)
def test_wrong_words_send_nothing(argv: str, message: str, local: Cluster, tmp_path: Path, monkeypatch: object) -> None:
    (tmp_path / "user_tasks.py").write_text(MODULE)
    (tmp_path / "json.py").write_text("")
    done = subprocess.run(
        [SLURM, "run", "--on", local.url, *argv.split()],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())
    assert local.jobs() == []


def test_a_module_that_cannot_be_imported_and_help(local: Cluster, tmp_path: Path) -> None:
    (tmp_path / "user_tasks.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import user_tasks\nuser_tasks.no_such\n")

    def here(*argv: str) -> subprocess.CompletedProcess[str]:
        argv = (os.fspath(SLURM), "run", "--on", local.url, *argv)
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    for target in ("broken.py:f", "broken:f"):
        broken = here(target)
        assert (broken.returncode, broken.stdout) == (1, "")
        assert "AttributeError: module 'user_tasks' has no attribute 'no_such'" in broken.stderr
        assert 'broken.py", line 2' in broken.stderr
        assert "/slurm/cli/" not in broken.stderr
    shown = here("user_tasks:plain", "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith(
        "Usage: slurm run user_tasks:plain [ARGUMENTS]\n\n  Do something.\n\n  Args:\n      number"
    )
    assert "--number INTEGER" in shown.stdout
    assert "--verbose / --no-verbose" in shown.stdout


@pytest.mark.parametrize(
    ("begun", "found"),
    [
        ("user", ["user_tasks.py"]),
        ("d", ["directory/"]),
        ("user_tasks.py:s", ["user_tasks.py:several", "user_tasks.py:sleep_until"]),
        ("user_tasks:pl", ["user_tasks:plain"]),
        ("none.py:f", []),
    ],
)
def test_files_and_functions_are_completed(begun: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "user_tasks.py").write_text(MODULE)
    (tmp_path / "directory").mkdir()
    (tmp_path / "data.csv").touch()
    asked = {"_SLURM_COMPLETE": "bash_complete", "COMP_WORDS": f"slurm run {begun}", "COMP_CWORD": "2"}
    done = subprocess.run(
        [SLURM], cwd=tmp_path, env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [f"plain,{each}" for each in found]
