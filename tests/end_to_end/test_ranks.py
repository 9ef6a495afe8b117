"""Tasks that run once per rank: ranks find one another, one result is made of theirs, one that fails ends all."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurm import Callback, Cluster, JobCancelled, Retry, TaskExited, current_job, task
from slurm.callbacks import CompletedEvent, RunBeginEvent, RunEndEvent
from slurm.errors import OptionError
from testbed import SlurmTestbed
from waiting import until


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def here(request: pytest.FixtureRequest, root: Path) -> Iterator[Cluster]:
    """The active cluster: what starts ranks lies below the transport."""
    if request.param == "slurm":
        request.getfixturevalue("slurm_env")
    with Cluster(request.param, root=root) as cluster:
        yield cluster


@task(nodes=2, ntasks=4, gather=True)
def meet(base: int) -> Any:
    """Rank 0 adds up what the others bring to where all of them look for it, and tells them.

    A list of rank, sum, ranks on the node, nodes.
    """
    ctx = current_job()
    print(f"here is rank {ctx.rank}")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    assert (rank, size, ctx.local_rank) == (ctx.rank, ctx.world_size, int(os.environ["LOCAL_RANK"]))
    assert (rank, ctx.node_rank) == (int(os.environ["SLURM_PROCID"]), int(os.environ["NODE_RANK"]))
    if rank:
        return rank, brought(place, base + rank), ctx.local_world_size, ctx.hosts
    with socket.create_server(place) as server:
        peers = [server.accept()[0] for _ in range(size - 1)]
    total = base + sum(int(peer.recv(100)) for peer in peers)
    for peer in peers:
        peer.sendall(b"%d" % total)
        peer.close()
    return rank, total, ctx.local_world_size, ctx.hosts


def brought(place: tuple[str, int], number: int) -> int:
    end = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(place, timeout=30) as peer:
                peer.sendall(b"%d" % number)
                return int(peer.recv(100))
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.slurm
def test_ranks_are_started_with_the_words_for_srun(slurm_env: SlurmTestbed, root: Path) -> None:
    with Cluster("slurm", root=root):
        job = meet.with_options(srun={"label": True, "cpu_bind": "none"})(1)
        job.result(60)
        assert "0: here is rank 0" in job.logs()
    for wrong in ({"ntasks": 3}, ["--label"], {"a b": 1}, "label"):
        with pytest.raises(OptionError, match="option srun"):
            meet.with_options(srun=wrong)  # type: ignore[arg-type]


@task
def alone() -> tuple[list[str], str]:
    with socket.create_server((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))):
        return [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")], os.environ["MASTER_PORT"]


def test_one_process_can_be_its_own_master(cluster: Cluster) -> None:
    (variables, port), (again, other) = alone().result(60), alone().result(60)
    assert variables == again == ["0", "1", "0"]
    assert port != other


def test_ranks_meet_at_the_master_and_all_results_are_had(cluster: Cluster) -> None:
    array = meet.map([10, 100])
    for job, result, base in zip(array, array.results(60), (10, 100), strict=True):
        hosts = result[0][3]
        assert [found[:2] for found in result] == [(rank, 4 * base + 6) for rank in range(4)]
        assert {found[3] for found in result} == {hosts}
        assert sum(1 / found[2] for found in result) == pytest.approx(len(hosts))
        assert [f"here is rank {rank}\n" in job.logs(rank) for rank in range(4)] == [True] * 4
        assert "here is rank 1" not in job.logs()
        results = Path(job.directory, "results")
        until(lambda: sorted(os.listdir(results)) == ["0.pkl", "1.pkl"])  # noqa: B023 - called here and now
    alone = meet.with_options(nodes=None, ntasks=1)(5)
    assert [found[:3] for found in alone.result(60)] == [(0, 5, 1)]


@task(ntasks_per_node=2, nodes=2)
def fail(marks: Path, how: str) -> int:
    """The last rank fails, while the others wait for what never comes, with a hand over their ears."""
    ctx = current_job()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (marks / f"{ctx.rank}.{os.getpid()}.{os.getppid()}").touch()
    until(lambda: len(list(marks.glob("[0-3].*"))) == ctx.world_size, 30)
    if ctx.rank < ctx.world_size - 1:
        time.sleep(300)
    if how == "raise":
        raise LookupError(f"of rank {ctx.rank}")
    os.kill(os.getpid(), signal.SIGKILL)
    return ctx.rank


def left(marks: Path) -> list[str]:
    """The processes of `fail` that still run."""
    return [pid for path in marks.glob("[0-3].*") for pid in path.name.split(".")[1:] if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_failed_rank_ends_the_others(here: Cluster, tmp_path: Path, how: str) -> None:
    job = fail(tmp_path, how)
    error = job.exception(60)
    assert len(list(tmp_path.glob("[0-3].*"))) == 4
    assert left(tmp_path) == []
    if how == "raise":
        assert isinstance(error, LookupError)
        assert str(error) == "of rank 3"
        (note,) = error.__notes__
        assert "rank 3 of 4 of job fail/" in note
        assert note.endswith("/logs/0.3.log")
        assert "LookupError: of rank 3" in job.logs(3)
    else:
        assert isinstance(error, TaskExited)
        assert error.signal == signal.SIGKILL
        assert "rank 3 of 4 of job fail/" in str(error)
    assert "rank 3 of 4, on " in job.logs()
    outcome = job.status().outcome
    assert outcome is not None
    assert (outcome.rank, outcome.ranks) == (3, 4)


@task(ntasks=2)
def break_off() -> None:
    """Rank 1 is killed in the midst of what rank 0 hears from it."""
    ctx = current_job()
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if ctx.rank == 0:
        with socket.create_server(place) as server:
            peer = server.accept()[0]
            while True:
                if not peer.recv(1):
                    raise ConnectionResetError("the other one is gone")
    brought_nothing(place)


def brought_nothing(place: tuple[str, int]) -> None:
    while True:
        try:
            with socket.create_connection(place, timeout=30):
                os.kill(os.getpid(), signal.SIGKILL)
        except ConnectionRefusedError:
            time.sleep(0.02)


def test_error_is_that_of_the_killed_rank(local: Cluster) -> None:
    for _ in range(3):
        error = break_off().exception(60)
        assert isinstance(error, TaskExited)
        assert "rank 1 of 2 of job break_off/" in str(error)


@task(ntasks=3, gather=True, retry=Retry(times=1, on=KeyError))
def restore() -> Any:
    """Fails in its first attempt, when all ranks have saved something."""
    ctx = current_job()
    if ctx.attempt == 1:
        ctx.checkpoint(ctx.rank * 10)
        (ctx.output_directory() / str(ctx.rank)).touch()
        until(lambda: len(os.listdir(ctx.output_directory())) == ctx.world_size, 30)
        if ctx.rank == 1:
            raise KeyError("the first time")
        time.sleep(300)
    return ctx.restored, ctx.attempt


@task(nodes=2, ntasks=3, gather=True, no_requeue=True, time="00:10:00", signal_lead=60)
def stop(marks: Path) -> Any:
    """Waits to be told to stop, in all ranks; the second time there is no need to."""
    ctx = current_job()
    if ctx.restored is None:
        (marks / f"{ctx.rank}").touch()
        until(lambda: ctx.should_stop, 100)
        ctx.checkpoint({"rank": ctx.rank})
    return ctx.restored, ctx.attempt


@pytest.mark.slurm
def test_all_ranks_stop_and_continue(slurm_env: SlurmTestbed, root: Path, tmp_path: Path) -> None:
    with Cluster("slurm", root=root):
        job = stop(tmp_path)
        until(lambda: len(list(tmp_path.glob("[0-9]"))) == 3)
        slurm_env.run("scancel", "--batch", "--signal=USR1", str(job.job_id))
        assert job.result(60) == [({"rank": rank}, 2) for rank in range(3)]


def test_all_ranks_are_told_to_stop_and_go_on_here(local: Cluster, tmp_path: Path) -> None:
    job = stop.with_options(signal_lead=598)(tmp_path)
    assert job.result(60) == [({"rank": rank}, 2) for rank in range(3)]


@task(nodes=2, ntasks=3)
def wait(marks: Path) -> None:
    ctx = current_job()
    (marks / f"{ctx.rank}.{os.getpid()}.{os.getppid()}").touch()
    time.sleep(300)


def test_cancelled_job_leaves_no_rank_running(here: Cluster, tmp_path: Path) -> None:
    job = wait(tmp_path)
    until(lambda: len(list(tmp_path.glob("[0-2].*"))) == 3)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(60)
    until(lambda: left(tmp_path) == [])


def test_rank_ends_with_its_parent_process(here: Cluster, tmp_path: Path) -> None:
    job = wait(tmp_path)
    until(lambda: len(list(tmp_path.glob("[0-2].*"))) == 3)
    (mark,) = tmp_path.glob("1.*")
    os.kill(int(mark.suffix[1:]), signal.SIGKILL)
    error = job.exception(60)
    assert isinstance(error, TaskExited)
    assert error.signal == signal.SIGKILL
    until(lambda: left(tmp_path) == [])


class Recorder(Callback):
    """Writes down which hooks a node calls."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *words: object) -> None:
        with self.path.open("a") as file:
            print(*words, file=file)

    def on_run_begin(self, event: RunBeginEvent) -> None:
        self.write("run_begin", event.attempt)

    def on_run_end(self, event: RunEndEvent) -> None:
        self.write("run_end", event.attempt, event.outcome.status, event.outcome.ranks, event.outcome.rank)

    def on_completed(self, event: CompletedEvent) -> None:
        self.write("completed", event.outcome.status)


def test_ranks_go_on_together_each_from_what_it_has_saved_and_hooks_are_called_once(
    here: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "hooks"
    job = restore.with_options(callbacks=[Recorder(path)])()
    assert job.result(60) == [(0, 2), (10, 2), (20, 2)]
    until(lambda: os.listdir(Path(job.directory, "results")) == ["0.pkl"])
    until(lambda: path.read_text().count("\n") == 5)
    assert path.read_text().splitlines() == [
        "run_begin 1",
        "run_end 1 failed 3 1",
        "run_begin 2",
        "run_end 2 succeeded 3 None",
        "completed succeeded",
    ]


def test_calls_of_several_ranks_are_not_put_together(local: Cluster, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="chunk_size and workers are of tasks of one process"):
        fail.map([tmp_path], ["raise"], chunk_size=2)
