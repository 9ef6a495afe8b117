"""Schedulers: builders of commands, and parsers of their output."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.options import Options
from slurm.protocol import Block, Origin, Submitted
from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency, Request, Site, Target, numbers, ranges
from slurm.schedulers.ids import element_id
from slurm.schedulers.local import LocalScheduler
from slurm.schedulers.marks import tag
from slurm.schedulers.slurm import SlurmScheduler
from slurm.schedulers.submit_and_record import recording

if TYPE_CHECKING:
    from pathlib import Path

SLURM = SlurmScheduler(Site("/usr/bin/python3", "/root/runner.zip"))


def request(
    options: Options | None = None, *, dependencies: tuple[Dependency, ...] = (), first: int = 0, count: int = 10
) -> Request:
    return Request(
        script="/r/script.sh",
        comment=tag("f/1", Block(first=first, count=count)),
        log="/r/logs/%a.log",
        block=Block(first=first, count=count),
        options=options or Options.parse({}),
        dependencies=dependencies,
    )


@given(st.sets(st.integers(0, 300), min_size=1))
def test_numbers_expands_the_output_of_ranges(some: set[int]) -> None:
    assert numbers(ranges(some)) == sorted(some)
    assert numbers(f"[{ranges(some)}%7]") == sorted(some)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 9))
def test_numbers_expands_steps_as_range_does(low: int, span: int, step: int) -> None:
    assert numbers(f"{low}-{low + span}:{step}") == list(range(low, low + span + 1, step))


@pytest.mark.parametrize(("some", "text"), [({0}, "0"), ({0, 1, 2, 3, 7}, "0-3,7"), ({5, 4, 9, 8}, "4-5,8-9")])
def test_ranges_joins_consecutive_numbers(some: set[int], text: str) -> None:
    assert ranges(some) == text


def test_ids_unknown_recognizes_only_the_message_about_invalid_ids() -> None:
    assert SLURM.ids_unknown("slurm_load_jobs error: Invalid job id specified")
    assert not SLURM.ids_unknown("slurm_load_jobs error: Socket timed out on send/recv operation")


@pytest.mark.parametrize(
    ("message", "transient"),
    [
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", False),
        ("sbatch: error: invalid partition specified: gpu", False),
        ("", False),
    ],
)
def test_is_transient_recognizes_temporary_failures_only(message: str, transient: bool) -> None:
    assert SLURM.is_transient(message) is transient


def test_parse_find_returns_ids_and_comments() -> None:
    output = "12|f/1 for ann|bob\n12|f/1 for ann|bob\n13|f/1+1000 for ann\n14|(null)\n15|\n"
    assert list(SLURM.parse_find(output) or ()) == [
        ("12", "f/1 for ann|bob"),
        ("13", "f/1+1000 for ann"),
        ("14", "(null)"),
        ("15", ""),
    ]


def test_parse_find_uses_comments_and_scripts_of_each_cluster() -> None:
    output = (
        "CLUSTER: big\nARRAY_JOB_ID|COMMENT|COMMAND\n"
        "12|f/1+10 for ann|bob|/r 1/jobs/f/1/script.sh 10\n"
        "13|charged|/r 1/jobs/f/1/script.sh 10\n"
        "14|f/1~0.1-abc|/r 1/jobs/f/1/script.sh 0 1\n"
        "15|(null)|/r 1/jobs/f/1/script.sh 0 1\n"
        "16|(null)|/r 1/jobs/f/1/script.sh\n"
        "17|f/2|(null)\n"
        "\nCLUSTER: small\nARRAY_JOB_ID|COMMENT|COMMAND\n12|(null)|/r/jobs/g/3/script.sh 0\n"
    )
    found = list(SLURM.parse_find(output) or ())
    assert [pair for pair in found if pair[1].startswith(("f/", "g/"))] == [
        ("12;big", "f/1+10 for ann|bob"),
        ("13;big", "f/1+10"),
        ("14;big", "f/1~0.1-abc"),  # by its comment only: attempts have the same script
        ("17;big", "f/2"),
        ("12;small", "g/3"),
    ]


@pytest.mark.parametrize(
    "output", ["", "squeue: nothing to see\n", "ARRAY_JOB_ID|COMM", "ARRAY_JOB_ID|COMMENT|COMMAND\n12|f/1"]
)
def test_parse_find_returns_none_for_truncated_output(output: str) -> None:
    assert SLURM.parse_find(output) is None


def test_parse_find_returns_nothing_for_an_empty_queue() -> None:
    found = SLURM.parse_find("ARRAY_JOB_ID|COMMENT|COMMAND\n")
    assert found is not None
    assert list(found) == []


def test_block_without_an_array_is_submitted_as_a_plain_job() -> None:
    block = Block(first=7, count=1, array=False)
    argv = SLURM.submit_command(dataclasses.replace(request(), block=block))
    assert not any(word.startswith("--array") for word in argv)
    lines = SLURM.directives(Options.parse({"max_concurrent": 3}), tag="f/1", log="/r/0.log", block=block)
    assert not any("--array" in line for line in lines)


@pytest.mark.parametrize(
    ("block", "id_"),
    [
        (Block(id="12", first=3, count=5), "12_4"),
        (Block(id="12;big", first=3, count=5), "12_4;big"),
        (Block(id="12", first=7, count=1, array=False), "12"),
        (Block(id="12;big", first=7, count=1, array=False), "12;big"),
    ],
)
def test_element_id_keeps_the_cluster(block: Block, id_: str) -> None:
    assert element_id("slurm", block, 7) == id_


@pytest.mark.parametrize(
    ("output", "size"),
    [
        ("Configuration data as of 2026\nMaxArraySize            = 1001\nMaxJobCount = 10000\n", 1001),
        ("MaxArraySize=4000001", 4000001),
        ("MaxArrayTasks = 7\n", 1001),
        ("", 1001),
    ],
)
def test_max_array_size_is_read_from_the_configuration_or_the_default(output: str, size: int) -> None:
    assert SLURM.parse_max_array_size(output) == size


def test_submit_command_tags_later_blocks_with_their_offset() -> None:
    options = Options.parse({"max_concurrent": 3, "comment": "for ann"})
    argv = list(SLURM.submit_command(request(options, first=1000)))
    assert argv[argv.index("sbatch") :] == [
        "sbatch",
        "--parsable",
        "--array=0-9%3",
        "--output=/r/logs/%a.log",
        "--comment=f/1+1000 for ann",
        "/r/script.sh",
        "1000",
    ]
    assert not any(word.startswith("--comment") for word in SLURM.submit_command(request(options)))  # the script has it


def test_submit_command_joins_dependencies_and_removes_jobs_that_cannot_run() -> None:
    dependencies = (Dependency("afterok", ("12;big", "13_4")), Dependency("aftercorr", ("14",)))
    argv = SLURM.submit_command(request(dependencies=dependencies))
    assert "--dependency=afterok:12:13_4,aftercorr:14" in argv
    assert "--kill-on-invalid-dep=yes" in argv


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an `sbatch` and a `squeue` that print their arguments and environment first on PATH."""
    for name in ("sbatch", "squeue"):
        program = tmp_path / name
        program.write_text(
            f"#!{sys.executable} -S\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
        )
        program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


