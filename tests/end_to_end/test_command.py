"""The command `slurm`: through click's runner, and as a real process."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slurm import Cluster, as_completed, command, current_job, task, workflow
from slurm.callbacks import ProgressCallback, ProgressEvent, WebhookCallback
from slurm.callbacks.progress_model import ProgressModel
from slurm.cli.main import slurm
from slurm.clusters import environment_cleanup
from slurm.doctor import examine
from waiting import until

EXAMPLE = Path(__file__).parents[2] / "Slurmfile.example"


@task
def größe(name: str) -> str:  # noqa: PLC2401 - as some users write
    print("greeting", name)
    if name == "nobody":
        raise ValueError(name)
    return f"hello {name}"


@pytest.fixture
def here(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a Slurmfile of one cluster, and nothing of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SLURMFILE", "SLURMFILE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "Slurmfile").write_text(f'default: mine\nclusters: {{mine: {{url: local, root: "{root}"}}}}\n')
    return tmp_path


@pytest.fixture
def anywhere(cluster: Cluster, here: Path) -> Path:
    """The same, where the cluster is that of a test on URLs."""
    (here / "Slurmfile").write_text(f'default: mine\nclusters: {{mine: {{url: "{cluster.url}"}}}}\n')
    return here


def run(*argv: str) -> Result:
    return CliRunner().invoke(slurm, argv)


def test_the_output_of_a_program_follows_the_log(here: Path, root: Path) -> None:
    cluster = Cluster("local", root=root)
    some = command("sh -c 'echo said $0; echo why >&2' {x}").on(cluster).map([1, 2])
    some.results(60)
    of = re.escape(some.key)
    shown = run("logs", some.key, "--on", cluster.url).output
    assert re.search(rf"==> {of}\[1\]: work/1/attempt-1/stdout.log <==\nsaid 2\n", shown)
    assert re.search(rf"==> {of}\[0\]: work/0/attempt-1/stderr.log <==\nwhy\n", shown)


def test_config_show_lists_each_value_and_its_origin(here: Path) -> None:
    shown = run("config", "show")
    assert shown.exit_code == 0
    assert [line.split() for line in shown.output.splitlines() if line.startswith("url")] == [
        ["url", "local", f"{here}/Slurmfile:2"]
    ]
    assert shown.output.splitlines()[0].split() == ["file", f"{here}/Slurmfile", "found"]
    told = json.loads(run("config", "show", "slurm+ssh://ann@login/scratch/ann", "--json").output)
    assert {item["key"]: item["origin"] for item in told} == {
        "url": "argument",
        "root": "argument",
        **dict.fromkeys(("python", "environment", "login_shell"), "default"),
    }
    (here / "Slurmfile").unlink()
    auto = "slurm" if shutil.which("sbatch") else "local"
    assert run("config", "show").output.split()[:4] == ["url", auto, "default,", "because"]
    told = json.loads(run("config", "show", "gpu", "--file", str(EXAMPLE), "--json").output)
    line = 1 + EXAMPLE.read_text().splitlines().index("      mem_per_gpu: 16G")
    assert {"key": "options.mem_per_gpu", "value": "16G", "origin": f"{EXAMPLE}:{line}", "cluster": None} in told


def test_characters_that_a_terminal_cannot_show_are_question_marks(here: Path) -> None:
    (here / "Slurmfile").write_text("clusters: {mine: {url: local, setup: echo → ü}}", encoding="utf-8")
    argv = [sys.executable, "-m", "slurm", "config", "show", "mine"]
    done = subprocess.run(argv, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True)
    assert "echo ? ü".encode("latin-1") in done.stdout


def test_doctor_prints_findings_and_exits_with_their_status(here: Path) -> None:
    fine = run("doctor")
    assert (fine.exit_code, "\x1b" in fine.output) == (0, False)
    assert next(line.split()[:2] for line in fine.output.splitlines() if line.startswith("ok")) == ["ok", "reach"]
    (here / "file").touch()
    ill = run("doctor", f"local://{here}/file/jobs", "--json")
    assert ill.exit_code == 1
    (found,) = (finding for finding in json.loads(ill.output) if finding["level"] == "error")
    assert (found["check"], bool(found["advice"])) == ("root", True)


def test_jobs_are_listed_shown_and_cancelled(anywhere: Path) -> None:
    with Cluster.from_slurmfile():
        one, some = größe("ann"), größe.map(["bob", "nobody"])
        assert (one.result(60), some.exceptions(60)[0]) == ("hello ann", None)
    listed = json.loads(run("jobs", "mine", "--json").output)
    assert {item["key"]: item["states"] for item in listed} == {
        one.key: {"COMPLETED": 1},
        some.key: {"COMPLETED": 1, "FAILED": 1},
    }
    assert one.key in run("jobs", "--task", "größe").output
    none = run("jobs", "--task", "other")
    assert (none.stdout, none.stderr.startswith("there are no jobs of other in ")) == ("", True)
    shown = run("show", one.key)
    assert (shown.exit_code, one.log_path in shown.output) == (0, True)
    failed = run("show", f"{some.key}[1]")
    assert (failed.exit_code, "ValueError: nobody" in failed.output) == (1, True)
    of_map = run("show", some.key, "--on", "mine")
    assert (of_map.exit_code, "[1] ValueError: nobody" in of_map.output) == (1, True)
    assert json.loads(run("show", some.key, "--json").output)["failures"] == {"1": "ValueError: nobody"}
    assert "greeting ann" in run("logs", one.key).output
    assert [line for line in run("logs", some.key).output.splitlines() if line.startswith("greeting")] == [
        "greeting bob",
        "greeting nobody",
    ]
    assert run("cancel", one.key).output == f"{one.key}: had ended, COMPLETED\n"
    assert run("cancel", some.key).output == f"{some.key}: 1 had ended, COMPLETED, 1 had ended, FAILED\n"


def test_a_damaged_record_does_not_break_a_command(here: Path) -> None:
    with Cluster.from_slurmfile():
        one, some, broken = größe("ann"), größe.map(["bob", "cat"]), größe("dan")
        assert (one.result(60), broken.result(60), some.results(60)[0]) == ("hello ann", "hello dan", "hello bob")
    Path(some.directory, "outcomes", "1.json").write_bytes(b"")
    Path(broken.directory, "submission.json").write_bytes(b'{"key": 3}')
    listed = run("jobs", "--json")
    assert listed.exit_code == 0
    assert {item["key"]: item["states"] for item in json.loads(listed.stdout)} == {
        one.key: {"COMPLETED": 1},
        some.key: {"COMPLETED": 1, "UNKNOWN": 1},
    }
    shown = run("show", some.key)
    assert (shown.exit_code, "outcomes/1.json is not a valid outcome record" in shown.output) == (1, True)
    assert "had ended, but" in run("cancel", some.key).output
    argv = [sys.executable, "-m", "slurm", "show", broken.key]  # a process that knows nothing of it yet
    refused = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (refused.returncode, "submission.json is not a valid submission record" in refused.stderr) == (1, True)


def test_cancel_ends_a_job_and_its_children_and_reports_both(anywhere: Path) -> None:
    @task
    def wait() -> None:
        import time

        current_job().progress(1, 4)
        time.sleep(600)

    @workflow
    def parent() -> None:
        wait.starmap([(), ()]).results()

    with Cluster.from_slurmfile() as cluster:
        job = parent()
    until(job.children)
    (child,) = job.children()
    until(lambda: json.loads(run("show", child.key, "--json").output)["progress"] == {"0": "1/4", "1": "1/4"})
    assert [line.split()[-2:] for line in run("show", child.key).output.splitlines() if "1/4" in line] == [
        ["[0]", "1/4"],
        ["[1]", "1/4"],
    ]
    assert run("cancel", job.key).output == f"{job.key}: cancelled\n{child.key}: 2 cancelled\n"
    assert type(job.exception(60)).__name__ == "JobCancelled"
    assert run("show", job.key).exit_code == 1
    until(lambda: run("cancel", child.key).output == f"{child.key}: 2 had ended, CANCELLED\n")
    del cluster


def process(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "slurm", *argv], capture_output=True, text=True, check=False)


def test_errors_are_messages_with_an_exit_status(here: Path) -> None:
    assert process("config", "show", "mine").returncode == 0
    missing = process("show", "greet/none")
    assert (missing.returncode, "Traceback" in missing.stderr, missing.stdout) == (1, False, "")
    assert "there is no job greet/none" in missing.stderr
    for argv in (["jobs", "mien"], ["jobs", "ftp://x"], ["nothing"], ["jobs", "--limit", "0"]):
        wrong = process(*argv)
        assert (wrong.returncode, wrong.stdout) == (2, ""), argv
    assert "did you mean 'mine'?" in process("jobs", "mien").stderr
    (here / "Slurmfile").write_text("clusters: {a: {ulr: x}, b: {url: local, options: {tiem: 1}}}")
    both = process("config", "show", "a")
    assert (both.returncode, both.stdout) == (1, "")
    assert "clusters.a.ulr" in both.stderr
    assert "clusters.b.options.tiem" in both.stderr


EVIL = "\x1b]0;owned\x07\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31m\x1bPq\u202e\x1b[32mgreen\x1b[0m\r\n"


@task
def evil() -> None:
    from slurm import current_job

    current_job().progress(1, 2, stage=EVIL)
    print(EVIL, flush=True)
    raise ValueError(EVIL)


def at_terminal(*argv: str) -> str:
    """What the command sends to a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "slurm", *argv])
    sent = b""
    with contextlib.suppress(OSError):  # it has ended
        while data := os.read(terminal, 65536):
            sent += data
    os.waitpid(pid, 0)
    os.close(terminal)
    return sent.decode()


