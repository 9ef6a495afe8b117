"""The life of a tool's run: submitted again, resumed, given up, moved and cleaned up, with what each leaves on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from slurm import Cluster, Python, fence
from slurm.errors import SubmissionRefused
from slurm.schedulers.local_queue import client
from slurm.tools import AlreadySubmitted, Run, Tool, ToolError
from slurm.tools.jobs import has_submitted_stage, load_jobs_json
from waiting import remove, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.slurm import SlurmTestbed

GROW = """\
n=$(cat count.txt 2> /dev/null || echo 0)
echo $((n + 1)) > count.txt
echo "count $((n + 1))"
[ "$n" -ge "$(sed 's/wanted: //' "$1")" ] || exit 3
cp count.txt field.txt
"""
TOOL = """
from slurm.tools import Stage, Tool

class Grow(Tool):
    name, config = "grow", "case.yaml"
    grow = Stage("sh config/grow.sh {config}", products=["field.txt"], resumable=True)
    report = Stage("cp {grow}/field.txt report.txt", products=["report.txt"])
"""


@pytest.fixture
def tool(tmp_path: Path) -> type[Tool]:
    """A program that succeeds once it has run often enough in one directory, and one that reads what it wrote."""
    template = tmp_path / "templates" / "small"
    template.mkdir(parents=True)
    (template / "case.yaml").write_text("wanted: 0\n")
    (template / "grow.sh").write_text(GROW)

    made: dict[str, Any] = {}
    exec(TOOL, made)  # noqa: S102 - the text above
    made["Grow"].templates = tmp_path / "templates"
    return cast("type[Tool]", made["Grow"])


@pytest.fixture
def prepare(tool: type[Tool], tmp_path: Path) -> Callable[..., Run]:
    def make(run_id: str = "r", wanted: int = 0) -> Run:
        return tool.prepare(run_id, template="small", override={"wanted": wanted}, root=tmp_path / "results")

    return make


def in_another_process(cluster: Cluster, code: str, run_dir: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run code with the tool `Grow`, on the same cluster."""
    text = (
        f"import os, sys\nfrom slurm import Cluster\n{TOOL}\nwith Cluster(sys.argv[2], root=sys.argv[3]):\n    {code}\n"
    )
    argv = [
        sys.executable,
        "-c",
        text,
        str(run_dir),
        cluster.url.removesuffix(cluster.place.store.root),
        cluster.place.store.root,
        *more,
    ]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


