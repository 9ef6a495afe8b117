"""The command `slurm tool`: a run from its preparation to its products, and the exit status of each failure."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from slurm.cli.main import slurm
from slurm.cli.tool import tool_of
from slurm.tools import open_run

if TYPE_CHECKING:
    from slurm import Cluster

TOOL = """\
from slurm.tools import Diagnosis, Stage, Tool


def diagnose(log, exit_status):
    return Diagnosis("DIVERGED", "halve dt") if "diverged" in log else None


class Solver(Tool):
    "A solver."

    name, taxonomy, config = "solver", ("site",), "case.yaml"
    solve = Stage("sh config/solve.sh {config}", products=["field.txt"], diagnose=diagnose)
    report = Stage("cp {solve}/field.txt report.txt", products=["report.txt"])
"""
SOLVE = 'grep "steps: -" $1 && echo diverged >&2 && exit 3; cp $1 field.txt; echo solved\n'


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tool in a file of the working directory, by the name that commands take."""
    template = tmp_path / "templates" / "small"
    template.mkdir(parents=True)
    (template / "case.yaml").write_text("steps: 3\n")
    (template / "solve.sh").write_text(SOLVE)
    file = tmp_path / f"solver_{os.urandom(4).hex()}.py"
    file.write_text(TOOL)
    monkeypatch.chdir(tmp_path)
    return f"{file.name}:Solver"


def run(*argv: str) -> Result:
    return CliRunner().invoke(slurm, ["tool", *argv])


def prepared(tool: str, run_id: str, *more: str) -> str:
    done = run("prepare", tool, run_id, "site=north", "--template", "small", "--root", "results", *more)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def tree(directory: Path) -> dict[str, str]:
    """The digests of all files of a directory, and the targets of its links."""
    return {
        str(path.relative_to(directory)): os.readlink(path)
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_a_run_is_prepared_submitted_and_shown(cluster: Cluster, tool: str, tmp_path: Path) -> None:
    directory = prepared(tool, "ref1", "-o", "steps=4")
    assert directory == str(tmp_path / "results/solver/north/ref1")
    before = run("status", directory, "--tool", tool)
    assert (before.exit_code, before.stdout.split()[:3]) == (0, ["solve", "not", "submitted"])
    submitted = json.loads(run("submit", directory, "--tool", tool, "--json").stdout)
    assert [each["stage"] for each in submitted] == ["solve", "report"]
    report = open_run(directory, tool_of(tool)).jobs["report"]
    assert report.key == submitted[1]["key"]
    assert [path.name for path in report.result().products] == ["report.txt"]
    shown = json.loads(run("status", directory, "--tool", tool, "--json").stdout)
    assert [(each["stage"], each["state"]) for each in shown] == [("solve", "COMPLETED"), ("report", "COMPLETED")]
    again = run("submit", directory, "--tool", tool, "--stage", "solve")
    assert again.exit_code == 2
    assert f"as {submitted[0]['key']}: write --again" in again.stderr


def test_the_tools_that_are_installed_are_found_and_shown(tool: str) -> None:
    assert run("list").stdout.splitlines()[-1].startswith("pyuvsim ")
    shown = json.loads(run("show", "pyuvsim", "--json").stdout)
    assert (shown["taxonomy"], shown["templates"]) == (["telescope", "observation_id"], ["small"])
    assert "command: run_pyuvsim --param {config}" in run("show", "pyuvsim").stdout
    assert "small" in run("templates", tool).stdout


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["status", "nowhere"], 3, "there is no run directory"),
        (["status", "templates"], 3, "is not prepared: it has no manifest.json"),
        (["show", "pyuvsin"], 2, "did you mean 'pyuvsim'"),
        (["prepare", "pyuvsim", "r", "telescope=x"], 2, "needs observation_id="),
        (["prepare", "pyuvsim", "r", "telescope"], 2, "'telescope' is not KEY=VALUE"),
        (["prepare", "pyuvsim", "r", "telescope=../x", "observation_id=1"], 2, "write 'x'"),
        (["submit"], 2, "DIR"),
    ],
)
def test_each_failure_has_its_status(
    argv: list[str], status: int, words: str, local: Cluster, tool: str, tmp_path: Path
) -> None:
    before = tree(tmp_path)
    done = run(*argv)
    assert (done.exit_code, words in done.stderr) == (status, True), done.stderr
    assert tree(tmp_path) == before


