"""Procedures whose scripts are in git: each runs the commit that it was prepared with, in an environment of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from projects import project
from repositories import commit, git
from served import client_of, serve
from slurm import Cluster
from slurm.environments import building
from slurm.errors import EnvironmentInUse
from slurm.procedures import (
    EmbeddedStringScript,
    EnvironmentManager,
    FileSystemScript,
    GitArgs,
    GitScript,
    PrepareProcessCommand,
    Procedure,
    ProcedureFailed,
    Script,
    ScriptError,
    ScriptExecutionService,
    StartProcessCommand,
    StopProcessCommand,
    listing,
    preparing,
)
from waiting import until

SCRIPT = "import antenna\ndef where(): return [antenna.PLACE, antenna.__file__]\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a project and a script."""
    found = project(tmp_path / "scripting", "antenna", "PLACE = 'north'")
    (found / "scripts").mkdir()
    (found / "scripts" / "observe.py").write_text(SCRIPT)
    git(found, "init", "--quiet", "-b", "main")
    commit(found)
    return found


@pytest.fixture
def service(local: Cluster) -> Iterator[ScriptExecutionService]:
    """A service whose procedures end with the test."""
    found = ScriptExecutionService(on=local, options={"time": "10"}, grace=1.0)
    yield found
    for procedure in found.procedures():
        procedure.stop()


def states(procedure: Procedure) -> list[str]:
    return [str(state) for state in procedure.history.states]


def test_a_script_runs_its_commit_in_an_environment_that_is_built_once(
    service: ScriptExecutionService, repository: Path
) -> None:
    script = Script.git(str(repository), "scripts/observe.py", branch="main")
    procedures = [service.prepare(script) for _ in range(3)]
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-a", "v1", "-m", "first")
    (repository / "src" / "antenna" / "__init__.py").write_text("PLACE = 'south'")
    second = commit(repository)
    for procedure in procedures:
        procedure.wait("READY", 120)
    assert states(procedures[0])[:7] == ["CREATING", "IDLE", "PREP_ENV", "IDLE", "LOADING", "IDLE", "READY"]
    found = [procedure.run("where") for procedure in procedures]
    assert {place for place, _ in found} == {"north"}
    assert len({path for _, path in found}) == 1
    moved = service.prepare(script)
    moved.wait("READY", 120)
    assert moved.run("where")[0] == "south"
    assert [each.record.plan.script.digest for each in (*procedures[:1], moved)] == [first, second]
    for procedure in (*procedures, moved):
        procedure.stop()
    url, path = f"file://{repository}", "scripts/observe.py"
    for old in (Script.git(url, path, tag="v1"), Script.git(url, path, commit=first)):
        procedure = service.prepare(old)
        procedure.wait("READY", 120)
        assert procedure.run("where") == found[0]


def test_eight_procedures_of_one_commit_make_one_installation(
    wide_local: Cluster, repository: Path, tmp_path: Path
) -> None:
    """A server prepares four of them, and this program four."""
    backend, built = repository / "backend.py", tmp_path / "built"
    notes = f"def build_wheel(*arguments):\n    open({str(built)!r}, 'a').write('once')\n    return build(*arguments)\n"
    backend.write_text(f"{backend.read_text()}\n\nbuild = build_wheel\n\n{notes}")
    first = commit(repository)
    url, path = f"file://{repository}", "scripts/observe.py"
    service = ScriptExecutionService(on=wide_local, options={"time": "10"}, grace=1.0)
    body = json.dumps({"script": {"git": url, "path": path, "branch": "main"}, "grace": 1.0}).encode()
    with serve("--on", str(wide_local.url), "--allow-git", f"file://{tmp_path}") as (_, lines):
        http = client_of(lines)
        until(lambda: http.ask("GET", "/procedures").status == 200)  # 503 until it has looked at the place
        with ThreadPoolExecutor(8) as pool:
            theirs = [pool.submit(http.ask, "POST", "/procedures", body=body) for _ in range(4)]
            ours = [pool.submit(service.prepare, Script.git(url, path, branch="main")) for _ in range(4)]
        answers = [each.result() for each in theirs]
        assert {answer.status for answer in answers} == {201}, answers
        procedures = [each.result() for each in ours]
        procedures += [service.procedure(answer.data["number"]) for answer in answers]
        for procedure in procedures:
            procedure.wait("READY", 120)
        shown = http.get(answers[0].headers["Location"])
        assert [each["state"] for each in shown["history"]] == states(procedures[-4])
        assert {"CREATING", "PREP_ENV", "LOADING", "READY"} <= {each["state"] for each in shown["history"]}
        script = {"kind": "git", "path": path, "digest": first, "repository": url, "asked": "main"}
        assert shown["script"].items() >= script.items()
        [environment] = http.get("/environments")
        assert http.ask("DELETE", f"/environments/{environment['key']}").status == 409
    assert built.read_text() == "once"
    found = [procedure.run("where") for procedure in procedures]
    assert found == found[:1] * 8
    assert found[0][0] == "north"


