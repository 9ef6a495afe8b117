"""`chunk_size="auto"`: some calls of a map first, then the others in chunks."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from slurm import task, workflow
from slurm.errors import OptionError, SubmissionError
from slurm.jobs.chunking import CANARY, canary_of, chunk_for
from slurm.testing import InlineCluster
from waiting import until

if TYPE_CHECKING:
    pass


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task(reuse=True)
def square(x: int) -> int:
    return x * x


@task
def fail(x: int, only: int | None = None) -> int:
    if only is None or x == only:
        raise ValueError(f"no {x}")
    return x


@workflow
def flow(count: int) -> int:
    return sum(add.map(range(count), chunk_size="auto").results())


def test_the_others_go_into_chunks_and_keep_their_order(inline: InlineCluster) -> None:
    jobs = add.map(range(100), chunk_size="auto", y=2)
    assert jobs.results() == list(range(2, 102))
    canary, rest = [inline.job(key) for key in jobs.keys]
    assert [(job.part.state.count, job.part.state.chunk) for job in (canary, rest)] == [(20, 1), (80, 1000)]
    assert jobs.summary() == "add: 100 jobs in 21 chunks, 100 COMPLETED"
    assert canary.part.place.store.records(rest.key).submission.options["chunk_size"] == "1000"


def test_a_small_map_and_a_single_call_wait_for_nothing(inline: InlineCluster) -> None:
    automatic = add.with_options(chunk_size="auto")
    with inline.queue.held():
        jobs, one, none = automatic.map(range(CANARY)), automatic(1), automatic.map([])
        assert (jobs.part.elements, len(none)) == (CANARY, 0)
    assert (jobs.results()[-1], one.result()) == (CANARY, 2)


def test_if_all_of_the_first_fail_the_others_are_not_submitted(inline: InlineCluster) -> None:
    words = (
        r"none of the first 17 calls of fail has succeeded, so the other 33 were not submitted.*fail/.*ValueError: no 0"
    )
    with pytest.raises(SubmissionError, match=words):
        fail.map(range(50), chunk_size="auto")
    (only,) = inline.jobs()
    assert len(only.part.indices) == 17


def test_a_failure_among_the_first_is_in_its_place(inline: InlineCluster) -> None:
    jobs = fail.map(range(50), chunk_size="auto", only=3)
    assert [str(error) for error in jobs.exceptions() if error] == ["no 3"]
    assert [job.arguments()["x"] for job in jobs.failed()] == [3]
    assert len(jobs.retry_failed()) == 1


def test_known_calls_are_found(inline: InlineCluster) -> None:
    square.map(range(40), chunk_size="auto").results()
    jobs = square.map(range(50), chunk_size="auto")
    assert jobs.results() == [x * x for x in range(50)]
    assert sum(len(part.indices) for part in jobs.own_parts) == 10


def test_in_a_workflow_and_in_a_batch(inline: InlineCluster) -> None:
    assert flow(30).result() == sum(range(31))
    with inline.batch() as batch:
        one = square.with_options(reuse=None, chunk_size="auto")(3)
        jobs = add.map(range(30), chunk_size="auto")
    assert (one.result(), jobs.results()) == (9, list(range(1, 31)))
    assert len(batch.jobs) == 31


def test_what_makes_one_call_in_an_element_is_refused(inline: InlineCluster) -> None:
    with pytest.raises(OptionError, match="flow is a workflow, of which an element makes one call: leave out chunk"):
        flow.map(range(30), chunk_size="auto")
    with pytest.raises(OptionError, match="add asks for several ranks"):
        add.with_options(ntasks=2).map(range(30), chunk_size="auto")
    with pytest.raises(OptionError, match="only maps of tasks have it"):
        inline.executor(chunk_size="auto")
    with pytest.raises(OptionError, match='expected a whole number from 1, or "auto"'):
        add.with_options(chunk_size="automatic")
    assert inline.jobs() == []


def test_a_plan_says_what_the_map_does(inline: InlineCluster) -> None:
    plan = inline.plan(add.with_options(chunk_size="auto"), [(number,) for number in range(30)])
    assert 'chunk_size="auto": a map of more than 20 calls submits 20 first' in plan.notes[0]


def test_ctrl_c_during_the_wait_says_what_is_missing(inline: InlineCluster) -> None:
    main = threading.get_ident()

    def interrupt() -> None:
        until(lambda: any(state.wanted for state in inline.place.registry.all()))
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with inline.queue.held():
        thread.start()
        words = r"come back to them with .*\. The other 33 calls of add were not submitted"
        with pytest.raises(KeyboardInterrupt, match=words):
            add.map(range(50), chunk_size="auto")
    thread.join()


def test_the_rule() -> None:
    assert [chunk_for(seconds) for seconds in (0, 0.1, 1, 100, 1000)] == [1000, 1000, 300, 3, 1]
    assert [chunk_for(seconds, 4) for seconds in (0, 1, 100, 1000)] == [1000, 1000, 12, 4]
    assert list(canary_of(range(7))) == list(range(7))
    assert [len(canary_of(range(count))) for count in (20, 21, 40, 1000)] == [20, 11, 20, 20]