def test_a_terminal_gets_no_control_characters_of_a_job(here: Path) -> None:
    with Cluster.from_slurmfile():
        one, some = evil(), evil.starmap([(), ()])
        assert str(one.exception(60)) == EVIL  # what a program is given is as it was raised
        some.exceptions(60)
    for argv in (["show", one.key], ["show", some.key], ["logs", one.key], ["logs", some.key], ["jobs"]):
        sent = at_terminal(*argv)
        assert not re.findall("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e]", sent), argv
        assert set(re.findall("\x1b.[^m]*m?", sent)) <= {"\x1b[32m", "\x1b[0m"}, argv
        assert ("green" in sent, r"\x1b]0;owned\x07" in sent) == (argv != ["jobs"],) * 2, argv
    for words in (["show", "a\x1b[2J/b"], ["jobs", "slurm+nothing://a\x1b[2J"]):
        assert "\x1b[2J" not in at_terminal(*words)
    shown = at_terminal("show", one.key, "--json")
    assert json.loads(shown)["error"] == f"ValueError: {EVIL}"
    assert "\x1b" not in shown


def test_logs_in_a_pipe_are_unchanged(here: Path) -> None:
    with Cluster.from_slurmfile():

        @task
        def binary() -> None:
            os.write(1, b"\xff\x00\x1b[2J\x1b[31m\r\n\x9b")

        job = binary()
        job.result(60)
    done = subprocess.run([sys.executable, "-m", "slurm", "logs", job.key], capture_output=True, check=True)
    assert done.stdout == Path(job.log_path).read_bytes()
    assert b"\xff\x00\x1b[2J\x1b[31m\r\n\x9b" in done.stdout


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e300", "-1", "0x1", "1_0_", ""])
@pytest.mark.parametrize("argv", [["envs", "gc", "--days"], ["doctor", "--timeout"], ["jobs", "--limit"]])
def test_invalid_numbers_are_usage_errors(here: Path, argv: list[str], number: str) -> None:
    wrong = run(*argv[:-1], f"{argv[-1]}={number}", "mine")
    assert (wrong.exit_code, "Invalid value for" in wrong.output) == (2, True)


