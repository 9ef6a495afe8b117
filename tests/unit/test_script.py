"""script.sh: paths arrive unchanged, and a process that dies leaves a record of its failure."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from slurm.environments.runtimes.base import STEP
from slurm.protocol import CALLBACKS, FAILED, OUTCOMES, PROCESS, SETUP, SUCCEEDED, ResolvedEnvironment, ports
from slurm.protocol.boot import BOOT
from slurm.protocol.outcomes import Outcome
from slurm.submission.script import NO_LINES, Lines, Ranks, Resubmission, render, render_retry_job
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTILE = "a b'c\"d $(touch x) `touch y` $HOME %d é🙂;&|*~!"

STUB = """\
#!/bin/bash
[ "$4" != slurm.runner.succeeded ] || exit "${SUCCEEDED-1}"
printf '%s\\0' "$@" "$PWD" "${MARK-}" "${LAUNCHED-}" > "$ARGUMENTS"
eval "$DO"
"""


class Element(NamedTuple):
    """A rendered script, and what is around it."""

    place: Path
    script: str

    def run(self, do: str, *argv: str, **environ: str) -> int:
        """Run the script with a Python that notes its arguments and then does `do`; returns the exit status."""
        (self.place / "script.sh").write_text(self.script)
        own = {"ARGUMENTS": str(self.place / "arguments"), "DO": do, **environ}
        done = subprocess.run(
            ["bash", str(self.place / "script.sh"), *argv],
            cwd=self.place,
            env={**os.environ, **own},
            check=False,
            capture_output=True,
        )
        return done.returncode

    @property
    def arguments(self) -> list[str]:
        return (self.place / "arguments").read_text().split("\0")[:-1]

    @property
    def outcomes(self) -> Path:
        return self.place / "jobs" / "f" / "1" / OUTCOMES

    def outcome(self, index: int) -> Outcome:
        path = self.outcomes / f"{index}.json"
        return Outcome.loads(path.read_bytes(), where=str(path))


def element(  # noqa: PLR0913 - each by its name
    place: Path,
    *,
    chdir: str | None = None,
    setup: tuple[str, ...] = ("export MARK=set",),
    cpus: str | None = None,
    calls: tuple[int, int] = (1, 0),
    python: Path | None = None,
    workflow: bool = False,
    hooked: bool = False,
    lines: Lines = NO_LINES,
) -> Element:
    """A script for submission f/1 under `place`."""
    (place / "jobs" / "f" / "1" / OUTCOMES).mkdir(parents=True)
    python = python or place / "python"
    python.write_text(STUB)
    python.chmod(0o700)
    environment = ResolvedEnvironment(
        key="k", python=str(python), tag="3.11", setup=setup, launch=("env", "LAUNCHED=a b")
    )
    script = render(
        directives=["#SBATCH --array=0-9"],
        environment=environment,
        root=str(place),
        runner=f"{place}/runner.zip",
        key="f/1",
        chdir=chdir,
        cpus=cpus,
        calls=calls,
        workflow=workflow,
        hooked=hooked,
        lines=lines,
    )
    return Element(place, script)


@pytest.mark.parametrize(
    ("workflow", "given", "expected"), [(True, {}, "0"), (True, {"PYTHONHASHSEED": "7"}, "7"), (False, {}, "")]
)
def test_sets_have_one_order_in_all_attempts_of_a_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, workflow: bool, given: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    one = element(tmp_path, setup=(), workflow=workflow)
    one.run(f'printf "%s" "$PYTHONHASHSEED" > {tmp_path}/seed', **given)
    assert (tmp_path / "seed").read_text() == expected


@pytest.fixture(params=["plain", HOSTILE], ids=["plain", "hostile"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Element:
    """A script in a directory of a plain name, and of one that a careless shell would run."""
    place = tmp_path / request.param
    place.mkdir()
    return element(place, chdir=str(place))


def test_every_program_of_a_script_is_started_by_boot(tmp_path: Path) -> None:
    """Boot searches the working directory last. It starts ranks, the gathering of results, hooks, and the retry job."""
    (tmp_path / "jobs" / "f" / "1" / OUTCOMES).mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/bash\nprintf "%s\\0" "$1" "$2" "$4" >> {shlex.quote(str(tmp_path))}/started\nexit 1\n')
    python.chmod(0o700)
    common = {"root": str(tmp_path), "runner": f"{tmp_path}/runner.zip", "key": "f/1", "directives": []}
    environment = ResolvedEnvironment(key="k", python=str(python), tag="3.11", setup=())
    retry_job = render_retry_job(environment=environment, scheduler="slurm", **common)  # type: ignore[arg-type]
    started = []
    for ranks in (None, Ranks((), gather=True)):
        script = render(
            environment=environment,
            chdir=None,
            cpus=None,
            calls=(1, 0),
            retry=Resubmission("slurm", None),
            hooked=True,
            ranks=ranks,
            **common,  # type: ignore[arg-type]
        )
        for text in (script, retry_job):
            subprocess.run(["bash", "-c", text], cwd=tmp_path, check=False, capture_output=True)
            for path in (tmp_path / "jobs").rglob("*.json"):
                path.unlink()
    words = (tmp_path / "started").read_text().split("\0")[:-1]
    started = list(zip(words[::3], words[1::3], words[2::3], strict=True))
    assert {(flag, program) for flag, program, _ in started} == {("-c", BOOT)}
    modules = {module.removeprefix("slurm.") for _, _, module in started}
    assert modules >= {"runner.main", "runner.ranks", "runner.gathering", "places.retry_job"}


@pytest.mark.parametrize(("launch", "action"), [((), "''"), (("podman", "run"), ":")])
def test_a_shell_ignores_the_signal_unless_what_starts_the_runner_would_inherit_that(
    launch: tuple[str, ...], action: str
) -> None:
    script = render(
        root="/root",
        runner="/runner.zip",
        key="f/1",
        directives=[],
        environment=ResolvedEnvironment(key="k", python="python3", tag="3.11", setup=(), launch=launch),
        chdir=None,
        cpus=None,
        calls=(1, 0),
        retry=Resubmission("slurm", "USR1"),
    )
    assert f"( trap {action} USR1\n" in script


@pytest.mark.parametrize("hooked", [False, True])
def test_the_runner_is_told_of_callbacks_on_the_node(tmp_path: Path, *, hooked: bool) -> None:
    (call,) = (line for line in element(tmp_path, hooked=hooked).script.splitlines() if " slurm.runner.main " in line)
    assert (CALLBACKS in shlex.split(call)) is hooked


@pytest.mark.parametrize("is_step", [False, True])
def test_ranks_are_started_by_the_launcher_or_by_a_container_that_is_told_of_it(
    tmp_path: Path, *, is_step: bool
) -> None:
    (tmp_path / "jobs" / "f" / "1" / OUTCOMES).mkdir(parents=True)
    python, launcher = tmp_path / "python", tmp_path / "launch it"
    seen = tmp_path / "seen"
    python.write_text("#!/bin/bash\nexit 1\n")
    launcher.write_text(f'#!/bin/bash\nprintf "launcher\\0%s\\0" "$@" > {shlex.quote(str(seen))}\n')
    start = tmp_path / "start"
    condition = '[ "$5" = slurm.runner.ranks ]'
    start.write_text(f'#!/bin/bash\n{condition} && printf "%s\\0" "${STEP}" > {shlex.quote(str(seen))}\n')
    for path in (python, launcher, start):
        path.chmod(0o700)
    environment = ResolvedEnvironment(
        key="k", python=str(python), tag="3.11", setup=(), launch=(str(start),) if is_step else (), is_step=is_step
    )
    script = render(
        directives=[],
        environment=environment,
        root=str(tmp_path),
        runner=f"{tmp_path}/runner.zip",
        key="f/1",
        chdir=None,
        ranks=Ranks((str(launcher), "-n", "a b"), gather=False),
    )
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=False, capture_output=True)
    words = seen.read_text().split("\0")[:-1]
    if is_step:
        assert words == [shlex.join([str(launcher), "-n", "a b"])]
    else:
        assert words[:4] == ["launcher", "-n", "launcher", "a b"]


def test_paths_reach_the_runner_unchanged(made: Element) -> None:
    assert made.run(f"echo {{}} > {shlex.quote(str(made.outcomes))}/3.json", "1", SLURM_ARRAY_TASK_ID="2") == 0
    place = str(made.place)
    expected = [
        "-c",
        BOOT,
        f"{place}/runner.zip",
        "slurm.runner.main",
        place,
        "f/1",
        "3",
        "3.11",
        "1",
        "0",
        "1",
        place,
        "set",
        "a b",
    ]
    assert made.arguments == expected
    assert sorted(os.listdir(place)) == ["arguments", "jobs", "python", "script.sh"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("foreign", [None, "envs", "envs/key"])
def test_an_environment_of_another_user_is_not_started(tmp_path: Path, foreign: str | None) -> None:
    python = tmp_path / HOSTILE / "envs" / "key" / "token" / "python"
    python.parent.mkdir(parents=True)
    made = element(tmp_path / HOSTILE, python=python)
    if foreign:
        os.chown(made.place / foreign, 4321, -1)
    status = made.run(f"echo {{}} > {shlex.quote(str(made.outcomes))}/0.json")
    assert (status, (made.place / "arguments").exists()) == ((1, False) if foreign else (0, True))
    if foreign:
        assert made.outcome(0).phase == SETUP


@pytest.mark.parametrize(("calls", "threads"), [((1, 0), 6), ((8, 2), 3), ((8, 8), 1)])
def test_the_number_of_threads_is_the_share_of_each_worker(
    tmp_path: Path, calls: tuple[int, int], threads: int
) -> None:
    made = element(tmp_path, cpus="6", calls=calls)
    assert made.run('echo "$OMP_NUM_THREADS" > told; exit 1', OMP_NUM_THREADS="") == 1
    assert (tmp_path / "told").read_text() == f"{threads}\n"
    assert made.arguments[8:10] == [str(number) for number in calls]
    made.run('echo "$OMP_NUM_THREADS" > told; exit 1', OMP_NUM_THREADS="5")
    assert (tmp_path / "told").read_text() == "5\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "0 1 0 127.0.0.1 20000"),
        ({"RANK": "3", "MASTER_ADDR": "ib0", "MASTER_PORT": "29500"}, "0 1 0 ib0 29500"),
        ({"SLURM_NTASKS": "4"}, "unset"),
        ({"SLURM_JOB_NUM_NODES": "2"}, "unset"),
    ],
)
def test_one_process_has_the_variables_of_torch(tmp_path: Path, given: dict[str, str], expected: str) -> None:
    made = element(tmp_path)
    show = 'echo "${RANK-unset} ${WORLD_SIZE-} ${LOCAL_RANK-} ${MASTER_ADDR-} ${MASTER_PORT-}" > told'
    assert made.run(f"{show}; exit 1", str(ports.COUNT - ports.of_key("f/1")), **given) == 1
    assert (tmp_path / "told").read_text().strip() == expected


def test_calls_that_share_an_element_have_no_port_of_their_own(tmp_path: Path) -> None:
    assert "MASTER_PORT" not in element(tmp_path, calls=(8, 2)).script


def test_a_script_is_valid_bash(made: Element) -> None:
    checked = subprocess.run(["bash", "-n"], input=made.script.encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_a_rendered_script_passes_shellcheck(made: Element) -> None:
    # Tests of $? and words that stand in quotes for safety are meant; a launcher's words name a variable of the job.
    command = ["shellcheck", "--norc", "--severity=warning", "--exclude=SC2034", "-"]
    checked = subprocess.run(command, input=made.script, capture_output=True, text=True, check=False)
    assert checked.stdout + checked.stderr == ""


def test_a_script_run_by_hand_runs_the_first_element(tmp_path: Path) -> None:
    made = element(tmp_path)
    made.run("exit 1")
    assert made.arguments[6] == "0"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made.run("exit 1", SLURM_SUBMIT_DIR=str(elsewhere))
    assert made.arguments[11] == str(elsewhere)


@pytest.mark.parametrize(("do", "status"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_variables_of_the_setup_do_not_make_a_failure_one_of_memory(tmp_path: Path, do: str, status: int) -> None:
    made = element(tmp_path, setup=("kills=99", "state=OUT_OF_MEMORY"))
    assert made.run(do) == status
    assert (made.outcome(0).exit_code, made.outcome(0).state) == (status, None)


@pytest.mark.parametrize(
    ("do", "status"),
    [("kill -9 $$", 137), ("kill -SEGV $$", 139), ("exit 7", 7), ("exit 0", 1)],
    ids=["killed", "crashed", "os._exit(7)", "os._exit(0)"],
)
def test_a_process_that_leaves_no_outcome_gets_one(made: Element, do: str, status: int) -> None:
    assert made.run(do, "4", SLURM_RESTART_COUNT="2") == status
    found = made.outcome(4)
    assert (found.status, found.phase, found.attempt, found.host) == (FAILED, PROCESS, 3, os.uname().nodename)
    assert found.exit_code == (status if do != "exit 0" else 0)
    assert found.ended is not None
    assert os.listdir(made.outcomes) == ["4.json"]


def test_teardown_runs_although_signals_for_all_processes_come_late_and_again(tmp_path: Path) -> None:
    """Slurm signals one process after another, and kills them KillWait seconds later, which may be less than five."""
    made = element(tmp_path, lines=Lines(teardown=["sleep 0.1", f"touch {tmp_path}/torn"]))
    (tmp_path / "script.sh").write_text(made.script)
    own = {"ARGUMENTS": str(tmp_path / "arguments"), "DO": "kill -TERM $$"}
    shell = subprocess.Popen(["bash", str(tmp_path / "script.sh")], cwd=tmp_path, env={**os.environ, **own})
    until(lambda: "sleep" in _children(shell.pid))
    killed = time.monotonic() + 4
    while shell.poll() is None:
        shell.send_signal(signal.SIGTERM if time.monotonic() < killed else signal.SIGKILL)
        time.sleep(0.001)
    assert (shell.returncode, (tmp_path / "torn").exists()) == (128 + signal.SIGTERM, True)
    assert os.listdir(made.outcomes) == []  # the scheduler ended it, and says so itself


def _children(pid: int) -> Sequence[str]:
    """The names of the processes that a process has started."""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [Path(f"/proc/{child}/comm").read_text().strip() for child in children]
    return []


def test_a_second_dead_attempt_keeps_the_first_outcome(made: Element) -> None:
    made.run("exit 7")
    before = (made.outcomes / "0.json").read_bytes()
    assert made.run("kill -9 $$", SLURM_RESTART_COUNT="1") == 137
    assert (made.outcomes / "0.json").read_bytes() == before
    assert os.listdir(made.outcomes) == ["0.json"]


@pytest.mark.parametrize(("status", "code"), [(SUCCEEDED, 0), (FAILED, 3)])
def test_the_outcome_and_status_of_the_runner_are_kept(made: Element, status: str, code: int) -> None:
    own = Outcome(status=status, phase="run", exit_code=code).dumps()
    target = shlex.quote(f"{made.outcomes}/0.json")
    assert made.run(f"echo {shlex.quote(own.decode().strip())} > {target}; exit {code}") == code
    assert (made.outcomes / "0.json").read_bytes() == own
    assert os.listdir(made.outcomes) == ["0.json"]


@pytest.mark.parametrize(("succeeded", "status"), [("0", 0), ("1", 139)])
def test_a_crash_after_a_success_is_a_success(made: Element, succeeded: str, status: int) -> None:
    do = f"echo {{}} > {shlex.quote(str(made.outcomes))}/0.json; kill -SEGV $$"
    assert made.run(do, SUCCEEDED=succeeded) == status


def test_nothing_runs_without_the_working_directory(tmp_path: Path) -> None:
    made = element(tmp_path, chdir=str(tmp_path / "gone"))
    assert made.run("exit 0") == 1
    assert not (tmp_path / "arguments").exists()
    assert (made.outcome(0).phase, made.outcome(0).exit_code) == (PROCESS, 1)


def test_a_relative_chdir_is_entered_once(tmp_path: Path) -> None:
    made = element(tmp_path, chdir="sub")
    (tmp_path / "sub").mkdir()
    (tmp_path / "script.sh").write_text(made.script)
    subprocess.run(
        ["bash", str(tmp_path / "script.sh")],
        cwd=tmp_path / "sub",  # where `#SBATCH --chdir=sub` has the scheduler start it
        env={**os.environ, "ARGUMENTS": str(tmp_path / "arguments"), "DO": "exit 1", "SLURM_SUBMIT_DIR": str(tmp_path)},
        check=False,
        capture_output=True,
    )
    assert made.arguments[11] == str(tmp_path / "sub")


def test_a_failure_is_recorded_without_hard_links(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ln").write_text("#!/bin/sh\necho 'ln: Operation not permitted' >&2\nexit 1\n")
    (programs / "ln").chmod(0o700)
    made = element(tmp_path)
    assert made.run("kill -9 $$", PATH=f"{programs}:{os.environ['PATH']}") == 137
    assert made.outcome(0).phase == PROCESS


def test_setup_steps_share_a_shell_and_the_python_starts_after_them(tmp_path: Path) -> None:
    made = element(tmp_path, setup=("MARK='a b'", "export MARK", "if true; then\n    set -eu\nfi"))
    assert made.run("exit 7") == 7
    assert made.arguments[-1] == "a b"
    assert (made.outcome(0).phase, made.outcome(0).exit_code) == (PROCESS, 7)


@pytest.mark.parametrize("step", ["false", "(exit 3)", "no-such-command", "unclosed 'quote", "return 4", "if true"])
def test_nothing_runs_after_a_failed_setup_step(tmp_path: Path, step: str) -> None:
    made = element(tmp_path, setup=("true", step, f"touch {shlex.quote(str(tmp_path))}/later"))
    assert made.run("exit 0") == 1
    assert not (tmp_path / "arguments").exists()
    assert not (tmp_path / "later").exists()
    assert (made.outcome(0).phase, made.outcome(0).status) == (SETUP, FAILED)