def test_sbatch_that_is_missing_or_refuses_has_a_status_of_its_own(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = prepared(tool, "r", "--on", f"slurm://{tmp_path}/jobs")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name}: error: Invalid account" >&2; exit 1\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    done = run("submit", directory, "--tool", tool)
    assert (done.exit_code, "Invalid account" in done.stderr) == (4, True), done.stderr


def test_a_prepared_run_is_that_of_the_library(local: Cluster, tool: str) -> None:
    directory = prepared(tool, "r", "-o", "steps=1e-3")
    assert Path(directory, "config/case.yaml").read_text() == "steps: 0.001\n"
    with pytest.raises(Exception, match="there is no installed tool 'solver'"):
        open_run(directory)


def test_logs_verify_fetch_and_cleanup_of_a_run(cluster: Cluster, tool: str) -> None:
    directory = prepared(tool, "ref1")
    own = (directory, "--tool", tool)
    assert run("verify", *own).exit_code == 1
    assert run("submit", *own).exit_code == 0
    assert open_run(directory, tool_of(tool)).jobs["report"].result().products
    log = run("logs", *own, "--stage", "solve").stdout
    assert log.splitlines()[-1] == "solved"
    assert run("logs", *own, "--stage", "solve", "--follow").stdout == log
    assert f"==> solve <==\n{log}==> report <==\n" in run("logs", *own).stdout
    checked = run("verify", *own, "--checksums")
    assert (checked.exit_code, checked.stdout.split()) == (0, ["prepared", "ok", "solve", "ok", "report", "ok"])
    assert json.loads(run("cleanup", *own, "--json").stdout) == []
    paths = run("fetch", *own, "-s", "report").stdout.splitlines()
    assert f"{directory}/attempts/report.1/attempt-1/report.txt" in paths
    assert Path(directory, "output/report/report.txt").read_text() == "steps: 3\n"


def test_a_failure_is_shown_by_its_name_and_the_stage_is_submitted_again(local: Cluster, tool: str) -> None:
    directory = prepared(tool, "ref1", "-o", "steps=-1")
    own = (directory, "--tool", tool)
    assert run("submit", *own).exit_code == 0
    opened = open_run(directory, tool_of(tool))
    assert opened.jobs["report"].exception() is not None
    shown = run("status", *own)
    assert (shown.exit_code, "DIVERGED: halve dt" in shown.stdout) == (1, True)
    assert run("resume", *own).exit_code == 2
    refused = run("resume", *own, "--stage", "solve")
    assert (refused.exit_code, "is not resumable; none is" in refused.stderr) == (2, True)
    assert run("submit", *own, "--stage", "solve", "--again").exit_code == 0
    assert opened.jobs["solve"].exception() is not None
    listed = json.loads(run("cleanup", *own, "--dry-run", "--json").stdout)
    assert [(each["stage"], each["attempt"]) for each in listed][:2] == [("solve", 1), ("solve", 2)]
    assert json.loads(run("cleanup", *own, "--json").stdout) == listed
    assert json.loads(run("cleanup", *own, "--dry-run", "--json").stdout) == []


def test_dry_runs_write_nothing(local: Cluster, tool: str, tmp_path: Path) -> None:
    root = Path(local.place.store.root)
    wanted = ("prepare", tool, "r", "site=north", "--template", "small", "--root", "results")
    shown = run(*wanted, "--dry-run")
    assert (shown.exit_code, "config/case.yaml" in shown.stdout) == (0, True)
    assert shown.stderr == f"cluster: {local.url}, the default; --on CLUSTER names another one\n"
    assert run(*wanted, "--dry-run", "--on", f"{local.url}").stderr == f"cluster: {local.url}\n"
    assert not (tmp_path / "results").exists()
    directory = prepared(tool, "r", "-o", "steps=-1")
    again = run(*wanted)
    assert (again.exit_code, "slurm tool submit DIR --again --on CLUSTER" in again.stderr) == (2, True)
    own = (directory, "--tool", tool)
    before = tree(tmp_path / "results"), tree(root / "jobs")
    shown = run("submit", *own, "--dry-run")
    assert shown.stdout.count("script.sh") >= 2
    assert ("#!/bin/" in shown.stdout, "--script also shows the scripts" in shown.stderr) == (False, True)
    assert run("submit", *own, "--dry-run", "--script").stdout.count("#!/bin/") >= 2
    assert "--script goes with --dry-run" in run("submit", *own, "--script").stderr
    assert "=== stage report" not in run("submit", directory, "solve", "--tool", tool, "--dry-run").stdout
    assert [line for line in shown.stdout.splitlines() if line.startswith("===")] == [
        "=== stage solve", "=== stage report, after solve",
    ]  # fmt: skip
    planned = json.loads(run("submit", *own, "--dry-run", "--json").stdout)
    assert [each["program"] for each in planned] == [
        "sh config/solve.sh config/case.yaml",
        'cp "$solve"/field.txt report.txt  # $solve is the output directory of stage solve',
    ]
    assert (tree(tmp_path / "results"), tree(root / "jobs")) == before
    assert run("submit", *own, "--stage", "solve").exit_code == 0
    assert open_run(directory, tool_of(tool)).jobs["solve"].exception() is not None
    before = tree(tmp_path / "results"), tree(root / "jobs")
    for argv in (
        ("submit", *own, "--stage", "solve", "--again", "--dry-run"),
        ("submit", *own, "--stage", "report", "--depend-afterok", "1", "--dry-run", "--json"),
        ("cleanup", *own, "--dry-run"),
        ("status", *own),
        ("verify", *own),
        ("logs", *own),
    ):
        done = run(*argv)
        assert done.exit_code == (1 if argv[0] in ("status", "verify") else 0), done.output
        assert (tree(tmp_path / "results"), tree(root / "jobs")) == before
    assert run("submit", *own, "--stage", "solve", "--dry-run").exit_code == 2