def test_a_failed_installation_ends_all_procedures_of_its_commit_with_its_words(
    service: ScriptExecutionService, repository: Path
) -> None:
    backend = repository / "backend.py"
    backend.write_text(backend.read_text() + "\n\ndef build_wheel(*_):\n    raise RuntimeError('no such antenna')\n")
    commit(repository)
    script = Script.git(str(repository), "scripts/observe.py")
    with ThreadPoolExecutor(8) as pool:
        procedures = list(pool.map(lambda _: service.prepare(script), range(8)))
    for procedure in procedures:
        with pytest.raises(ProcedureFailed, match="no such antenna"):
            procedure.wait("READY", 120)
        assert states(procedure) == ["CREATING", "IDLE", "PREP_ENV", "FAILED"]
    plain = service.prepare(Script.git(str(repository), "backend.py", environment=False))
    plain.wait("READY", 60)


def test_a_stop_while_the_environment_is_built(
    service: ScriptExecutionService, repository: Path, tmp_path: Path
) -> None:
    gate, wait = tmp_path / "gate", "import os, time\n    while not os.path.exists({!r}): time.sleep(0.05)"
    backend = repository / "backend.py"
    waits = f"def build_wheel(*arguments):\n    {wait.format(str(gate))}\n    return build(*arguments)\n"
    backend.write_text(f"{backend.read_text()}\n\nbuild = build_wheel\n\n{waits}")
    commit(repository)
    procedure = service.prepare(Script.git(str(repository), "scripts/observe.py"))
    until(lambda: procedure.state == "PREP_ENV")
    assert procedure.stop() == "PREP_ENV"
    gate.touch()
    assert procedure.wait(None, 120) == "STOPPED"
    assert procedure.look().reason.startswith("stopped by ")


