"""Pools: the same jobs, results and errors, on `local` and on Slurm; and what ends when workers or elements do."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, Job, JobArray, JobState, Retry, as_completed, current_job, current_worker, task, workflow
from slurm.errors import (
    ConfigurationError,
    DependencyFailed,
    JobCancelled,
    JobTimedOut,
    NoSuchJob,
    NotPicklable,
    OptionError,
    PoolEnded,
    PoolError,
    SubmissionError,
    WorkerDied,
)
from slurm.jobs.facts import all_facts_of
from slurm.pools import blocks
from slurm.pools.blocks import Blocks
from slurm.protocol.frames import BLOCK, FrameReader
from slurm.testing import InlineCluster
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.slurm import SlurmTestbed

SOON = 300.0
"""Seconds that a call may take: on a busy machine, a pool waits for free processors."""


@pytest.fixture(params=["local+ssh://box", pytest.param("slurm+paramiko://box", marks=pytest.mark.slurm)])
def far(request: pytest.FixtureRequest, root: Path) -> Iterator[Cluster]:
    """A cluster whose files this process reads and writes through a relay."""
    request.getfixturevalue("ssh_env")
    if request.param.startswith("slurm"):
        request.getfixturevalue("slurm_env")
    with Cluster(request.param, root=root) as cluster:
        yield cluster


@task
def square(x: int) -> int:
    return x * x


@task
def fail(x: int) -> int:
    raise ValueError(f"no {x}")


@task
def die_at(x: int, at: int) -> int:
    if x == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@task
def touch_and_wait(begun: Path, until_there: Path) -> None:
    """Say that the call has begun; end when there is a file."""
    begun.touch()
    while not until_there.exists():
        time.sleep(0.02)


@task
def note(x: int, directory: Path) -> int:
    """Leave a file for each time that the call is made."""
    (directory / f"{x}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return x


@workflow
def chain() -> int:
    return 1


def test_calls_maps_and_errors_of_a_pool_are_those_of_any_job(place: Cluster) -> None:
    with place.pool(nodes=1, workers=2, time="10:00", idle="2:00") as pool:
        job = square.on(pool)(3)
        assert job.result(SOON) == 9
        assert job.done()
        assert job.status().state is JobState.COMPLETED
        squares = square.on(pool).map(range(2000))
        assert isinstance(squares, JobArray)
        assert squares.results(SOON) == [x * x for x in range(2000)]
        assert [each.result(SOON) for each in squares[5:8]] == [25, 36, 49]
        assert squares[7].result() == 49  # again, from the file
        assert {each.result() for each in as_completed(square.on(pool).map(range(5)), timeout=SOON)} == {0, 1, 4, 9, 16}
        failed = fail.on(pool)(7)
        with pytest.raises(ValueError, match="no 7") as caught:
            failed.result(SOON)
        assert "raise ValueError" in str(caught.value.__cause__)
        assert failed.status().state is JobState.FAILED
        mixed = task(divmod).on(pool).starmap([(7, 2), (1, 0), (9, 4)]).results(SOON, return_exceptions=True)
        assert [mixed[0], mixed[2]] == [(3, 1), (2, 1)]
        assert isinstance(mixed[1], ZeroDivisionError)
        with pool.executor() as executor:
            futures = [executor.submit(pow, 2, x) for x in range(6)]
            assert all(isinstance(future, concurrent.futures.Future) for future in futures)
            done, not_done = concurrent.futures.wait(futures, timeout=SOON)
            assert (len(done), len(not_done)) == (6, 0)
            assert list(executor.map(pow, [2, 3], [5, 2])) == [32, 9]
    until(pool.jobs.done)


def test_a_block_says_which_blocks_before_it_have_ended(local: Cluster, root: Path, tmp_path: Path) -> None:
    with local.pool(workers=2, time="10:00") as pool:

        def unfinished() -> list[float]:
            heads = FrameReader(str(root / "jobs" / pool.key / "clients" / "0" / "calls")).heads()
            return [head.ended for head, _ in heads if head.kind == BLOCK]

        for x in range(3):
            square.on(pool)(x).result(SOON)
        assert unfinished() == [0, 1, 2]
        waits = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "end")
        for x in range(3):
            square.on(pool)(x).result(SOON)
        assert unfinished() == [0, 1, 2, 3, 3, 3, 3]
        (tmp_path / "end").touch()
        waits.result(SOON)
        square.on(pool)(3).result(SOON)
        assert unfinished()[-1] == 7


def test_a_worker_that_dies_takes_only_its_call(place: Cluster) -> None:
    with place.pool(workers=1, time="10:00") as pool:
        found = die_at.on(pool).map(range(40), at=5).results(SOON, return_exceptions=True)
    assert found[:5] + found[6:] == [*range(5), *range(6, 40)]
    assert isinstance(found[5], WorkerDied)
    assert found[5].signal == signal.SIGKILL
    assert "SIGKILL" in str(found[5])


@task
def fail_first(x: int, how: str, directory: Path) -> tuple[int, int]:
    """Fail or die in the first attempt."""
    first = directory / str(x)
    if x % 4 == 1 and not first.exists():
        first.touch()
        if how == "raise":
            raise ConnectionError(f"no {x}")
        os.kill(os.getpid(), signal.SIGKILL)
    return x, current_job().attempt


def test_calls_that_fail_or_whose_workers_die_are_made_again(local: Cluster, tmp_path: Path) -> None:
    with local.pool(workers=2, time="10:00") as pool:
        for how, retry in (("raise", Retry(times=1, on=ConnectionError)), ("die", Retry(times=1))):
            directory = tmp_path / how
            directory.mkdir()
            some = fail_first.with_options(retry=retry).on(pool).map(range(8), how=how, directory=directory)
            assert some.results(SOON) == [(x, 2 if x % 4 == 1 else 1) for x in range(8)]
            outcomes = [job.status().outcome for job in some[:2]]
            assert [outcome and outcome.attempt for outcome in outcomes] == [1, 2]
        with pytest.raises(WorkerDied):
            die_at.with_options(retry=1).on(pool)(1, at=1).result(SOON)
        with pytest.raises(PoolError, match="mem="):
            square.with_options(mem="1G", retry=Retry(mem="x2")).on(pool)(1)


@task
def say_where_and_wait(x: int, directory: Path, data: bytes = b"") -> int:
    """Leave the number of the worker; end when there is a file. Return the attempt."""
    assert data == bytes([x]) * len(data)
    (directory / f"{x}.new").write_text(str(current_worker().rank))
    (directory / f"{x}.new").rename(directory / str(x))
    while not (directory / "end").exists():
        time.sleep(0.02)
    return current_job().attempt


def test_a_call_of_an_element_that_ends_is_made_by_another(place: Cluster, tmp_path: Path) -> None:
    retry = Retry(times=1, on=JobCancelled)
    with place.pool(nodes=2, workers=1, time="10:00") as pool:
        calls = [(x, tmp_path, bytes([x]) * 100_000) for x in range(2)]  # the arguments are files
        jobs = say_where_and_wait.with_options(retry=retry).on(pool).starmap(calls)
        until(lambda: all((tmp_path / str(x)).exists() for x in range(2)))
        element = pool.jobs[int((tmp_path / "0").read_text())]
        element.cancel()
        until(element.done)
        (tmp_path / "end").touch()
        assert jobs.results(SOON) == [2, 1]


@pytest.mark.slurm
def test_a_requeued_element_takes_calls_again(slurm_env: SlurmTestbed, root: Path, tmp_path: Path) -> None:
    def state() -> str:
        return slurm_env.run("squeue", "-h", "-t", "all", "-o", "%T", "-j", job_id).stdout.strip()

    with Cluster("slurm", root=root) as cluster, cluster.pool(workers=2, time="10:00", requeue=True) as pool:
        lost = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "never")
        again = say_where_and_wait.with_options(retry=1).on(pool)(0, directory=tmp_path)
        until(lambda: (tmp_path / "begun").exists() and (tmp_path / "0").exists())
        job_id = str(pool.jobs[0].job_id)
        slurm_env.run("scontrol", "requeue", job_id)
        until(lambda: state() == "PENDING")
        (tmp_path / "end").touch()
        time.sleep(1)  # Slurm may start it under the feet of its own cleaning up
        slurm_env.run("scontrol", "update", f"jobid={job_id}", "StartTime=now")  # and not two minutes later
        assert square.on(pool)(3).result(SOON) == 9
        with pytest.raises(WorkerDied, match="requeued"):
            lost.result(SOON)
        assert again.result(SOON) == 2


def test_calls_of_an_element_that_was_cancelled_end_and_those_of_nobody(place: Cluster, tmp_path: Path) -> None:
    with place.pool(workers=1, time="10:00") as pool:
        begun = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "never")
        until((tmp_path / "begun").exists)
        waiting = square.on(pool).map(range(3))
        assert begun.status().state is JobState.RUNNING
        assert waiting[0].status().state is JobState.PENDING
        pool.jobs.cancel()
        with pytest.raises(JobCancelled):
            begun.result(SOON)
        with pytest.raises(PoolEnded, match="no element of its pool is left"):
            waiting[2].result(SOON)
        assert all(isinstance(error, PoolEnded) for error in waiting.exceptions(SOON))
        with pytest.raises(PoolError, match="make a new pool"):
            square.on(pool)(1)


def test_each_call_of_a_map_is_made_once_by_several_elements(place: Cluster, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    with place.pool(nodes=2, workers=1, time="10:00") as pool:
        assert note.on(pool).map(range(500), directory=notes).results(SOON) == list(range(500))
    assert sorted(int(path.name.partition("-")[0]) for path in notes.iterdir()) == list(range(500))


def test_a_call_at_the_time_limit_is_timed_out(local: Cluster, tmp_path: Path) -> None:
    with local.pool(workers=1, time="0:10") as pool:
        job = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "never")
        with pytest.raises(JobTimedOut):
            job.result(SOON)


def test_an_element_ends_when_it_is_idle(local: Cluster) -> None:
    with local.pool(workers=1, time="10:00", idle=1) as pool:
        assert square.on(pool)(2).result(SOON) == 4
        until(pool.jobs.done)
        assert pool.jobs.results() == [1]
        with pytest.raises((PoolError, PoolEnded), match="it was idle"):
            square.on(pool)(3).result(SOON)


def test_calls_go_on_when_their_client_was_killed(local: Cluster, root: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    program = textwrap.dedent(f"""
        import os, pathlib
        from slurm import Cluster, task
        def note(x):
            pathlib.Path({str(notes)!r}, str(x)).touch()
            return -x
        with Cluster("local", root={str(root)!r}) as cluster:
            pool = cluster.pool(workers=2, time="5:00", idle=2)
            print(task(note).on(pool).map(range(2000)).key, flush=True)
            os.kill(os.getpid(), 9)
    """)
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    jobs = local.job(killed.stdout.strip())
    assert isinstance(jobs, JobArray)
    assert jobs.results(SOON) == [-x for x in range(2000)]
    assert len(list(notes.iterdir())) == 2000
    (elements,) = local.jobs("pool")
    until(elements.done)


def test_cancel_ends_calls_that_wait_and_the_one_that_runs_and_no_other(place: Cluster, tmp_path: Path) -> None:
    with place.pool(workers=1, time="10:00") as pool:
        running = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "never")
        until((tmp_path / "begun").exists)
        waiting, last = square.on(pool)(3), square.on(pool)(4)
        assert waiting.cancel()
        with pytest.raises(JobCancelled):
            waiting.result(SOON)
        assert running.cancel()
        with pytest.raises(JobCancelled):
            running.result(SOON)
        assert running.cancelled()
        assert waiting.cancelled()
        assert running.status().state is JobState.CANCELLED
        assert last.result(SOON) == 16
        assert not last.cancel()


def test_calls_that_were_made_before_the_pool_was_closed_are_finished(local: Cluster, tmp_path: Path) -> None:
    with local.pool(workers=1, time="10:00") as pool:
        job = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "end")
        last = square.on(pool)(4)
    with pytest.raises(PoolError, match="closed"):
        square.on(pool)(1)
    (tmp_path / "end").touch()
    assert (job.result(SOON), last.result(SOON)) == (None, 16)
    until(pool.jobs.done)


def test_a_call_knows_its_job_and_large_values_and_functions_of_the_script_arrive(local: Cluster) -> None:
    factor = 3
    with local.pool(workers=1, time="10:00") as pool:
        assert task(lambda x: x * factor).on(pool)(5).result(SOON) == 15
        assert task(lambda n: b"x" * n).on(pool)(3_000_000).result(SOON) == b"x" * 3_000_000
        job = task(lambda: (current_job().key, current_job().index)).on(pool)()
        key, index = job.result(SOON)
        assert job.key == f"{key}[{index}]"
        shared = list(range(100_000))
        assert task(lambda x, more: x + len(more)).on(pool).map(range(3), more=shared).results(SOON) == [
            100_000,
            100_001,
            100_002,
        ]


@task
def speak(x: int) -> int:
    print("hello", x)
    os.system(f"echo a program {x}")  # noqa: S605 - a program that prints to the same descriptor
    if x == 2:
        raise ValueError(f"no {x}")
    return x


@task
def speak_and_wait(until_there: Path) -> None:
    print("begun", flush=True)
    while not until_there.exists():
        time.sleep(0.02)
    print("ended")


def test_the_log_of_a_call_is_what_it_printed(local: Cluster, tmp_path: Path) -> None:
    with local.pool(workers=2, time="10:00") as pool:
        jobs = speak.on(pool).map(range(5))
        jobs.results(SOON, return_exceptions=True)
        logs = jobs.logs()
        assert [logs[x] for x in (0, 1, 3, 4)] == [f"hello {x}\na program {x}\n" for x in (0, 1, 3, 4)]
        assert logs[2].startswith("hello 2\na program 2\nTraceback")
        assert logs[2].endswith("ValueError: no 2\n")
        assert Path(jobs[2].log_path).read_text().count(logs[2]) == 1
        assert ".." not in jobs[2].log_path
        running = speak_and_wait.on(pool)(tmp_path / "end")
        until(lambda: running.logs() == "begun\n")
        followed = running.logs(follow=True)
        assert next(followed) == "begun\n"
        (tmp_path / "end").touch()
        assert "".join(followed) == "ended\n"
        assert list(speak.on(pool).map([7]).logs(follow=True)) == ["[6] hello 7\n", "[6] a program 7\n"]
        with pytest.raises(ConfigurationError, match="one log"):
            running.logs(stderr=True)
        assert "hello 4\n" in "".join(pool.jobs[0].logs(rank="all"))


@task
def know_the_worker() -> tuple[int, int, int]:
    worker = current_worker()
    worker.state["calls"] = worker.state.get("calls", 0) + 1
    return worker.rank, worker.world_size, worker.state["calls"]


def load(value: int, path: Path) -> None:
    if value < 0:
        raise ValueError("no model")
    current_worker().state["model"] = value
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")


@task
def use_the_model(x: int) -> tuple[int, int]:
    return x * int(current_worker().state["model"]), os.getpid()


def test_workers_are_prepared_once_and_replaced_after_so_many_calls(local: Cluster, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    with local.pool(workers=2, initializer=load, initargs=(3, prepared), max_calls_per_worker=7) as pool:
        found = use_the_model.on(pool).map(range(100)).results(SOON)
    assert [value for value, _ in found] == [3 * x for x in range(100)]
    calls = Counter(pid for _, pid in found)
    assert max(calls.values()) <= 7
    assert calls.keys() <= {int(line) for line in prepared.read_text().split()}
    with local.pool(workers=1, time="10:00", initializer=load, initargs=(-1, prepared)) as pool:
        with pytest.raises((PoolEnded, PoolError), match="initializer of the pool raised ValueError: no model"):
            use_the_model.on(pool)(1).result(SOON)
        assert "in load" in pool.jobs[0].logs(rank="all")[1]
        text = pool.jobs[0].logs()
        (log,) = re.findall(r"no model; its traceback is in (.+)", text)
        assert "in load" in Path(log).read_text()


def test_a_call_knows_its_worker_which_keeps_a_state(local: Cluster) -> None:
    with local.pool(nodes=2, workers=2, time="10:00") as pool:
        found = know_the_worker.on(pool).starmap([()] * 200).results(SOON)
        assert {world_size for _, world_size, _ in found} == {4}
        by_rank = {rank: sorted(calls for each, _, calls in found if each == rank) for rank, _, _ in found}
        assert set(by_rank) <= {0, 1, 2, 3}
        assert all(calls == list(range(1, len(calls) + 1)) for calls in by_rank.values())
    with pytest.raises(RuntimeError, match="only in a pool"):
        current_worker()


@pytest.mark.parametrize(
    ("limit", "size"), [(("most_calls", 4), 1000), (("most_bytes", 4000), 1000), (("most_bytes", 400_000), 100_000)]
)
def test_a_submission_waits_while_too_much_is_unanswered(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int], size: int
) -> None:
    monkeypatch.setattr(Blocks, *limit)
    with local.pool(workers=1, time="10:00") as pool, concurrent.futures.ThreadPoolExecutor(1) as thread:
        first = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "end")
        lengths = thread.submit(task(len).on(pool).map, [os.urandom(size) for _ in range(20)])
        until(lambda: all_facts_of(pool.jobs).get("pool", {}).get("waiting") in (3, 4))
        assert not lengths.done()
        (tmp_path / "end").touch()
        assert lengths.result(SOON).results(SOON) == [size] * 20
        assert first.result(SOON) is None


@task
def add(*numbers: int) -> int:
    return sum(numbers)


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


def test_jobs_are_arguments_of_calls_of_a_pool_and_the_other_way_round(local: Cluster, tmp_path: Path) -> None:
    with local, local.pool(workers=2, time="10:00") as pool:
        queued, squares = square(5), square.on(pool).map(range(4))
        large = task(lambda: b"x" * 2_000_000).on(pool)()
        begun = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "end")
        after = square.after(begun).on(pool)(9)
        assert after.status().reason == "it waits for other calls"
        cancelled = square.after(begun).on(pool)(10)
        assert cancelled.cancel()
        with pytest.raises(JobCancelled):
            cancelled.result(SOON)
        assert add.on(pool)(squares[2], squares[3], 1).result(SOON) == 14
        assert total.on(pool)(squares).result(SOON) == 14
        assert task(len).on(pool)(large).result(SOON) == 2_000_000
        assert square.on(pool).map([squares[1], 7, squares[2]]).results(SOON) == [1, 49, 16]
        assert add.on(pool)(queued, 1).result(SOON) == 26
        assert total(squares[1:]).result(SOON) == 14  # of the cluster
        assert add(squares[3], queued).result(SOON) == 34
        failed = fail.on(pool)(3)
        with pytest.raises(DependencyFailed, match="ValueError: no 3"):
            square.on(pool)(failed).result(SOON)
        with pytest.raises(DependencyFailed, match="runs only if it fails"):
            square.after(squares[0], on="failure").on(pool)(1).result(SOON)
        assert square.after(failed, on="any").on(pool)(4).result(SOON) == 16
        with pytest.raises(NotPicklable, match="no 3"):
            square(failed)
        with pytest.raises(SubmissionError, match="cannot wait for calls"):
            square.after(failed)(1)
        assert not after.done()
        (tmp_path / "end").touch()
        assert after.result(SOON) == 81


@task
def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check_large_arguments(cluster: Cluster, root: Path, tmp_path: Path) -> None:
    data = [os.urandom(size) for size in (10, 66_000, 1_500_000, 9_000_000)]
    digests = [hashlib.sha256(each).hexdigest() for each in data]
    with cluster.pool(workers=2, time="10:00") as pool:
        directory = root / "jobs" / pool.key / "clients" / "0"
        assert digest.on(pool).map(data).results(SOON) == digests
        begun = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "end")
        cancelled, waits = (digest.after(begun).on(pool)(data[2]) for _ in range(2))
        assert cancelled.cancel()
        (tmp_path / "end").touch()
        assert waits.result(SOON) == digests[2]
        with pytest.raises(JobCancelled):
            cancelled.result(SOON)
        sizes = {path.name: path.stat().st_size for path in (directory / "arguments").iterdir()}
        assert all(len(data[at]) < sizes[str(at)] < len(data[at]) + 1000 for at in (1, 2, 3))
        assert len(sizes) == 4  # those of the call that has waited, too, and none of small ones
        assert (directory / "calls").stat().st_size < 4000
    until(pool.jobs.done)


def test_large_arguments_are_files_of_their_own(place: Cluster, root: Path, tmp_path: Path) -> None:
    check_large_arguments(place, root, tmp_path)


def test_large_arguments_over_ssh_are_files_of_their_own(far: Cluster, root: Path, tmp_path: Path) -> None:
    check_large_arguments(far, root, tmp_path)


def test_arguments_in_a_pool_of_an_earlier_version_are_in_its_blocks(
    local: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its elements cannot read arguments from files, and a block has lengths of 4 bytes."""
    monkeypatch.setattr(blocks, "_CALL_BYTES", 200_000)  # in place of 4 GB
    with local.pool(workers=1, time="10:00") as pool:
        record = root / "jobs" / pool.key / "submission.json"
        fields = json.loads(record.read_text())
        del fields["pool"]["inline"]
        record.write_text(json.dumps(fields))
        with Cluster("local", root=root).pool(pool.key) as joined:
            assert task(len).on(joined)(b"x" * 100_000).result(SOON) == 100_000
            with pytest.raises(PoolError, match=r"have 300,[0-9]{3} bytes, and a pool takes 200,000: pass the name of"):
                task(len).on(joined).map([b"short", b"x" * 300_000])
        assert not list((record.parent / "clients" / "1" / "arguments").iterdir())


