"""Calls through a real slurmrestd. `nox -s slurmrest` also runs tests of tests/end_to_end through it."""

from __future__ import annotations

import http.server
import json
import os
import pwd
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from slurm import Cluster, JobState, Retry, task, workflow
from slurm.cli.main import slurm as command_line
from slurm.errors import JobCancelled, OptionError, SubmissionRefused
from slurm.options import NONE
from slurm.protocol import Block
from slurm.schedulers.base import Request, Site
from slurm.schedulers.slurm_rest import SlurmRestScheduler
from slurm.storage.runner_zip import bundle
from testbed.slurmrest import USER, SlurmRestTestbed
from testbed.sshd import SSHTestbed
from waiting import until

pytestmark = pytest.mark.slurm


@pytest.fixture
def rest(slurmrest: SlurmRestTestbed, root: Path) -> Iterator[Cluster]:
    """An active cluster that uses the shared slurmrestd."""
    del slurmrest
    with Cluster("slurmrest", root=root) as cluster:
        yield cluster


@task
def square(number: int) -> int:
    return number * number


@task
def variables() -> dict[str, str]:
    return dict(os.environ)


@task
def wait_for(path: str) -> bool:
    until(Path(path).exists)
    return True


@workflow
def sum_of_squares(numbers: list[int]) -> int:
    return sum(square.map(numbers).results())


@pytest.mark.usefixtures("rest")
def test_a_workflow_submits_from_a_node() -> None:
    assert sum_of_squares([1, 2, 3]).result(120) == 14


@pytest.mark.usefixtures("rest")
def test_a_failed_element_alone_runs_again(tmp_path: Path) -> None:
    @task(retry=Retry(times=1, on=(ValueError,)))
    def once(number: int) -> int:
        mark = tmp_path / str(number)
        if number != 1 and not mark.exists():
            mark.touch()
            raise ValueError(number)
        return number

    assert once.map(range(3)).results(120) == [0, 1, 2]


@pytest.mark.usefixtures("rest")
def test_a_pending_job_that_is_cancelled_never_runs() -> None:
    held = square.with_options(hold=True)(2)
    until(lambda: held.status().state is JobState.PENDING)
    assert "held" in (held.status().reason or "") or "Held" in (held.status().reason or "")
    held.cancel()
    with pytest.raises(JobCancelled):
        held.result(60)


def test_options_are_those_of_sbatch(rest: Cluster, slurmrest: SlurmRestTestbed, root: Path) -> None:
    options: dict[str, Any] = {
        "cpus_per_task": 2, "mem": "300M", "time": "1:30:00", "nodes": "1-2", "ntasks": 2, "partition": "debug",
        "begin": "2037-01-02T03:04:05", "no_requeue": True, "comment": "mine", "nice": 7, "exclusive": True,
    }  # fmt: skip
    by_sbatch = Cluster("slurm", root=root)
    shown = []
    for cluster in (rest, by_sbatch):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in slurmrest.slurm.env.items():
                patch.setenv(name, value)
            job = square.with_options(**options).on(cluster)(3)
        text = slurmrest.slurm.run("scontrol", "show", "job", str(job.job_id)).stdout
        shown.append(dict(word.split("=", 1) for word in text.split() if "=" in word))
    same = (
        *("NumNodes", "NumCPUs", "NumTasks", "CPUs/Task", "MinMemoryNode", "TimeLimit", "StartTime", "EligibleTime"),
        *("Requeue", "Partition", "OverSubscribe", "Nice", "JobName", "Dependency", "UserId", "WorkDir"),
    )
    assert {name: shown[0][name] for name in same} == {name: shown[1][name] for name in same}
    assert shown[0]["StdOut"].rpartition("/")[2] == shown[1]["StdOut"].rpartition("/")[2]


@pytest.mark.usefixtures("rest")
def test_a_refusal_has_the_words_of_slurm_and_the_option() -> None:
    with pytest.raises(SubmissionRefused, match="Invalid partition name specified") as caught:
        square.with_options(partition="nope")(2)
    assert caught.value.certain
    assert caught.value.options == ("partition",)


