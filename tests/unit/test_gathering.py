"""Ranks: the context of each, and the outcome of their reports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from slurm.callbacks import Callback, RunEndEvent
from slurm.options import Options
from slurm.protocol import CALLBACKS, FAILED, PROCESS, RUN, SUCCEEDED
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.runner import gathering
from slurm.runner.callback_runner import HERE
from slurm.runner.job_context import JobContext
from slurm.runner.ranks import RankSaver, contexts, ranks_directory, variables
from slurm.schedulers.base import ntasks
from slurm.serialization.pickling import pickle_callbacks
from slurm.submission.requests import several_ranks
from unit.job_directories import Directory, pickled

OF_SRUN = {
    "SLURM_JOB_NODELIST": "no-such-node-[07-08].invalid",
    "SLURM_LAUNCH_NODE_IPADDR": "192.0.2.7",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "1",
    "SLURM_GTIDS": "5,6,7",
    "SLURM_NODEID": "1",
    "SLURM_CPUS_ON_NODE": "6",
}


def job(environ: Mapping[str, str]) -> JobContext:
    return JobContext.from_environment("/root", "work/1", 5, environ)


def test_a_rank_of_srun_reads_its_context_from_sruns_variables() -> None:
    (rank,) = contexts(job(OF_SRUN), 0, OF_SRUN)
    assert (rank.rank, rank.world_size, rank.local_rank, rank.local_world_size, rank.node_rank) == (6, 8, 1, 3, 1)
    assert rank.cpus == 2
    assert contexts(job(asked := {**OF_SRUN, "SLURM_CPUS_PER_TASK": "3"}), 0, asked)[0].cpus == 3
    named = variables(rank, OF_SRUN, alone=False)
    assert [named[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK")] == [*"68131"]
    assert named["MASTER_ADDR"] == "192.0.2.7"  # if only Slurm knows the first node's name


def test_ranks_of_one_machine_are_numbered() -> None:
    ranks = contexts(job({}), 3, {})
    assert [(rank.rank, rank.local_rank, rank.world_size, rank.node_rank) for rank in ranks] == [
        (n, n, 3, 0) for n in range(3)
    ]
    assert variables(ranks[1], {}, alone=True)["MASTER_ADDR"] == "127.0.0.1"


def test_the_meeting_point_is_equal_for_all_ranks_and_the_users_choice_is_kept() -> None:
    ranks = contexts(job(OF_SRUN), 4, OF_SRUN)
    ports = {variables(rank, OF_SRUN, alone=True)["MASTER_PORT"] for rank in ranks}
    others = {variables(ranks[0].replace(index=i), OF_SRUN, alone=True)["MASTER_PORT"] for i in range(1000)}
    assert len(ports) == 1
    assert len(others) == 1000
    assert all(20_000 <= int(port) < 32_000 for port in others)
    named = variables(ranks[0], {"MASTER_ADDR": "ib0.node", "MASTER_PORT": "29500"}, alone=False)
    assert (named["MASTER_ADDR"], named["MASTER_PORT"]) == ("ib0.node", "29500")


@pytest.mark.parametrize(
    ("options", "several", "count"),
    [
        ({}, False, 1),
        ({"ntasks": 1, "nodes": 2}, False, 1),
        ({"nodes": 1, "cpus_per_task": 8, "gpus": 2}, False, 1),
        ({"nodes": "1"}, False, 1),
        ({"sbatch": {"--ntasks": 4}}, False, 1),
        ({"ntasks": 4}, True, 4),
        ({"nodes": 2}, True, 2),
        ({"nodes": "2-4", "ntasks_per_node": 3}, True, 6),
        ({"nodes": "1-4"}, True, 1),
        ({"ntasks_per_node": 2}, True, 2),
        ({"gpus": 4, "gpus_per_task": 1}, True, 1),
        ({"ntasks": 1, "gather": True}, True, 1),
    ],
)
def test_options_that_request_several_tasks_start_ranks(options: dict[str, Any], several: bool, count: int) -> None:
    parsed = Options.parse(options)
    assert several_ranks(parsed) is several
    assert ntasks(parsed.get) == count


class Ranks:
    """The ranks of element 0 of a submission."""

    def __init__(self, root: Path, size: int = 3) -> None:
        self.directory = Directory(str(root)).create(pickled(os.getpid, ()))
        ranks = [self.directory.job().replace(rank=n, world_size=size) for n in range(size)]
        self.savers = [RankSaver(rank, gather=False, continues=False) for rank in ranks]

    def gather(self, status: int) -> int:
        argv = ["", str(status), self.directory.root, self.directory.key, "0", HERE, "1", "0", "1"]
        return gathering.main([*argv, *[CALLBACKS] * os.path.exists(f"{self.directory.path}/{CALLBACKS}")])


@pytest.fixture
def ranks(tmp_path: Path) -> Ranks:
    return Ranks(tmp_path / "root")


def test_without_all_reports_there_is_no_outcome_and_the_launchers_status_is_returned(ranks: Ranks) -> None:
    assert ranks.gather(137) == 137
    ranks.savers[0].success("a result")
    ranks.savers[2].success("another")
    assert ranks.gather(143) == 143
    assert ranks.directory.left[0] == []


def test_with_all_reports_the_outcome_is_a_success_and_the_reports_are_removed(ranks: Ranks) -> None:
    for number, saver in enumerate(ranks.savers):
        saver.success(number)
    assert ranks.gather(0) == 0
    assert ranks.directory.result() == 0
    outcome = ranks.directory.outcome()
    assert (outcome.succeeded, outcome.ranks, outcome.rank) == (True, 3, None)
    assert ranks.directory.left == (["0.json"], ["0.pkl"])
    assert ranks.gather(1) == 0  # an existing outcome is kept


class Recorder(Callback):
    """Writes down how the element ended."""

    def on_run_end(self, event: RunEndEvent) -> None:
        with open(f"{event.directory}/seen", "a") as file:
            print(event.index, event.outcome.status, file=file)


@pytest.mark.parametrize("fails", [False, True])
def test_hooks_are_called_once_with_the_outcome_of_all_ranks(ranks: Ranks, *, fails: bool) -> None:
    Path(f"{ranks.directory.path}/{CALLBACKS}").write_bytes(pickle_callbacks([Recorder()], reducers={}))
    for number, saver in enumerate(ranks.savers):
        saver.failure(RUN, ValueError("the cause")) if fails and number == 2 else saver.success(number)
    ranks.gather(int(fails))
    ranks.gather(int(fails))
    assert Path(f"{ranks.directory.path}/seen").read_text() == f"0 {FAILED if fails else SUCCEEDED}\n"


@pytest.mark.parametrize(
    ("died", "first"),
    [((2, 137), 2), ((2, 139), 2), ((2, 7), 2), ((2, 134), 1), ((2, 143), 1), (None, 1)],
    ids=["killed", "crashed", "exited", "aborted", "terminated", "none"],
)
def test_the_cause_is_the_first_exception_unless_a_process_died_by_itself(
    ranks: Ranks, died: tuple[int, int] | None, first: int
) -> None:
    ranks.savers[1].failure(RUN, ValueError("the cause"))
    ranks.savers[0].failure(RUN, ConnectionResetError("what came of it"))
    if died:
        ranks.savers[died[0]].died(died[1], out_of_memory=False)
    code = ranks.gather(1)
    outcome = ranks.directory.outcome()
    assert (outcome.rank, outcome.exit_code) == (first, code)
    assert outcome.phase == (RUN if first == 1 else PROCESS)
    assert isinstance(outcome.error, ErrorRecord) == (first == 1)


def test_the_first_report_of_a_rank_is_kept(ranks: Ranks) -> None:
    ranks.savers[1].success(1)
    before = os.listdir(ranks_directory(ranks.directory.job(), 1))
    ranks.savers[1].success(2)
    assert os.listdir(ranks_directory(ranks.directory.job(), 1)) == before == ["1.done"]
    text = Path(ranks_directory(ranks.directory.job(), 1), "1.done").read_bytes()
    assert Outcome.loads(text, where="").rank == 1