def test_a_client_that_was_killed_while_it_built_the_environment(
    service: ScriptExecutionService, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, gate = tmp_path / "began", tmp_path / "gate"
    backend = repository / "backend.py"
    waits = (
        "def build_wheel(*arguments):\n    import pathlib, time\n"
        f"    pathlib.Path({str(began)!r}).touch()\n"
        f"    while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.05)\n    return build(*arguments)\n"
    )
    backend.write_text(f"{backend.read_text()}\n\nbuild = build_wheel\n\n{waits}")
    commit(repository)
    code = (
        "import sys\nfrom slurm.procedures import Script, ScriptExecutionService\n"
        "service = ScriptExecutionService(sys.argv[1], options={'time': '10'})\n"
        "service.prepare(Script.git(sys.argv[2], 'scripts/observe.py'))\n"
    )
    argv = [sys.executable, "-c", code, str(service.cluster.place.url.root), str(repository)]
    with subprocess.Popen(argv, start_new_session=True) as client:
        until(began.exists)
        os.killpg(client.pid, signal.SIGKILL)
    gate.touch()
    monkeypatch.setattr(listing, "ABANDONED_SECONDS", 5.0)
    monkeypatch.setattr(preparing, "_BEAT_SECONDS", 0.2)
    monkeypatch.setattr(building, "STALE_SECONDS", 0.5)
    until(lambda: service.summarise([1])[0].state == "READY")
    [claim] = [name for name in os.listdir(f"{service.cluster.place.store.root}/procedures") if "claim" in name]
    assert claim == "1.claim-1"
    assert service.procedure(1).run("where")[0] == "north"


def test_what_is_no_script_of_a_repository_is_refused(
    service: ScriptExecutionService, repository: Path, tmp_path: Path
) -> None:
    for url in ("ext::sh -c touch% x", "--upload-pack=touch", "nowhere", "https://ann:secret@host/x.git"):
        with pytest.raises(ScriptError, match=r"no URL of a repository|contains a password"):
            Script.git(url, "x.py")
    with pytest.raises(ScriptError, match="name one of branch, tag and commit"):
        Script.git(str(repository), "x.py", branch="main", tag="v1")
    with pytest.raises(ScriptError, match="not the path of a file in a repository"):
        Script.git(str(repository), "../x.py")
    url, path = str(repository), "scripts/observe.py"
    for script, words in (
        (Script.git(url, path, branch="nowhere"), "has no branch 'nowhere'"),
        (Script.git(url, path, branch="--upload-pack=x"), "no name of a branch or a tag"),
        (Script.git(url, path, commit="abc"), "write all 40 hexadecimal digits"),
        (Script.git(url, path, commit="0" * 40), "has no commit 0000"),
    ):
        with pytest.raises(ScriptError, match=words):
            service.prepare(script)
    with pytest.raises(ScriptError, match=r"has no file scripts/nothing\.py"):
        service.prepare(Script.git(str(repository), "scripts/nothing.py"))
    with pytest.raises(ScriptError, match="git ls-remote failed: "):
        service.prepare(Script.git(str(tmp_path / "away"), "x.py"))
    assert service.procedures() == []


def test_the_commands_of_ska_oso_oet(service: ScriptExecutionService, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "abort.py").write_text("def main(): pass")
    long = "from slurm.procedures import procedure\ndef main(): procedure.sleep(300)\n"
    (tmp_path / "long run.py").write_text(long)
    oet = ScriptExecutionService(on=service.cluster, abort=Script.file(tmp_path / "abort.py"), grace=1.0)
    manager, args = EnvironmentManager(oet), GitArgs(str(repository), git_branch="main")
    environment = manager.create_env(args)
    script = GitScript("git:///scripts/observe.py", args, create_env=True)
    made = oet.prepare(PrepareProcessCommand(script))
    oet.procedure(made.id).wait("READY", 120)
    with pytest.raises(EnvironmentInUse, match="is in use"):
        manager.delete_env(environment.env_id)
    assert oet.start(StartProcessCommand(made.id, "where")).script_args[-1].fn == "where"
    oet.procedure(made.id).wait("READY", 60)
    [stopped] = oet.stop(StopProcessCommand(made.id))
    assert (stopped.id, stopped.state) == (made.id, "STOPPED")
    oet.procedure(made.id).job.exception(60)
    manager.delete_env(environment.env_id)
    assert environment.env_id not in [each.key for each in manager.list_envs()]
    plain = oet.prepare(PrepareProcessCommand(FileSystemScript((tmp_path / "long run.py").as_uri())))
    text = oet.prepare(PrepareProcessCommand(EmbeddedStringScript(long)))
    oet.procedure(plain.id).wait("READY", 60)
    oet.start(StartProcessCommand(plain.id))
    found = oet.stop(StopProcessCommand(plain.id, run_abort=True))
    assert [each.script.path for each in found] == [str(tmp_path / "long run.py"), str(tmp_path / "abort.py")]
    oet.shutdown()
    assert [each.state for each in oet.summarise([plain.id, text.id])] == ["STOPPED", "STOPPED"]
    with pytest.raises(ScriptError, match="write file://PATH"):
        FileSystemScript("http://host/x.py").as_script()
