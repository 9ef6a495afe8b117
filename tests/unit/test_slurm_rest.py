"""slurmrestd: the fields of options in each version, and the meaning of answers. tests/slurmrest uses a real one.

tests/data/slurmrest has answers of slurmrestd 20.11.4, 22.05.8, 24.11.5 and 26.05.5, without fields that are not read.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from slurm.errors import OptionError
from slurm.options import NONE, Options
from slurm.protocol import Block
from slurm.schedulers.base import LAST_BLOCK, Dependency, Failure, Request, Site
from slurm.schedulers.rest import connection, job_fields
from slurm.schedulers.rest.commands import _is_unknown
from slurm.schedulers.rest.connection import Answer, Connection, RestError
from slurm.schedulers.slurm_rest import SlurmRestScheduler
from slurm.url import ClusterURL

DATA = Path(__file__).parent.parent / "data/slurmrest"
RECORDED = (36, 38, 42, 45)


def recorded(version: int, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"v0.0.{version}.json").read_text())[name]
    return found


def scheduler() -> SlurmRestScheduler:
    return SlurmRestScheduler(Site("python3", "/r/runner.zip"))


def fields(version: int, **options: str) -> dict[str, Any]:
    given = {name.replace("_", "-"): value for name, value in {"output": "/l", **options}.items()}
    job: dict[str, Any] = job_fields.submission(version, given, {"A": "b=c"}, "#!/bin/sh\n", "/r/script.sh")["job"]
    return job


@pytest.mark.parametrize("version", RECORDED)
def test_an_array_is_reported_by_its_parts(version: int) -> None:
    jobs = recorded(version, "job")["jobs"]
    id_ = str(recorded(version, "submit")["job_id"])
    found = {job_fields.tasks(job): job_fields.state(job["job_state"]) for job in jobs}
    assert found == {(id_, "2-4%2"): "PENDING", (id_, "0"): "RUNNING", (id_, "1"): "RUNNING"}
    assert {job_fields.number(job["submit_time"]) is not None for job in jobs} == {True}


@pytest.mark.parametrize("version", RECORDED[1:])
def test_the_accounting_has_exit_codes_and_signals(version: int) -> None:
    codes = [job_fields.finished(job)[1] for job in recorded(version, "db")["jobs"]]
    (signal,) = [job_fields.finished(job)[1] for job in recorded(version, "dbsignal")["jobs"]]
    assert codes == (["3:0", "3:0"] if version >= job_fields.STRUCTURED else ["", ""])
    assert signal == "0:9"
    assert sorted(job_fields.finished(job)[0].partition("_")[2] for job in recorded(version, "db")["jobs"]) == [
        "0",
        "1",
    ]


@pytest.mark.parametrize("version", RECORDED)
def test_errors_are_in_the_words_of_slurm(version: int) -> None:
    assert _is_unknown(Answer(500, json.dumps(recorded(version, "unknown"))))
    refused = Answer(500, json.dumps(recorded(version, "refused")))
    assert "Invalid partition name specified" in refused.words
    assert refused.numbers == [2000]
    assert not _is_unknown(refused)


def test_a_state_with_a_flag_is_the_flag() -> None:
    assert job_fields.state(["CANCELLED", "COMPLETING"]) == "COMPLETING"
    assert job_fields.state(["CANCELLED"]) == job_fields.state("CANCELLED") == "CANCELLED"
    assert job_fields.state([]) == "UNKNOWN"


def test_options_have_the_forms_of_the_version() -> None:
    options = {"time": "90:30", "mem": "2G", "gpus": "a100:2", "open_mode": "append", "exclusive": "", "nodes": "2"}
    assert fields(38, **options) == {
        "standard_output": "/l", "time_limit": 91, "memory_per_node": 2048, "gpus": "a100:2", "open_mode": "append",
        "exclusive": "exclusive", "nodes": "2", "environment": {"A": "b=c"},
    }  # fmt: skip
    assert fields(42, **options) == {
        "standard_output": "/l", "time_limit": {"set": True, "infinite": False, "number": 91},
        "memory_per_node": {"set": True, "infinite": False, "number": 2048}, "tres_per_job": "gres/gpu:a100:2",
        "open_mode": ["APPEND"], "shared": ["none"], "nodes": "2", "environment": ["A=b=c"], "argv": ["/r/script.sh"],
    }  # fmt: skip
    assert fields(39, gres="gpu:1,tmp:2")["tres_per_node"] == "gres:gpu:1,gres:tmp:2"
    assert fields(45, gres="shard:1", gpus_per_node="1")["tres_per_node"] == "gres/shard:1,gres/gpu:1"
    assert fields(42, time="UNLIMITED")["time_limit"] == {"set": True, "infinite": True, "number": 0}
    assert fields(38, time="UNLIMITED")["time_limit"] == 0xFFFFFFFF
    assert "standard_out" in fields(36)


def test_signals_mail_and_times() -> None:
    found = fields(42, signal="B:USR1@60", mail_type="END,TIME_LIMIT", begin="2037-01-02T03:04:05")
    assert (found["kill_warning_signal"], found["kill_warning_flags"]) == ("USR1", ["BATCH_JOB"])
    assert found["kill_warning_delay"]["number"] == 60
    assert found["mail_type"] == ["END", "TIME=100%"]
    assert found["begin_time"]["number"] == int(time.mktime((2037, 1, 2, 3, 4, 5, 0, 0, -1)))
    assert fields(38, signal="USR1@60", begin="now+1hour")["begin_time"] == "now+1hour"
    assert fields(39, begin="now+1hour")["begin_time"] >= time.time() + 3500
    with pytest.raises(RestError, match="'tomorrow' is not a time"):
        fields(45, begin="tomorrow")


@pytest.mark.parametrize("version", [36, 38])
@pytest.mark.parametrize(("name", "value"), [("nodelist", "n1"), ("signal", "B:USR1@60"), ("batch", "a")])
def test_an_option_that_the_version_lacks_is_refused_by_name(version: int, name: str, value: str) -> None:
    with pytest.raises(
        RestError, match=rf"v0\.0\.{version} of slurmrestd has no field for the option --{name}={value}"
    ):
        fields(version, **{name: value})


@pytest.mark.parametrize("version", [37, 38, 42, 45])
def test_dependents_of_failed_jobs_are_cancelled(version: int) -> None:
    found = fields(version, dependency="afterok:1")
    assert found.get("kill_on_invalid_dependency") is True or found["flags"] == ["KILL_INVALID_DEPENDENCY"]


def test_the_command_has_no_token_and_the_dependency_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JWT", "secret")
    request = Request(
        "/r/a b/script.sh", "key", "/r/%a.log", block=Block(first=0, count=3), options=Options.parse({"mem": "1G"}),
        dependencies=(Dependency("afterok", (LAST_BLOCK,)), Dependency("afterany", ("7", "8_1"))),
    )  # fmt: skip
    command = scheduler().submit_command(request)
    assert command[-1] == f"afterok:{LAST_BLOCK},afterany:7:8_1"
    text = json.loads(command[-2])
    assert text["options"] == {
        "output": "/r/%a.log", "open-mode": "append", "mem": "1G", "comment": "key", "array": "0-2",
    }  # fmt: skip
    assert not [word for word in command if "secret" in word]


def test_an_option_without_a_field_is_an_error() -> None:
    request = Request("/s", "key", "/l", block=Block(first=0, count=1), options=Options.parse({"clusters": "a,b"}))
    with pytest.raises(OptionError, match="--clusters=a,b: slurmrestd has no field"):
        scheduler().submit_command(request)
    raw = request.options.parse({"sbatch": {"--nice": "5"}})
    assert '"nice": "5"' in " ".join(scheduler().submit_command(Request("/s", "k", "/l", request.block, raw)))
    assert '"array"' not in " ".join(
        scheduler().submit_command(Request("/s", "k", "/l", Block(first=0, count=1, array=False), NONE))
    )


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("cannot reach slurmrestd at a:1: Connection refused", Failure.LATER),
        ("slurmrestd did not answer at a:1: timed out", Failure.UNKNOWN),
        ("slurmrestd: request not possible: there is no socket /x", Failure.REFUSED),
        ("slurmrestd v0.0.38: Batch job submission failed: Invalid partition name specified", Failure.REFUSED),
        (
            "slurmrestd v0.0.42: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            Failure.LATER,
        ),
        ("slurmrestd v0.0.42: Batch job submission failed: Unspecified error", Failure.UNEXPLAINED),
        ("slurmrestd v0.0.38: Batch job submission failed: Zero Bytes were transmitted or received", Failure.UNKNOWN),
    ],
)
def test_failures_tell_whether_a_job_may_be_queued(message: str, failure: Failure) -> None:
    assert scheduler().parse_failure(message) is failure


def _token(**claims: Any) -> str:
    return "a." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".c"


@pytest.mark.parametrize(
    ("token", "words"),
    [(_token(exp=1), "expired on 1970"), ("a b", "does not contain a token"), ("x\r\nX-Other: y", "does not contain")],
)
def test_a_token_that_cannot_be_valid_is_refused_and_not_shown(
    token: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(connection.ADDRESS, "login:6820")
    monkeypatch.setenv(connection.TOKEN, token)
    with pytest.raises(RestError, match=words) as caught:
        Connection()
    assert token not in str(caught.value)


def test_tcp_needs_a_token_and_a_socket_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv(connection.TOKEN, raising=False)
    monkeypatch.setenv(connection.ADDRESS, "login:6820")
    with pytest.raises(RestError, match="login:6820 needs a token"):
        Connection()
    monkeypatch.setenv(connection.ADDRESS, "unix:/run/slurmrestd.sock")
    assert Connection().prefix == ""
    monkeypatch.setenv(connection.ADDRESS, "https://login/slurm-api/")
    monkeypatch.setenv(connection.TOKEN, _token(exp=time.time() + 100))
    assert Connection().prefix == "/slurm-api"


def test_a_url_may_name_the_local_transport() -> None:
    assert ClusterURL.parse("slurmrest+local:///scratch/ann") == ClusterURL.parse("slurmrest:///scratch/ann")
    assert ClusterURL.parse("slurmrest+local://") == ClusterURL("slurmrest")
    assert ClusterURL.parse("slurmrest+ssh://ann@login").transport == "ssh"