@pytest.mark.usefixtures("rest")
def test_an_option_without_a_field_is_refused_before_anything_is_sent(slurmrest: SlurmRestTestbed) -> None:
    with pytest.raises(OptionError, match=r"--hint=nomultithread: slurmrestd has no field"):
        square.with_options(hint="nomultithread")(2)
    assert slurmrest.slurm.run("squeue", "-h").stdout == ""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "no address is given. Set SLURMTASKS_SLURMRESTD"),
        ("unix:/nowhere/slurmrestd.sock", "there is no socket unix:/nowhere/slurmrestd.sock"),
        ("login", "'login' is not an address of slurmrestd"),
        ("http://login:99999", "is not an address of slurmrestd"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused_at_once(
    rest: Cluster, monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    monkeypatch.setenv("SLURMTASKS_SLURMRESTD", address)
    with pytest.raises(SubmissionRefused) as caught:
        square.on(rest)(2)
    assert words in str(caught.value)
    assert caught.value.certain


def _forged(real: str) -> str:
    head, claims, signature = real.split(".")
    return ".".join([head, claims, signature[::-1]])


def test_a_wrong_token_is_refused_with_advice_and_not_shown(
    rest: Cluster, slurmrest: SlurmRestTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    monkeypatch.setenv("SLURMTASKS_SLURMRESTD_TOKEN_FILE", str(file))
    expired = slurmrest.new_token(1)
    time.sleep(1.1)  # until the token has expired
    for text, words in (
        (_forged(slurmrest.new_token()), "accept the token"),
        (expired, "expired on"),
        ("two words", "does not contain a token"),
    ):
        file.write_text(text)
        with pytest.raises(SubmissionRefused) as caught:
            square.on(rest)(2)
        assert words in str(caught.value)
        assert caught.value.certain
        assert text not in str(caught.value)
    file.write_text(slurmrest.new_token())
    file.chmod(0o644)
    with pytest.raises(SubmissionRefused, match="chmod 600"):
        square.on(rest)(2)
    assert slurmrest.slurm.run("squeue", "-h").stdout == ""


def test_a_token_in_the_variable_reaches_no_job(
    rest: Cluster, slurmrest: SlurmRestTestbed, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = slurmrest.new_token()
    monkeypatch.delenv("SLURMTASKS_SLURMRESTD_TOKEN_FILE")
    monkeypatch.setenv("SLURM_JWT", token)
    found = variables.on(rest)().result(60)
    assert found["SLURMTASKS_SLURMRESTD"] == slurmrest.address
    assert "SLURM_JWT" not in found
    assert token not in found.values()
    files = [path for path in root.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if token.encode() in path.read_bytes()]


class _OtherVersion(http.server.BaseHTTPRequestHandler):
    """A server that offers one version, which is newer than all that this package knows."""

    def do_GET(self) -> None:
        text = b"Unable to find requested URL endpoint. Please query the '/openapi/v3' endpoint"
        specification = json.dumps({"paths": {"/slurm/v0.0.99/jobs/": {}}}).encode()
        body = specification if self.path.startswith("/openapi") else text
        self.send_response(200 if body is specification else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name in the base class
        pass


def test_a_version_that_is_not_known_is_named(rest: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _OtherVersion) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SLURMTASKS_SLURMRESTD", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(SubmissionRefused, match=r"offers v0\.0\.99; this package knows v0\.0\.36 to v0\.0\.45"):
            square.on(rest)(2)
        server.shutdown()


def test_a_job_is_queued_once_the_daemon_is_back(rest: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    with SlurmRestTestbed() as own, pytest.MonkeyPatch.context() as patch:
        for name, value in own.env.items():
            patch.setenv(name, value)
        own.slurmrestd.terminate()
        with ThreadPoolExecutor() as threads:
            result = threads.submit(lambda: square.on(rest)(7).result(60))
            until(lambda: "cannot reach slurmrestd" in caplog.text)
            own.slurmrestd.start()
            assert result.result() == 49


def test_a_query_of_a_daemon_that_is_away_fails_with_its_address(
    rest: Cluster, slurmrest: SlurmRestTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = wait_for.on(rest)(str(tmp_path / "end"))
    with monkeypatch.context() as patch:
        patch.setenv("SLURMTASKS_SLURMRESTD", "127.0.0.1:1")
        trouble = rest.place.queue.client.query([str(job.job_id)]).trouble
    assert "cannot reach slurmrestd at 127.0.0.1:1: Connection refused" in str(trouble)
    (tmp_path / "end").touch()
    assert job.result(60)


def test_a_socket_needs_no_token(slurmrest: SlurmRestTestbed) -> None:
    """The plug-in rest_auth/local accepts connections of the user who runs slurmrestd."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("no Python is installed where other users can run it")
    user = pwd.getpwnam(USER)
    home = slurmrest.directory / "home"
    home.mkdir(mode=0o755)
    (home / "runner.zip").write_bytes(bundle().data)
    (home / "script.sh").touch()
    for path in (home, *home.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    scheduler = SlurmRestScheduler(Site(python, str(home / "runner.zip")))
    block = Block(first=4, count=1)
    request = Request(str(home / "script.sh"), "key", str(home / "log"), block=block, options=NONE)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "SLURMTASKS_SLURMRESTD": f"unix:{slurmrest.socket}"}

    as_user: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, env=env, cwd=home, capture_output=True, text=True, check=False, **as_user)

    done = run(scheduler.submit_command(request))
    assert scheduler.parse_submit(done.stdout), done.stderr
    found = scheduler.parse_status(run(scheduler.status_command([])).stdout)
    assert [report.comment for report in found or ()] == ["key"]


def test_over_ssh_the_settings_are_those_of_the_host(
    slurmrest: SlurmRestTestbed, root: Path, new_ssh: Callable[..., SSHTestbed], monkeypatch: pytest.MonkeyPatch
) -> None:
    new_ssh(environment={"PATH": os.environ["PATH"], **slurmrest.env})
    for name in ("SLURMTASKS_SLURMRESTD", "SLURMTASKS_SLURMRESTD_TOKEN_FILE"):
        monkeypatch.delenv(name)
    with Cluster("slurmrest+ssh://box", root=root):
        assert square.map(range(3)).results(60) == [0, 1, 4]


@pytest.mark.usefixtures("slurmrest")
def test_a_file_has_the_settings(
    slurmrest: SlurmRestTestbed, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "slurm-tasks/slurmrestd.conf"
    file.parent.mkdir()
    file.write_text(f"# of this site\naddress = {slurmrest.address}\ntoken_file={slurmrest.token_file}\n")
    for name in ("SLURMTASKS_SLURMRESTD", "SLURMTASKS_SLURMRESTD_TOKEN_FILE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with Cluster(f"slurmrest+local://{root}"):
        assert square(5).result(60) == 25


@pytest.mark.usefixtures("slurmrest")
def test_the_doctor_names_the_address_and_the_versions(slurmrest: SlurmRestTestbed, root: Path) -> None:
    found = CliRunner().invoke(command_line, ["doctor", f"slurmrest://{root}"])
    assert re.search(rf"by slurmrestd v0\.0\.\d+ at {slurmrest.address}, which offers (v0\.0\.\d+ )*", found.output)