@pytest.mark.usefixtures("stub")
def test_submit_command_unsets_sbatch_variables_of_given_options(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("TIMELIMIT", "MEM_PER_NODE", "PARTITION", "SIGNAL", "GRES_FLAGS")
    ours = ("ARRAY_INX", "JOB_NAME", "OPEN_MODE", "WAIT", "INPUT", "OUTPUT", "ERROR")
    for name in (*given, *ours, "ACCOUNT", "QOS"):
        monkeypatch.setenv(f"SBATCH_{name}", "theirs")
    monkeypatch.setenv("SLURM_EXIT_ERROR", "127")
    options = {"time": 5, "mem": "1G", "partition": "gpu", "signal_lead": 60, "sbatch": {"--gres-flags": "x"}}
    argv = SLURM.submit_command(request(Options.parse(options)))
    _, environ = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    assert {name for name in environ if name.startswith("SBATCH_")} == {"SBATCH_ACCOUNT", "SBATCH_QOS"}
    assert "SLURM_EXIT_ERROR" not in environ


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize(
    ("exported", "option", "expected"),
    [
        ({}, "", []),
        ({"SBATCH_CLUSTERS": "big"}, "", ["--clusters=big"]),
        ({"SBATCH_CLUSTERS": "big", "SLURM_CLUSTERS": "small"}, "", ["--clusters=small"]),
        ({"SLURM_CLUSTERS": "small"}, "a,b", ["--clusters=a,b"]),
    ],
)
def test_find_command_searches_the_clusters_that_sbatch_uses(
    exported: dict[str, str], option: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SBATCH_CLUSTERS", "SLURM_CLUSTERS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    found = SLURM.find_command(option)
    argv, environ = json.loads(subprocess.run(found, capture_output=True, check=True).stdout)
    assert "SLURM_CLUSTERS" not in environ
    assert [word for word in argv if word.startswith("--clusters")] == expected
    assert "--noheader" not in argv


@pytest.mark.usefixtures("stub")
def test_commands_ignore_exported_variables_for_slurm_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "SQUEUE_FORMAT",
        "SQUEUE_NEW_IN_THE_NEXT_RELEASE",
        "SACCT_FEDERATION",
        "SCANCEL_STATE",
        "SINFO_SORT",
        "SCONTROL_ALL",
        "SACCTMGR_X",
    ]
    names += ["SLURM_CLUSTERS", "SLURM_BITSTR_LEN", "SLURM_TIME_FORMAT", "LC_ALL", "CDPATH", "GREP_OPTIONS"]
    for name in names:
        monkeypatch.setenv(name, "theirs\nSLURM_CONF=theirs")
    monkeypatch.setenv("SLURM_CONF", "mine")
    _, output = subprocess.run(SLURM.status_command(["12"]), capture_output=True, check=True).stdout.split(b"\n", 1)
    argv, environ = json.loads(output)
    assert not any("theirs" in value for value in environ.values())
    assert (environ["SLURM_CONF"], environ["SLURM_BITSTR_LEN"], environ["SLURM_TIME_FORMAT"]) == ("mine", "0", "%s")
    assert argv[-1] == "--jobs=12"


def test_ids_and_keys_are_not_interpreted_by_the_shell(stub: Path, tmp_path: Path) -> None:
    touch = f"touch${{IFS}}{tmp_path}/ran"  # ids and keys contain no blanks
    odd = f"12$({touch})`{touch}`;{touch};)'\"*"
    cluster = f"big; touch {tmp_path}/ran"
    answer = f"ARRAY_JOB_ID\x1fCOMMENT\x1fCOMMAND\n13\x1ff/1\x1f/x\n{odd}\x1f{odd}\x1f/x\n"
    (tmp_path / "answer").write_text(answer)
    for name, does in (("squeue", "cat {0}/answer"), ("scancel", 'printf "%s\\n" "$@" > {0}/cancelled')):
        (stub / name).write_text(f"#!/bin/sh\n{does.format(shlex.quote(str(tmp_path)))}\n")
        (stub / name).chmod(0o700)
    script = SLURM.cancel_script([Target(odd, None, odd), Target("13", [1, 2], "f/1")], cluster=cluster)
    done = subprocess.run(["sh", "-s"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "cancelled").read_text().splitlines() == ["--quiet", f"--clusters={cluster}", "13_[1-2]", odd]
    for command in (SLURM.status_command([odd], cluster=cluster), SLURM.accounting_command([odd], cluster=cluster)):
        subprocess.run(command, capture_output=True, check=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("name", ["SBATCH_CLUSTERS", "SLURM_CLUSTERS"])
def test_submit_command_selects_the_cluster_of_a_request(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "theirs")
    dependent = replace(request(dependencies=(Dependency("afterok", ("12_3;big",)),)), cluster="big")
    argv, environ = json.loads(subprocess.run(SLURM.submit_command(dependent), capture_output=True, check=True).stdout)
    assert {"--clusters=big", "--dependency=afterok:12_3"} <= set(argv)
    assert name not in environ
    asked = request(Options.parse({"clusters": "big,small"}))
    _, environ = json.loads(subprocess.run(SLURM.submit_command(asked), capture_output=True, check=True).stdout)
    assert name not in environ


def test_local_parse_status_reads_identity_and_reports() -> None:
    scheduler = LocalScheduler(Site("/usr/bin/python3", "/root/runner.zip"))
    first = "name=0123456789abcdef boot=17-22 host=my box"
    (report,) = scheduler.parse_status(f"{first}\n7\x1f0-2,5\x1fRUNNING\x1fbox\x1fa|b\x1ff/1 c\n") or ()
    assert (report.id, report.tasks, report.state) == ("7", [0, 1, 2, 5], JobState.RUNNING)
    assert (report.node, report.reason, report.comment) == ("box", "a|b", "f/1 c")
    assert scheduler.parse_origin(f"{first}\n") == Origin(cluster="0123456789abcdef", host="my box", boot="17-22")
    assert [scheduler.parse_status(output) for output in ("", "7\n", first, f"{first}\n7")] == [None] * 4
    assert scheduler.parse_status(f"{first}\n") == []


def test_record_written_by_several_processes_is_always_complete(tmp_path: Path) -> None:
    record = tmp_path / "job röot" / "submitted.json"
    record.parent.mkdir()
    lines = [recording("slurm", str(record), [Block(first=0, count=1)], [id_]) for id_ in ("1", "22")]
    loops = [["sh", "-c", f"for i in $(seq 40); do {line} || exit; done"] for line in lines]
    writers = [subprocess.Popen(loop, stderr=subprocess.PIPE, text=True) for loop in loops]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen |= {record.read_bytes()} if record.exists() else set()
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    assert {Submitted.loads(data, where=str(record)).blocks[0].id for data in seen} <= {"1", "22"}
    assert os.listdir(record.parent) == [record.name]


def test_a_refusal_names_the_partitions_and_the_largest_node_from_one_command() -> None:
    assert SLURM.offers_command("other", ["qos"])[-2:] == ["other", "qos"]
    output = (
        "part|debug*|1:00:00|2|4|2000|(null)\nCLUSTER: other\npart|gpu|infinite|1|8|64000|gpu:a100:4\n"
        "part|gpu|infinite|3|16+|32000+|(null)\n"
    )
    assert SLURM.parse_offers(output) == (
        "Partitions: debug (default): 2 nodes, up to 4 CPUs, 2000 MB, time limit 1:00:00; "
        "gpu: 4 nodes, up to 16 CPUs, 32000 MB, time limit infinite. Largest node: 16 CPUs, 32000 MB"
    )
    many = "".join(f"part|p{number}|1:00|1|1|1|\n" for number in range(20))
    assert SLURM.parse_offers(many).count("time limit") == 8
    assert "; and 12 others. Largest" in SLURM.parse_offers(many)
    assert SLURM.parse_offers("sinfo: error: no answer\n") == ""


@pytest.mark.parametrize(
    ("words", "given", "expected"),
    [  # each as sbatch 22.05 prints it, without its "sbatch: error: "
        ("Invalid generic resource (gres) specification", {"gres": "foo:1", "mem": "1G"}, ["gres"]),
        ("Invalid generic resource (gres) specification", {"gpus": 1}, ["gpus"]),
        (
            "Batch job submission failed: Requested node configuration is not available",
            {"gpus": 9, "qos": "a"},
            ["gpus"],
        ),
        (
            (
                "Memory specification can not be satisfied\nsbatch: error: Batch job submission failed: Requested node "
                "configuration is not available"
            ),
            {"gpus": 1, "mem": "9T"},
            ["mem"],
        ),
        ("Requested mem_per_tres=gres:gpu:1024 but did not request any GPU.", {"mem_per_gpu": "1G"}, ["mem_per_gpu"]),
        (
            (
                "Failed to validate job spec. --gpus-per-task used without either --gpus or -n/--ntasks is not "
                "allowed.\n"
                "sbatch: error: Invalid generic resource (gres) specification"
            ),
            {"gpus_per_task": 1, "gres": "gpu:1"},
            ["gpus_per_task"],
        ),
        ("Batch job submission failed: Invalid license specification", {"licenses": "matlab:1"}, ["licenses"]),
        ("Batch job submission failed: Invalid feature specification", {"constraint": "fast"}, ["constraint"]),
        ("Batch job submission failed: Invalid preferred feature specification", {"prefer": "fast"}, ["prefer"]),
        ("Batch job submission failed: Invalid qos specification", {"qos": "high", "time": 5}, ["qos"]),
        (
            "Batch job submission failed: Invalid account or account/partition combination specified",
            {"partition": "debug"},
            ["partition"],
        ),
        ("Batch job submission failed: Invalid account or account/partition combination specified", {}, ["account"]),
        ("Batch job submission failed: Requested reservation is invalid", {"reservation": "x"}, ["reservation"]),
        ("Batch job submission failed: More processors requested than permitted", {"nodes": 99}, ["nodes"]),
        ("Batch job submission failed: Invalid node name specified", {"nodelist": "n9"}, ["nodelist"]),
        ("Batch job submission failed: Requested time limit is invalid (…)", {"time": 5}, ["time"]),
        ('Invalid numeric value "x" for --switches.', {"switches": "x"}, ["switches"]),
        ("invalid partition specified: nope", {"sbatch": {"--partition": "nope"}}, ["partition"]),
        ("Unspecified error", {"mem": "1G"}, []),
    ],
)
def test_a_refusal_names_its_options(words: str, given: dict[str, object], expected: list[str]) -> None:
    assert list(SLURM.refused_options(f"sbatch: error: {words}", Options.parse(given))) == expected