def tree(directory: Path) -> dict[str, str]:
    """The digests of all files of a directory, and the targets of its links."""
    return {
        str(path.relative_to(directory)): os.readlink(path)
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_a_submission_leaves_its_commands_its_jobs_and_links(cluster: Cluster, prepare: Callable[..., Run]) -> None:
    run, before = prepare(), cluster.command_counts().get("submit", 0)
    jobs = run.submit()
    assert cluster.command_counts()["submit"] == before + 1
    assert jobs["report"].result().products
    found = load_jobs_json(run.directory)
    assert list(found["jobs"]) == found["stage"] == ["grow", "report"]
    assert found["run_dir"] == str(run.directory)
    for stage, job in jobs.items():
        assert (found["jobs"][stage]["key"], found["jobs"][stage]["job_id"]) == (job.key, job.job_id)
        (command,) = found["jobs"][stage]["commands"]
        assert job.directory in command
    assert f"{jobs['grow'].job_id}".partition("_")[0] in command  # of the report, which runs after it
    assert has_submitted_stage(run.directory, "grow")
    output = run.directory / "output" / "report"
    if os.path.isdir(jobs["report"].directory):
        assert output.is_symlink()
        assert (output / "report.txt").read_text() == "1\n"


def test_again_keeps_the_ledger_and_the_earlier_output(local: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare()
    first = run.submit("grow")["grow"]
    assert first.result().products
    before = tree(run.directory)
    second = run.submit("grow", again=True)["grow"]
    assert second.result().products
    after = tree(run.directory)
    assert after["jobs.1.json"] == before["jobs.json"]
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"jobs.json", "output/grow"}
    found = load_jobs_json(run.directory)
    assert [(each["stage"], each["key"]) for each in found["history"]] == [("grow", first.key)]
    assert (run.directory / "attempts/grow.1/output/field.txt").is_file()
    assert (run.directory / "attempts/grow.2/output/field.txt").is_file()


def test_the_product_of_an_earlier_attempt_is_not_the_output_of_a_later_one(
    local: Cluster, prepare: Callable[..., Run]
) -> None:
    run = prepare()
    assert run.submit("grow")["grow"].result().products

    (run.directory / "stages/grow.sh").chmod(0o644)
    (run.directory / "stages/grow.sh").write_text("exit 4\n")
    assert run.submit("grow", again=True)["grow"].exception() is not None
    assert not (run.directory / "output/grow").exists()
    assert (run.directory / "attempts/grow.1/output/field.txt").exists()


def test_a_stage_is_resumed_with_the_files_of_its_last_attempt(cluster: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare(wanted=2)
    first = run.submit("grow")["grow"]
    assert first.exception() is not None
    second = run.submit("grow", resume=True)["grow"]
    assert second.exception() is not None
    third = run.submit("grow", resume=True)["grow"]
    (field,) = third.fetch("output/field.txt", to=run.directory.parent / "got")
    assert field.read_text() == "3\n"
    assert [file.name for file in first.files()] == ["attempt-1/stdout.log"]
    assert "count 1" in first.logs()
    assert "count 1" not in third.logs()
    with pytest.raises(ToolError, match="has succeeded, so there is nothing to resume"):
        run.submit("grow", resume=True)


def test_a_resume_submits_what_could_not_run_after_the_failure(cluster: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare(wanted=1)
    first = run.submit()
    assert first["report"].exception() is not None
    assert list(run.plan(resume=True)) == ["grow", "report"]
    jobs = run.submit(resume=True)
    assert list(jobs) == ["grow", "report"]
    (report,) = jobs["report"].fetch("output/report.txt", to=run.directory.parent / "got")
    assert report.read_text() == "2\n"
    record = json.loads((run.directory / "submissions/2.json").read_text())
    assert (record["why"], list(record["resumes"])) == ("resume", ["grow"])
    with pytest.raises(ToolError, match=r"no stage of .* that has failed is resumable"):
        run.submit(resume=True)


def test_a_resumable_stage_that_did_not_run_starts_anew(
    local: Cluster, prepare: Callable[..., Run], tool: type[Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool.stages["report"], "resumable", True)
    run = prepare(wanted=1)
    assert run.submit()["report"].exception() is not None
    jobs = run.submit(resume=True)
    assert jobs["report"].result().products
    record = json.loads((run.directory / "submissions/2.json").read_text())
    assert (list(record["stages"]), list(record["resumes"])) == (["grow", "report"], ["grow"])


def test_the_files_of_an_attempt_that_may_still_run_are_copied(
    local: Cluster, prepare: Callable[..., Run], tmp_path: Path
) -> None:
    run = prepare()
    script = run.directory / "stages/grow.sh"
    script.chmod(0o644)
    script.write_text(f"echo half > half.txt; while [ ! -e '{tmp_path}/go' ]; do sleep 0.1; done; exit 1\n")
    first = run.submit("grow")["grow"]
    until(lambda: any(file.name.endswith("half.txt") for file in first.files()))
    with pytest.raises(ToolError, match=r"cannot be resumed while its job .* is RUNNING"):
        run.submit("grow", resume=True)
    fence(first, "its node is silent")
    script.write_text("cp half.txt field.txt\n")
    assert run.submit("grow", resume=True)["grow"].result().products
    assert "attempt-1/half.txt" in [file.name for file in first.files()]
    (tmp_path / "go").touch()


def test_what_cannot_be_resumed_is_told_and_changes_nothing(local: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare()
    before = tree(run.directory)
    with pytest.raises(ToolError, match=r"grow of .* was not submitted, so there is nothing to resume"):
        run.submit("grow", resume=True)
    with pytest.raises(ToolError, match="report of grow is not resumable; grow are"):
        run.submit("report", resume=True)
    with pytest.raises(ToolError, match="report of grow runs after grow, which was not submitted"):
        run.submit("report")
    assert tree(run.directory) == before


def test_a_resume_with_other_files_is_told(
    local: Cluster, prepare: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = prepare(wanted=1)
    assert run.submit("grow")["grow"].exception() is not None
    config = run.directory / "config/case.yaml"
    config.chmod(0o644)
    config.write_text("wanted: 1  # edited\n")
    with caplog.at_level(logging.WARNING, "slurm.tools"):
        run.submit("grow", resume=True)
    assert "grow is resumed with other files" in caplog.text
    assert "config/case.yaml is not as `prepare` wrote it" in caplog.text


def test_of_two_submissions_at_once_one_is_refused(local: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare()
    start, found = threading.Barrier(4), list[object]()

    def submit() -> None:
        start.wait()
        try:
            found.append(run.submit("grow")["grow"].key)
        except AlreadySubmitted as error:
            found.append(error)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [isinstance(each, str) for each in found].count(True) == 1, found
    assert run.jobs["grow"].key in found


def test_a_stage_whose_client_died_before_it_was_queued_is_submitted_again(
    local: Cluster, prepare: Callable[..., Run]
) -> None:
    run = prepare()
    # When its record is written, and nothing is queued.
    dies = "from slurm.clusters.chain import Chain; Chain.submit = lambda _: os._exit(9); "
    died = in_another_process(local, dies + 'Grow.open(sys.argv[1]).submit("grow")', run.directory)
    assert died.returncode == 9
    (record,) = (json.loads(path.read_text()) for path in (run.directory / "submissions").iterdir())
    assert run.status()["grow"] is None
    job = run.submit("grow")["grow"]
    assert job.result().products
    assert job.key != record["stages"]["grow"]


@pytest.mark.slurm
@pytest.mark.parametrize("queued", [False, True])
def test_a_client_that_is_killed_while_it_queues_has_recorded_the_command(
    queued: bool,
    slurm_env: SlurmTestbed,
    root: Path,
    prepare: Callable[..., Run],
    tmp_path: Path,
) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    then = f'exec {shutil.which("sbatch")} "$@"' if queued else "exit 1"
    (commands / "sbatch").write_text(f"#!/bin/sh\nkill -9 $CLIENT\n{then}\n")
    (commands / "sbatch").chmod(0o755)
    code = (
        "os.environ.update(CLIENT=str(os.getpid()), PATH=f'{sys.argv[4]}:' + os.environ['PATH']); "
        "Grow.open(sys.argv[1]).submit()"
    )
    with Cluster("slurm", root=root) as cluster:
        run = prepare()
        died = in_another_process(cluster, code, run.directory, str(commands))
        assert died.returncode == -signal.SIGKILL, died.stderr
        record, planned = (
            json.loads((run.directory / f"submissions/{name}.json").read_text()) for name in ("1", "1.grow.commands")
        )
        assert planned["key"] == record["stages"]["grow"]
        (command,) = planned["commands"]
        assert f"/{planned['key']}/script.sh" in command
        names = sorted(path.name for path in (run.directory / "submissions").iterdir())
        assert names == ["1.grow.commands.json", "1.json", "1.report.commands.json"]
        if queued:
            assert run.job("grow").result().products
            try:
                report = run.submit("report")["report"]
            except AlreadySubmitted:  # the shell that runs sbatch has outlived its client for long enough
                report = run.job("report")
            assert report.result().products
        else:
            assert run.submit()["report"].result().products


@pytest.mark.slurm
def test_a_stage_that_slurm_refuses_leaves_those_before_it(
    slurm_env: SlurmTestbed, root: Path, prepare: Callable[..., Run], tool: type[Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    del slurm_env
    with Cluster("slurm", root=root):
        run, report = prepare(), tool.stages["report"]
        monkeypatch.setattr(report, "options", {"partition": "nope"})
        with pytest.raises(SubmissionRefused, match="invalid partition"):
            run.submit()
        assert list(load_jobs_json(run.directory)["jobs"]) == ["grow", "report"]
        assert run.status()["report"].state == "REFUSED"  # type: ignore[union-attr]
        with pytest.raises(AlreadySubmitted, match=r"grow of .* was submitted already"):
            run.submit()
        monkeypatch.setattr(report, "options", {})
        assert run.submit("report")["report"].result().products


def test_an_upstream_that_was_removed_is_told(local: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare()
    job = run.submit("grow")["grow"]
    assert job.result().products
    Path(job.directory).rename(f"{local.place.store.root}/removed")  # its script may still write there
    before = tree(run.directory)
    done = in_another_process(local, 'Grow.open(sys.argv[1]).submit("report")', run.directory)
    assert (done.returncode, "is needed, and its job " in done.stderr) == (1, True), done.stderr
    assert tree(run.directory) == before


def test_stages_wait_for_a_job_of_another_program(local: Cluster, prepare: Callable[..., Run]) -> None:
    first = prepare("first").submit("grow")["grow"]
    run = prepare("second")
    jobs = run.submit(depend_afterok=[str(first.job_id)])
    assert jobs["report"].result().products
    record = json.loads((run.directory / "submissions/1.json").read_text())
    assert record["depend_afterok"] == [first.job_id]


def health(run: Run, *, checksums: bool = False) -> dict[str | None, str]:
    return {each.stage: each.word for each in run.verify(checksums=checksums)}


def test_a_run_is_whole_by_its_products(cluster: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare()
    assert health(run) == {None: "ok", "grow": "not submitted", "report": "not submitted"}
    assert run.submit()["report"].result().products
    assert health(run) == health(run, checksums=True) == {None: "ok", "grow": "ok", "report": "ok"}


def test_each_flaw_of_a_run_has_a_name(local: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare()
    jobs = run.submit()
    assert jobs["report"].result().products
    report = jobs["report"].result().products[0]
    content = report.read_bytes()
    report.chmod(0o600)
    report.write_bytes(b"x" * len(content))
    assert health(run)["report"] == "ok"
    assert health(run, checksums=True)["report"] == "changed"
    report.write_bytes(b"longer than it was")
    assert health(run)["report"] == "changed"
    report.unlink()
    assert health(run)["report"] == "missing"
    assert run.submit("grow", again=True)["grow"].result().products
    assert health(run) == {None: "ok", "grow": "ok", "report": "missing"}
    assert run.submit("report", again=True)["report"].result().products
    assert run.submit("grow", again=True)["grow"].result().products
    assert health(run) == {None: "ok", "grow": "ok", "report": "stale"}
    script = run.directory / "stages/grow.sh"
    script.chmod(0o644)
    script.write_text("exit 5\n")
    assert health(run)[None] == "edited"
    script.unlink()
    assert health(run)[None] == "missing"


def test_a_stage_that_never_ran_is_told_when_the_queue_has_forgotten_it(
    prepare: Callable[..., Run], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="slurm-local-", ignore_cleanup_errors=True) as machine:
        monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", machine)
        with Cluster("local", root=root) as cluster:
            go = root.parent / "go"
            run = with_script(prepare(), f"while [ ! -e '{go}' ]; do sleep 0.1; done; exit 3\n")
            code = "jobs = Grow.open(sys.argv[1]).submit(); open(sys.argv[4], 'w'); jobs['grow'].exception()"
            done = in_another_process(cluster, code, run.directory, str(go))
            assert done.returncode == 0, done.stderr
            client.stop()
            remove(machine)
            assert run.status()["report"] == (
                "CANCELLED", "it was not run: stage grow has ended as FAILED", None, None, None, None
            )  # fmt: skip
            (_, grow, report) = run.verify()
            assert (grow.word, report.word, report.problem) == (
                "failed", "failed", "it was not run: stage grow has ended as FAILED"
            )  # fmt: skip
        client.stop()


def test_a_failed_stage_is_not_whole(local: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare(wanted=1)
    jobs = run.submit()
    assert jobs["report"].exception() is not None
    (_, grow, report) = run.verify()
    assert (grow.word, "status 3" in grow.problem, report.word) == ("failed", True, "failed")


def test_a_moved_run_is_whole_and_goes_on(local: Cluster, prepare: Callable[..., Run], tool: type[Tool]) -> None:
    run = prepare()
    assert run.submit("grow")["grow"].result().products
    moved = tool.open(run.directory.rename(run.directory.with_name("moved")))
    found = moved.verify("grow")
    assert [(each.word, each.ok) for each in found] == [("moved", True), ("ok", True)]
    assert str(run.directory) in found[0].problem
    assert moved.submit("report")["report"].result().products


def test_a_run_whose_jobs_are_gone_is_whole_by_what_was_fetched(
    cluster: Cluster, prepare: Callable[..., Run], tool: type[Tool]
) -> None:
    run = prepare()
    job = run.submit("grow")["grow"]
    assert job.result().products
    run.fetch("grow")
    assert (run.directory / "output/grow/field.txt").read_text() == "1\n"
    removed = f"{cluster.place.store.root}/removed"  # not unlinked, because the script may still write there
    cluster.place.transport.run(["mv", job.directory, removed])
    code = "print([each.word for each in Grow.open(sys.argv[1]).verify('grow', checksums=True)])"
    assert in_another_process(cluster, code, run.directory).stdout == "['ok', 'ok']\n"
    (run.directory / "output/grow/field.txt").write_text("2\n")
    assert in_another_process(cluster, code, run.directory).stdout == "['ok', 'changed']\n"


def test_what_is_no_output_goes_to_a_trash_and_comes_back(cluster: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare(wanted=1)
    assert run.cleanup() == []
    first = run.submit("grow")["grow"]
    assert first.exception() is not None
    second = run.submit("grow", resume=True)["grow"]
    assert second.result().products
    names = [file.name for file in first.files()]
    assert names == ["attempt-1/stdout.log"]
    assert [(each.stage, each.attempt, each.key) for each in run.leftovers()] == [("grow", 1, first.key)]
    assert len(run.cleanup()) == 1
    assert first.files() == []
    assert run.cleanup() == []
    moved = run.cleanup(verb="restore", dry_run=True)
    assert first.files() == []
    assert run.cleanup(verb="restore") == moved != []
    assert [file.name for file in first.files()] == names
    run.cleanup()
    assert run.cleanup(verb="empty", dry_run=True) == run.cleanup(verb="empty") != []
    assert run.cleanup(verb="restore") == []
    assert second.result().products
    assert health(run)["grow"] == "ok"


def test_a_large_product_stays_where_it_is(local: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare()
    script = run.directory / "stages/grow.sh"
    script.chmod(0o644)
    script.write_text("truncate -s 256M field.txt\n")
    assert run.submit("grow")["grow"].result().products
    assert health(run)["grow"] == "ok"
    assert (run.directory / "output/grow/field.txt").stat().st_size == 256 << 20
    own = sum(path.stat().st_size for path in run.directory.rglob("*") if path.is_file() and not path.is_symlink())
    assert own < 100_000


def test_plans_of_everything_write_nothing(local: Cluster, prepare: Callable[..., Run]) -> None:
    run = prepare(wanted=1)
    root = Path(local.place.store.root, "jobs")
    run.plan()
    assert run.submit("grow")["grow"].exception() is not None
    before = tree(run.directory), tree(root)
    assert list(run.plan("grow", again=True)) == ["grow"]
    assert list(run.plan("grow", resume=True)) == ["grow"]
    assert list(run.plan("report", depend_afterok=["1"])) == ["report"]
    assert [each.stage for each in run.leftovers()] == ["grow"]
    assert health(run)["grow"] == "failed"
    assert run.logs("grow") == run.job("grow").logs()
    with pytest.raises(AlreadySubmitted):
        run.plan("grow")
    assert (tree(run.directory), tree(root)) == before


def with_script(run: Run, text: str) -> Run:
    """A run whose stage `grow` runs other lines."""
    script = run.directory / "stages/grow.sh"
    script.chmod(0o644)
    script.write_text(text)
    return run


@pytest.mark.parametrize("text", ["true\n", "(exit 3) | cat\n", "echo field > field.tx\n"])
def test_a_success_without_its_product_is_none(text: str, local: Cluster, prepare: Callable[..., Run]) -> None:
    run = with_script(prepare(), text)
    error = run.submit("grow")["grow"].exception()
    assert "did not write field.txt" in str(error)
    assert health(run)["grow"] == "failed"
    assert not (run.directory / "output/grow").exists()


def test_a_program_that_ignores_signals_ends_when_it_is_cancelled(
    cluster: Cluster, prepare: Callable[..., Run], tmp_path: Path
) -> None:
    beat = tmp_path / "pid"
    text = f"trap '' TERM INT; echo $$ > {beat}.new; mv {beat}.new {beat}; while :; do sleep 0.2; done\n"
    run = with_script(prepare(), text)
    job = run.submit("grow")["grow"]
    until(beat.exists)
    pid = int(beat.read_text())
    job.cancel()
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert job.exception() is not None
    assert run.status()["grow"].state == "CANCELLED"  # type: ignore[union-attr]


def test_a_resume_in_another_environment_is_told(
    local: Cluster, prepare: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = prepare(wanted=1)
    assert run.submit("grow")["grow"].exception() is not None
    with caplog.at_level(logging.WARNING, "slurm.tools"):
        run.submit("grow", resume=True, options={"environment": Python(f"{sys.base_prefix}/bin/python3")})
    assert "grow is resumed in another environment" in caplog.text
    assert "other files" not in caplog.text