def test_invalid_numbers_are_value_errors_of_functions(here: Path) -> None:
    cluster = Cluster.from_slurmfile()
    with cluster:
        job = größe("ann")
        some = größe.map(["bob"])
    for call in (
        lambda: größe.on(cluster)("eve").result(math.nan),
        lambda: list(as_completed([größe.on(cluster)("eve")], math.nan)),
        lambda: cluster.jobs(limit=-1),
        lambda: cluster.script(größe, count=0),
        lambda: job.logs(-1),
        lambda: some.logs(-1),
        lambda: environment_cleanup.collect(cluster, days=math.nan),
        lambda: examine(cluster, timeout=math.inf),
        lambda: ProgressCallback(interval=math.nan),
        lambda: WebhookCallback("$X", timeout=-1),
    ):
        with pytest.raises(ValueError, match=r"expected a (whole )?number"):
            call()
    assert job.result(math.inf) == "hello ann"
    assert some.results(1e300) == ["hello bob"]
    for number in (math.nan, math.inf):
        event = ProgressEvent(
            time=0.0,
            url="",
            key="a/b",
            task="a",
            mapped=True,
            index=0,
            attempt=1,
            done=number,
            total=number,
            metrics={},
        )
        model = ProgressModel()
        assert model.progressed(event).line()


def test_the_command_is_installed() -> None:
    from importlib.metadata import entry_points

    (point,) = entry_points(group="console_scripts", name="slurm")
    assert point.load().__module__ == "slurm.cli.main"


def test_importing_a_cluster_imports_neither_click_nor_yaml() -> None:
    code = "import sys, slurm; slurm.Cluster(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"click", "yaml", "slurm.cli", "slurm.doctor"}.isdisjoint(loaded)