def test_a_run_knows_the_file_of_its_tool_unless_others_could_have_written_it(
    local: Cluster, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Path(prepared(tool, "r"))
    monkeypatch.chdir(directory)
    assert run("status", str(directory)).exit_code == 0
    for path in (directory, tmp_path / tool.partition(":")[0]):
        path.chmod(path.stat().st_mode | 0o002)
        done = run("status", str(directory))
        assert (done.exit_code, f"{path} is writable by others" in done.stderr) == (2, True)
        path.chmod(path.stat().st_mode & ~0o002)
    assert run("status", str(directory)).exit_code == 0


PROGRAM = """
PREPARE = 'Solver.prepare("r", site="north", template="small", root="results", unique=True)'
if GUARD:
    run = eval(PREPARE)
    print(run.directory)
"""


def test_a_run_that_a_program_has_prepared_knows_its_class(local: Cluster, tool: str, tmp_path: Path) -> None:
    file = tmp_path / tool.partition(":")[0]
    text = file.read_text() + PROGRAM
    file.write_text(text.replace("GUARD", '__name__ == "__main__"'))
    first = subprocess.run([sys.executable, file.name], check=True, capture_output=True, text=True).stdout.strip()
    shown = run("status", first)
    assert (shown.exit_code, shown.stdout.split()[:3]) == (0, ["solve", "not", "submitted"]), shown.output
    file.rename(file.with_name("elsewhere.py"))
    moved = run("status", first)
    assert (moved.exit_code, "If it is elsewhere now, write --tool FILE.py:CLASS" in moved.stderr) == (2, True)
    assert run("status", first, "--tool", "elsewhere.py:Solver").exit_code == 0


def test_a_program_that_prepares_runs_when_it_is_imported_is_told(local: Cluster, tool: str, tmp_path: Path) -> None:
    file = tmp_path / tool.partition(":")[0]
    file.write_text((file.read_text() + PROGRAM).replace("GUARD", "True"))
    first = subprocess.run([sys.executable, file.name], check=True, capture_output=True, text=True).stdout.strip()
    before = tree(tmp_path / "results")
    shown = run("status", first)
    assert (shown.exit_code, 'put that below `if __name__ == "__main__":`' in shown.stderr) == (2, True), shown.output
    assert tree(tmp_path / "results") == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "manifest.json cannot be read"),
        ('{"format": 99, "written_by": "slurm-tasks 9.0"}', "(written by slurm-tasks 9.0) is newer"),
        ('{"tool": "pyuvsim"}', "run_id is missing"),
    ],
)
def test_an_invalid_manifest_is_told(text: str, words: str, local: Cluster, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    done = run("submit", str(tmp_path))
    assert (done.exit_code, words in done.stderr) == (3, True), done.stderr


def test_a_directory_without_a_manifest_is_no_run(local: Cluster, tool: str, tmp_path: Path) -> None:
    half = tmp_path / "results/solver/north/r"
    (half / "config").mkdir(parents=True)
    assert run("status", str(half), "--tool", tool).exit_code == 3
    for more in ((), ("--dry-run",)):
        done = run("prepare", tool, "r", "site=north", "--template", "small", "--root", "results", *more)
        assert (done.exit_code, "holds files, such as config, but no manifest" in done.stderr) == (2, True)


def test_a_preparation_that_is_killed_leaves_no_half_of_a_run(local: Cluster, tool: str, tmp_path: Path) -> None:
    code = """if True:
        import os, sys
        from slurm.cli.main import slurm
        from slurm.tools import prepare
        prepare.write_manifest = lambda *_: os._exit(9)  # when all other files are written
        slurm(sys.argv[1:])
    """
    argv = ["tool", "prepare", tool, "r", "site=north", "--template", "small", "--root", "results"]
    assert subprocess.run([sys.executable, "-c", code, *argv], check=False).returncode == 9
    assert run("status", str(tmp_path / "results/solver/north/r"), "--tool", tool).exit_code == 3
    assert prepared(tool, "r") == str(tmp_path / "results/solver/north/r")


def test_the_runs_of_a_directory_are_listed_from_their_own_files(local: Cluster, tool: str, tmp_path: Path) -> None:
    directories = sorted(prepared(tool, f"r{number}") for number in range(20))
    (Path(directories[0]) / "manifest.json").chmod(0o600)
    (Path(directories[0]) / "manifest.json").write_text("{")
    code = """if True:
        import sys
        from slurm.tools.listing import list_runs
        seen = []
        sys.addaudithook(lambda event, args: seen.append((event, args)))
        print(len(list(list_runs(sys.argv[1]))))
        opened = [args for event, args in seen if event == "open" and str(args[0]).startswith(sys.argv[1])]
        print(len(opened), [event for event, _ in seen if event in ("subprocess.Popen", "socket.connect")])
    """
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "results"], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["20", "20", "[]"]
    listed = json.loads(run("runs", "results", "--json").stdout)
    assert [each["directory"] for each in listed] == directories
    assert (listed[1]["tool"], listed[1]["run_id"], listed[1]["submissions"]) == ("solver", "r1", 0)
    assert "cannot be read" in listed[0]["problem"]