def test_what_a_pool_cannot_do_is_refused_and_it_goes_on(local: Cluster) -> None:
    with local.pool(workers=1, time="10:00") as pool:
        with pytest.raises(PoolError, match="workflow"):
            chain.on(pool)()
        with pytest.raises(PoolError, match="after"):
            square.after("1234").on(pool)(2)
        assert square.on(pool)(2).result(SOON) == 4
    with pytest.raises(OptionError, match="idle"):
        local.pool(idle="soon")


def test_another_process_has_calls_of_its_own_and_reads_those_of_the_first(local: Cluster, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import pickle, sys
        from slurm import Cluster, task
        from slurm.errors import PoolError
        url, key, running, waiting = sys.argv[1:]
        with Cluster(url) as cluster:
            first = cluster.job(f"{key}/clients/0")
            print(first[:2].results(), repr(first[0].logs()), pickle.load(sys.stdin.buffer).result())
            try:
                cluster.job(running).cancel()
            except PoolError as error:
                print(cluster.job(running).status().state, error)
            cluster.job(waiting).cancel()
            with cluster.pool(key) as pool:
                print(task(pow).on(pool)(2, 5).key == f"{key}/clients/1[0]")
    """)
    with local.pool(workers=1, time="10:00") as pool:
        spoken = speak.on(pool).map([4, 5])
        assert spoken.results(SOON) == [4, 5]
        running = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "end")
        until((tmp_path / "begun").exists)
        waiting = square.on(pool)(1)
        argv = [sys.executable, "-c", program, local.url, pool.key, running.key, waiting.key]
        done = subprocess.run(argv, input=pickle.dumps(spoken[1]), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        results, refused, joined = done.stdout.decode().splitlines()
        assert results == r"[4, 5] 'hello 4\na program 4\n' 5"
        assert refused.startswith("RUNNING calls of")
        assert joined == "True"
        (tmp_path / "end").touch()
        assert running.result(SOON) is None
        with pytest.raises(JobCancelled):
            waiting.result(SOON)
        other = local.job(f"{pool.key}/clients/1[0]")
        assert isinstance(other, Job)
        assert other.result(SOON) == 32
        with pytest.raises(NoSuchJob, match="has 1 calls"):
            local.job(f"{pool.key}/clients/1[1]")
        with pytest.raises(NoSuchJob, match="clients/2"):
            local.job(f"{pool.key}/clients/2")
        with pytest.raises(OptionError, match="leave out"):
            local.pool(pool.key, mem="1G")
    with pytest.raises(PoolError, match="is no pool"):
        local.pool(square.on(local)(1).key)


def test_show_tells_what_workers_do_and_how_many_calls_wait(local: Cluster, tmp_path: Path) -> None:
    with local.pool(nodes=2, workers=1, time="10:00") as pool:
        square.on(pool).map(range(10)).results(SOON)
        jobs = touch_and_wait.on(pool).starmap([(tmp_path / str(x), tmp_path / "end") for x in range(7)])
        expected = {"workers": 2, "busy": 2, "made": 10, "waiting": 5, "rate": 0.0}
        until(lambda: {**all_facts_of(pool.jobs).get("pool", {}), "rate": 0.0} == expected)
        argv = [sys.executable, "-m", "slurm", "show", pool.key, "--on", local.url]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert "2 of 2 workers busy; 10 calls made, 5 wait, " in shown.stdout
        listed = subprocess.run([*argv[:3], "jobs", local.url], capture_output=True, text=True, check=True)
        assert "2 RUNNING; 2 of 2 workers busy; 10 calls made, 5 wait, " in " ".join(listed.stdout.split())
        (tmp_path / "end").touch()
        jobs.results(SOON)


def test_a_pool_over_ssh_makes_calls_as_one_here(far: Cluster, root: Path, tmp_path: Path) -> None:
    with far.pool(workers=1, time="10:00") as pool:
        assert square.on(pool)(3).result(SOON) == 9
        assert square.on(pool).map(range(2000)).results(SOON) == [x * x for x in range(2000)]
        with pytest.raises(ValueError, match="no 7") as caught:
            fail.on(pool)(7).result(SOON)
        assert "raise ValueError" in str(caught.value.__cause__)
        assert task(lambda n: b"x" * n).on(pool)(3_000_000).result(SOON) == b"x" * 3_000_000
        spoken = speak.on(pool)(5)
        assert spoken.result(SOON) == 5
        assert spoken.logs() == "hello 5\na program 5\n"
        assert add.on(pool)(square.on(pool)(2), square.on(pool)(3)).result(SOON) == 13
        running = touch_and_wait.on(pool)(tmp_path / "begun", tmp_path / "never")
        until((tmp_path / "begun").exists)
        waiting, last = square.on(pool)(3), square.on(pool)(4)
        assert running.status().state is JobState.RUNNING
        assert waiting.cancel()
        assert running.cancel()
        for job in waiting, running:
            with pytest.raises(JobCancelled):
                job.result(SOON)
        assert last.result(SOON) == 16
        with pool.executor() as executor:
            assert list(executor.map(pow, [2, 3], [5, 2])) == [32, 9]
        program = textwrap.dedent("""
            import sys
            from slurm import Cluster
            with Cluster(sys.argv[1], root=sys.argv[2]) as cluster:
                calls = cluster.job(f"{sys.argv[3]}/clients/0")
                print(calls[0].result(), calls[:3].results())
        """)
        argv = [sys.executable, "-c", program, far.url, str(root), pool.key]
        other = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert other.stdout == "9 [9, 0, 1]\n", other.stderr
    until(pool.jobs.done)


def test_an_inline_cluster_has_no_pools() -> None:
    with InlineCluster() as inline, pytest.raises(PoolError, match="is not possible"):
        inline.pool()
