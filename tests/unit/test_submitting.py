"""SchedulerClient.submit: how it interprets sbatch's output and exit status, and missing answers.

`sbatch`, `squeue` and `scancel` are fakes on PATH, because the real ones cannot be made to fail in these ways. The
client, its shell lines, the builders, the parsers and the transport are real.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import slurm.schedulers.client
from slurm.errors import ConnectionLost, SchedulerError, SubmissionRefused
from slurm.options import NONE
from slurm.protocol import Block, Submitted
from slurm.schedulers import refusals
from slurm.schedulers.base import LAST_BLOCK, Dependency, Failure, Request, Site, id_of_link
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.local import LocalScheduler
from slurm.schedulers.marks import tag
from slurm.schedulers.slurm import SlurmScheduler
from slurm.schedulers.submit_and_record import Link
from slurm.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.transports.base import Completed

KEY = "f/20260101T000000Z-00000000"
FAILED = "sbatch: error: Batch job submission failed: "
NO_ANSWER = (
    "sbatch: error: _fetch_child: failed to fetch remote configs: Unable to contact slurm controller (connect failure)"
)
NO_CONFIGURATION = (
    "sbatch: error: _establish_config_source: failed to fetch config\n"
    "sbatch: fatal: Could not establish a configuration source"
)
CONNECT_FAILURE = f'echo "{FAILED}Unable to contact slurm controller (connect failure)" >&2; exit 1'
UNKNOWN = {
    "killed": "kill -9 $$",
    "silent": "exit 0",
    "silent failure": "exit 1",
    "unknown message": f'echo "{FAILED}Unexpected message received" >&2; exit 1',
    "output of an unknown program": 'echo "Traceback (most recent call last):" >&2; exit 1',
    "lost answer": f'echo "{FAILED}Zero Bytes were transmitted or received" >&2; exit 1',
    "frozen controller": f'echo "{FAILED}Socket timed out on send/recv operation" >&2; exit 1',
    "unsent message": f'echo "{FAILED}Unable to contact slurm controller (send failure)" >&2; exit 1',
    "unauthenticated answer": f'echo "{FAILED}Protocol authentication error" >&2; exit 1',
    "an id as an error": "echo 7 >&2",
    "an id and a failure": "echo 7; exit 1",
    "an id and a refusal": f'echo 7; echo "{FAILED}Invalid qos specification" >&2; exit 1',
    "a refusal, then killed": f'echo "{FAILED}Invalid qos specification" >&2; kill -9 $$',
    "two numbers": "echo 7; echo 8",
    "a sentence": 'echo "Submitted batch job 7"',
    "part of an id": 'echo "7;"; echo "7;a/b"; echo "-7"; echo "7 8"; echo 0x7',
}


class Fakes(NamedTuple):
    """Fake commands, and a record of how they were called."""

    directory: Path

    def write(self, name: str, script: str) -> None:
        """Create a command that records its calls."""
        command = self.directory / "bin" / name
        count = shlex.quote(str(self.directory / f"{name}.count"))
        command.write_text(f'#!/bin/sh\necho "$*" >> {count}\ncd {shlex.quote(str(self.directory))}\n{script}\n')
        command.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        """The arguments of each call of a command."""
        path = self.directory / f"{name}.count"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def record(self) -> Path:
        return self.directory / "submitted.json"

    def request(self, block: Block) -> Request:
        """A request whose script exists."""
        made = request(block, str(self.directory))
        Path(made.script).parent.mkdir(parents=True, exist_ok=True)
        Path(made.script).touch()
        return made

    def submit(self, *, blocks: int = 1, patience: float = 60.0) -> list[str]:
        """Submit blocks of ten elements. Returns their ids."""
        client = SchedulerClient(SlurmScheduler(Site("python3", "")), LocalTransport())
        requests = [self.request(Block(first=10 * n, count=10)) for n in range(blocks)]
        submitted = client.submit(str(self.record), KEY, requests, patience=patience)
        assert Submitted.loads(self.record.read_bytes(), where="") == submitted
        return [block.id for block in submitted.blocks]


def request(block: Block, root: str = "/r") -> Request:
    return Request(
        script=f"{root}/jobs/{KEY}/script.sh", comment=tag(KEY, block), log="/dev/null", block=block, options=NONE
    )


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    made = Fakes(tmp_path)
    (tmp_path / "bin").mkdir()
    queue = 'echo "ARRAY_JOB_ID|COMMENT|COMMAND"; [ ! -e queue ] || cat queue'
    made.write("squeue", f'{{ {queue}; }} | case "$*" in *--jobs=*) tr "|" "\\037" ;; *) cat ;; esac')
    made.write("scancel", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(slurm.schedulers.client, "_BACKLOG", 0.0)
    return made


@pytest.mark.parametrize(
    ("script", "id_"),
    [
        ("echo 7", "7"),
        ('echo "7;big-1.site_a"', "7;big-1.site_a"),
        ('echo 7; echo "Charged to account physics: 3.2 SU"', "7"),
        ('echo "Welcome! 12 jobs of yours run."; echo; echo 7; echo "Bye"', "7"),
        ("printf ' 7 \\r\\n'", "7"),
        ("printf 7", "7"),
        ('echo "sbatch: lua: you have 3 jobs" >&2; echo 7', "7"),
    ],
)
def test_id_is_found_among_other_output(fakes: Fakes, script: str, id_: str) -> None:
    fakes.write("sbatch", script)
    assert fakes.submit() == [id_]
    assert (len(fakes.calls("sbatch")), fakes.calls("squeue"), fakes.calls("scancel")) == (1, [], [])


@pytest.mark.parametrize("end", UNKNOWN.values(), ids=UNKNOWN)
def test_possibly_queued_job_is_found_by_its_key(fakes: Fakes, end: str) -> None:
    fakes.write("sbatch", f'echo "41|{KEY} for ann|/bin/x" >> queue; {end}')
    assert fakes.submit() == ["41"]
    assert (len(fakes.calls("sbatch")), fakes.calls("scancel")) == (1, [])


@pytest.mark.parametrize("end", UNKNOWN.values(), ids=UNKNOWN)
def test_missing_job_is_not_resubmitted_and_the_refusal_is_not_certain(fakes: Fakes, end: str) -> None:
    (fakes.directory / "queue").write_text(f"3|{KEY}+10|\n4|other/1|\n5|(null)|/r/jobs/other/1/script.sh 0\n")
    fakes.write("sbatch", end)
    with pytest.raises(SubmissionRefused, match=KEY) as caught:
        fakes.submit()
    assert not caught.value.certain
    assert (len(fakes.calls("sbatch")), fakes.calls("scancel"), fakes.record.exists()) == (1, [], False)


ONE_OF_TWO = 'echo "CLUSTER: a"; echo "ARRAY_JOB_ID|COMMENT|COMMAND"; echo "squeue: error: b is down" >&2; exit 1'


@pytest.mark.parametrize(
    "squeue",
    ["exit 0", "exit 1", 'printf "ARRAY_JOB_ID|COMM"', "kill -9 $$", "sleep 30", ONE_OF_TWO],
    ids=["silent", "failing", "cut off", "killed", "hanging", "one of two clusters"],
)
def test_refusal_is_not_certain_if_the_queue_cannot_be_read(fakes: Fakes, squeue: str) -> None:
    fakes.write("squeue", squeue)
    fakes.write("sbatch", f'echo "{FAILED}Unspecified error" >&2; exit 1')
    with pytest.raises(SubmissionRefused, match="Unspecified error") as caught:
        fakes.submit()
    assert not caught.value.certain
    assert len(fakes.calls("sbatch")) == 1


def test_submit_now_raises_scheduler_error_if_the_queue_cannot_be_read(fakes: Fakes) -> None:
    fakes.write("squeue", "exit 1")
    fakes.write("sbatch", f'echo "{FAILED}Unspecified error" >&2; exit 1')
    client = SchedulerClient(SlurmScheduler(Site("python3", "")), LocalTransport())
    with pytest.raises(SchedulerError):
        client.submit_now(str(fakes.record), KEY, fakes.request(Block(first=0, count=1)), retry_job=None)


def test_job_is_found_while_another_cluster_does_not_answer(fakes: Fakes) -> None:
    fakes.write("squeue", f'echo "CLUSTER: big"; echo "ARRAY_JOB_ID|COMMENT|COMMAND"; echo "41|{KEY}|"; exit 1')
    fakes.write("sbatch", "kill -9 $$")
    assert fakes.submit() == ["41;big"]


def test_search_waits_for_a_job_that_appears_late(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.schedulers.client, "_BACKLOG", 60.0)
    fakes.write("squeue", f'echo "ARRAY_JOB_ID|COMMENT|COMMAND"; [ ! -e asked ] || echo "41|{KEY}|"; touch asked')
    fakes.write("sbatch", "kill -9 $$")
    assert fakes.submit() == ["41"]
    assert len(fakes.calls("squeue")) == 2


def test_hanging_sbatch_is_reported_and_times_out(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slurm.schedulers.client, "TIMEOUT", 0.5)
    monkeypatch.setattr(slurm.schedulers.client, "_SILENT", 0.1)
    fakes.write("sbatch", "sleep 60")
    with pytest.raises(SubmissionRefused, match="did not end within") as caught:
        fakes.submit()
    assert not caught.value.certain
    assert len(fakes.calls("sbatch")) == 1
    assert "the scheduler has not answered for 0.1 s; waiting" in caplog.messages


def test_job_with_a_changed_comment_is_found_by_its_script(fakes: Fakes) -> None:
    fakes.write("sbatch", f'echo "41|charged: physics|/r/jobs/{KEY}/script.sh 0" >> queue; kill -9 $$')
    assert fakes.submit() == ["41"]


@pytest.mark.parametrize("status", [0, 1, 255])
def test_known_refusal_is_certain_without_a_query(fakes: Fakes, status: int) -> None:
    fakes.write(
        "sbatch", f'echo "sbatch: error: pay first" >&2; echo "{FAILED}Invalid qos specification" >&2; exit {status}'
    )
    with pytest.raises(SubmissionRefused, match="pay first") as caught:
        fakes.submit()
    assert caught.value.certain
    assert (len(fakes.calls("sbatch")), fakes.calls("squeue"), fakes.calls("scancel")) == (1, [], [])


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_refusal_without_a_reason_is_certain_if_the_job_is_not_queued(fakes: Fakes, patience: float) -> None:
    fakes.write("sbatch", f'echo "{FAILED}Unspecified error" >&2; exit 1')
    with pytest.raises(SubmissionRefused) as caught:
        fakes.submit(patience=patience)
    assert caught.value.certain
    (fakes.directory / "queue").write_text(f"41|{KEY}|\n")
    assert fakes.submit(patience=patience) == ["41"]


def test_submission_is_retried_if_nothing_was_queued(fakes: Fakes) -> None:
    fakes.write("sbatch", f"if [ -e again ]; then echo 7; else touch again; {CONNECT_FAILURE}; fi")
    assert fakes.submit() == ["7"]
    assert len(fakes.calls("sbatch")) == 2


def test_refusal_is_certain_after_a_retry_that_queued_nothing(fakes: Fakes) -> None:
    refused = f'echo "{FAILED}Invalid qos specification" >&2; exit 1'
    fakes.write("sbatch", f"if [ -e again ]; then {refused}; else touch again; {CONNECT_FAILURE}; fi")
    with pytest.raises(SubmissionRefused) as caught:
        fakes.submit()
    assert caught.value.certain


@pytest.mark.parametrize("end", UNKNOWN.values(), ids=UNKNOWN)
def test_submission_without_patience_raises_scheduler_error_if_unclear(fakes: Fakes, end: str) -> None:
    fakes.write("sbatch", end)
    with pytest.raises(SchedulerError, match="did not report whether"):
        fakes.submit(patience=0.0)
    assert (len(fakes.calls("sbatch")), fakes.calls("scancel")) == (1, [])


REFUSAL = f'echo "{FAILED}Invalid qos specification" >&2; exit 1'


@pytest.mark.parametrize(
    ("end", "certain"),
    [(REFUSAL, True), *((end, False) for end in UNKNOWN.values())],
    ids=["refused", *UNKNOWN],
)
def test_refused_submission_cancels_exactly_its_queued_blocks(fakes: Fakes, end: str, certain: bool) -> None:
    first = f'echo "5|{KEY}|" >> queue; echo Note: 99; echo 5; exit'
    fakes.write(
        "sbatch", f'case "$*" in *--comment=*) {end}; exit ;; esac; {first}'
    )  # only later blocks have a comment
    with pytest.raises(SubmissionRefused) as caught:
        fakes.submit(blocks=3)
    assert caught.value.certain is certain
    assert [words.split()[-1] for words in fakes.calls("scancel")] == ["5"]
    assert (len(fakes.calls("sbatch")), fakes.record.exists()) == (2, False)


def test_refusal_is_not_certain_if_blocks_cannot_be_cancelled(fakes: Fakes) -> None:
    fakes.write("scancel", 'echo "scancel: error: Socket timed out" >&2; exit 1')
    fakes.write("sbatch", f'case "$*" in *--comment=*) {REFUSAL} ;; esac; echo "5|{KEY}|" >> queue; echo 5')
    with pytest.raises(SubmissionRefused, match="Invalid qos") as caught:
        fakes.submit(blocks=2)
    assert not caught.value.certain


def test_all_blocks_of_a_killed_sbatch_are_found(fakes: Fakes) -> None:
    later = f'echo "6|{KEY}+10|" >> queue; kill -9 $$'
    fakes.write("sbatch", f'case "$*" in *--comment=*) {later} ;; esac; echo "5|{KEY}|" >> queue; echo 5')
    assert fakes.submit(blocks=2) == ["5", "6"]
    assert fakes.calls("scancel") == []


TAKES = 'case "$*" in *~caretaker*) echo 9 ;; *) echo "$(wc -l < sbatch.count);big" ;; esac'


@pytest.mark.parametrize("taken", [0, 1])
def test_later_blocks_and_retry_job_go_to_the_cluster_of_the_previous_block(fakes: Fakes, taken: int) -> None:
    blocks = [Block(first=10 * n, count=10) for n in range(3)]
    waits = (Dependency("afterany", (LAST_BLOCK,)),)
    requests = [replace(fakes.request(block), dependencies=waits if block.first else ()) for block in blocks]
    retry_job = replace(requests[0], comment=f"{KEY}~caretaker", dependencies=waits)
    if taken:  # the second try finds the first block in the queue
        (fakes.directory / "queue").write_text(f"CLUSTER: big\nARRAY_JOB_ID|COMMENT|COMMAND\n1|{KEY}|\n")
        fakes.write("sbatch", f"[ -e again ] || {{ touch again; {CONNECT_FAILURE}; }}\n{TAKES}")
    else:
        fakes.write("sbatch", TAKES)
    client = SchedulerClient(SlurmScheduler(Site("python3", "")), LocalTransport())
    submitted = client.submit(str(fakes.record), KEY, requests, retry_job=retry_job, patience=60.0)
    waiting = [words for words in fakes.calls("sbatch") if "--dependency=" in words]
    assert len(waiting) == 5 - taken
    assert all("--clusters=big" in words for words in waiting)
    assert {block.id.partition(";")[2] for block in submitted.blocks} == {"big"}
    names = [block.id.partition(";")[0] for block in submitted.blocks]
    after = [words.partition("--dependency=afterany:")[2].split()[0] for words in waiting]
    assert sorted(set(after)) == sorted(names)


@pytest.mark.parametrize("reached", [1, 2])
def test_links_of_a_chain_whose_answer_is_lost_are_looked_for(fakes: Fakes, reached: int) -> None:
    keys = [f"{name}/20260101T000000Z-00000000" for name in ("f", "g")]
    block, first = Block(first=0, count=1), (Dependency("afterok", (id_of_link(0),)),)
    requests = [
        replace(fakes.request(block), comment=key, dependencies=after)
        for key, after in zip(keys, ((), first), strict=True)
    ]
    records = [str(fakes.directory / f"{number}.json") for number in (1, 2)]
    links = [Link(*each, None) for each in zip(records, keys, requests, strict=True)]
    # As if the connection broke when so many jobs were queued.
    marks = f"case $n in 1) key={keys[0]} ;; *) key={keys[1]} ;; esac"
    lists = f'[ $n -gt {reached} ] || echo "4$n|$key|/bin/x" >> queue'
    fakes.write("sbatch", f"n=$(wc -l < sbatch.count); {marks}; {lists}; echo 4$n")
    client = SchedulerClient(SlurmScheduler(Site("python3", "")), BreakingTransport())
    queued, answers = client.submit_chain(links)
    assert (queued, len(answers)) == ([], 2)
    fakes.write("sbatch", "echo 99")
    found = client.submit(records[0], keys[0], requests[:1], answer=answers[0])
    assert [each.id for each in found.blocks] == ["41"]
    assert "--dependency=afterok:41 " in fakes.calls("sbatch")[1]
    if reached == 2:
        found = client.submit(records[1], keys[1], requests[1:], answer=answers[1])
        assert [each.id for each in found.blocks] == ["42"]
    else:
        with pytest.raises(SubmissionRefused) as caught:
            client.submit(records[1], keys[1], requests[1:], answer=answers[1])
        assert not caught.value.certain
    assert len(fakes.calls("sbatch")) == 2


class BreakingTransport(LocalTransport):
    """Loses the connection when a script has run."""

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        done = super().run(argv, **options)
        if argv == ["sh", "-s"]:
            raise ConnectionLost("the connection broke")
        return done


def test_no_cluster_is_requested_if_the_id_names_none(fakes: Fakes) -> None:
    fakes.write("sbatch", "echo 7")
    waits = (Dependency("afterany", (LAST_BLOCK,)),)
    requests = [replace(fakes.request(Block(first=n, count=1)), dependencies=waits if n else ()) for n in range(2)]
    client = SchedulerClient(SlurmScheduler(Site("python3", "")), LocalTransport())
    client.submit(str(fakes.record), KEY, requests)
    assert "--dependency=afterany:7 " in fakes.calls("sbatch")[1]
    assert not any("--clusters" in words for words in fakes.calls("sbatch"))


def test_jobs_get_exported_variables_unchanged(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("output", "status", "id", "id0", "id1", "newline", "cluster", "name", "count")
    for name in names:
        monkeypatch.setenv(name, "set by the user")
    fakes.write("sbatch", "env >> environ; echo 7")
    fakes.submit(blocks=2)
    lines = (fakes.directory / "environ").read_text().splitlines()
    assert [line for line in lines if line.endswith("set by the user")].count("output=set by the user") == 2
    assert {line.partition("=")[0] for line in lines if line.endswith("=set by the user")} == set(names)
    assert not any(line.startswith(f"{name}=") and "set by the user" not in line for name in names for line in lines)


@pytest.mark.parametrize(
    "message",
    [
        "sbatch: error: invalid partition specified: nope\n" + FAILED + "Invalid partition name specified",
        FAILED + "Invalid account or account/partition combination specified",
        FAILED + "Requested node configuration is not available",
        "sbatch: error: Access/permission denied",
        "sbatch: unrecognized option '--foo'\nTry \"sbatch --help\" for more information",
        "sbatch: error: Invalid --time specification",
        'sbatch: error: "a" is not a valid node count',
        "sbatch: error: Invalid generic resource (gres) specification",
        "Invalid time specification (pos=0): foo\nsbatch: error: Invalid --begin specification",
        'sbatch: error: Invalid numeric value "abc" for --ntasks.',
        'sbatch: error: unrecognized --hint argument "foo", see --hint=help',
        "sbatch: error: invalid --profile=foo option",
        "sbatch: error: Invalid --nodefile node file",
        "sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.",
        "sbatch: error: 'nope' can't be reached now, or it is an invalid entry for --cluster.  Use 'sacctmgr …",
        "sbatch: error: Unable to open file /nope.sh",
        "sbatch: error: This does not look like a batch script.  The first",
        "sbatch: error: Batch script contains DOS line breaks (\\r\\n)",
        "sbatch: error: Invalid directive found in batch script: foo",
        FAILED + "Pathname of a file, directory or other parameter too long",
    ],
)
def test_refusals_of_sbatch_are_recognized(message: str) -> None:
    assert refusals.parse_failure(message) is Failure.REFUSED


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("sbatch: error: AssocMaxSubmitJobLimit\n" + FAILED + "Job violates accounting/QOS policy (…)", Failure.FULL),
        (FAILED + "Unable to contact slurm controller (connect failure)", Failure.LATER),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", Failure.UNKNOWN),
        (FAILED + "Resource temporarily unavailable", Failure.LATER),
        (FAILED + "Unspecified error", Failure.UNEXPLAINED),
        (FAILED + "Invalid authentication credential", Failure.UNKNOWN),
        (FAILED + "Message of a later Slurm", Failure.UNKNOWN),
        ("sbatch: error: Invalid --time specification\n" + FAILED + "Message receive failure", Failure.UNKNOWN),
        ("Invalid qos specification", Failure.UNKNOWN),
        (f"{NO_ANSWER}\n{NO_CONFIGURATION}", Failure.LATER),
        (f"sbatch: error: fetch_config: DNS SRV lookup failed\n{NO_CONFIGURATION}", Failure.REFUSED),
        ("Killed", Failure.UNKNOWN),
        ("", Failure.UNKNOWN),
    ],
)
def test_other_messages_of_sbatch_are_not_refusals(message: str, meaning: Failure) -> None:
    assert refusals.parse_failure(message) is meaning


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("the local scheduler refuses: --signal=FOO@30: expected a signal that this machine has", Failure.REFUSED),
        ("no answer from the local scheduler within 10 s; see /tmp/x/supervisor.log", Failure.UNKNOWN),
        ("Killed", Failure.UNKNOWN),
    ],
)
def test_only_refusals_of_the_local_scheduler_are_certain(message: str, meaning: Failure) -> None:
    assert LocalScheduler(Site("python3", "")).parse_failure(message) is meaning