def test_the_states_of_all_runs_take_few_commands(cluster: Cluster, tool: str) -> None:
    good, bad, new = (
        prepared(tool, name, "-o", f"steps={steps}") for name, steps in zip("abc", (1, -1, 2), strict=True)
    )
    for each in (good, bad):
        assert run("submit", each).exit_code == 0
    for each in (good, bad):
        open_run(each, tool_of(tool)).jobs["report"].exception()
    before = cluster.command_counts()
    listed = json.loads(run("runs", "results", "--json").stdout)
    found = [each["stages"] for each in listed]
    assert (found[0], found[1]["solve"], found[2]) == ({"solve": "COMPLETED", "report": "COMPLETED"}, "FAILED", {})
    assert found[1]["report"] in ("CANCELLED", "FAILED")  # it may have begun, and found that solve had failed
    assert cluster.command_counts() == before
    lines = [line.partition("solver ")[2].strip() for line in run("runs", "results").stdout.splitlines()]
    assert (lines[0], lines[2]) == ("solve COMPLETED, report COMPLETED", "not submitted")
    assert json.loads(run("runs", "results", "--no-states", "--json").stdout)[0]["stages"] == {}
    assert new == listed[2]["directory"]


def test_a_full_disk_leaves_nothing(local: Cluster, tool: str, tmp_path: Path) -> None:
    (tmp_path / "templates/small/large.bin").write_bytes(bytes(1 << 16))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, resource.RLIM_INFINITY))
    try:
        done = run("prepare", tool, "r", "site=north", "--template", "small", "--root", "results")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (done.exit_code, "cannot be written, and nothing of it is left" in done.stderr) == (1, True), done.output
    assert not (tmp_path / "results").exists()


def test_an_interrupt_has_its_status(local: Cluster, tool: str) -> None:
    directory = prepared(tool, "r")
    argv = [sys.executable, "-m", "slurm", "tool", "logs", directory, "--tool", tool, "-s", "solve", "-f"]
    (Path(directory) / "stages/solve.sh").chmod(0o644)
    (Path(directory) / "stages/solve.sh").write_text("echo begun; while [ ! -e go ]; do sleep 0.1; done\n")
    assert run("submit", directory, "--tool", tool, "--stage", "solve").exit_code == 0
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert "begun\n" in iter(following.stdout.readline, "")
        following.send_signal(signal.SIGINT)
        assert "interrupted" in following.communicate(timeout=120)[1]
    assert following.returncode == 130
    open_run(directory, tool_of(tool)).job("solve").cancel()
