"""`cluster.chain()`: calls that run after each other, submitted by one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import slurm.schedulers.client
from slurm import Cluster, Job, Retry, task, workflow
from slurm.errors import DependencyFailed, SubmissionRefused
from slurm.storage.keys import new_key
from slurm.testing import InlineCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@task
def first(x: int) -> int:
    if x < 0:
        raise ValueError(x)
    return x


@task
def second(x: int) -> int:
    return 10 * x


@task
def third(x: int, y: int) -> tuple[int, int]:
    return x, y


@pytest.fixture
def inline() -> Iterator[InlineCluster]:
    with InlineCluster() as cluster:
        yield cluster


class Submitted(NamedTuple):
    """The jobs of a chain, and the commands that were recorded for each before it was queued."""

    one: Job[int]
    two: Job[int]
    three: Job[tuple[int, int]]
    recorded: dict[str, Sequence[str]]
    refused: SubmissionRefused | None


def submitted(cluster: Cluster, x: int = 2) -> Submitted:
    chain, recorded = cluster.chain(), dict[str, "Sequence[str]"]()
    one = chain.add(new_key("first"), first, first.bound_item({"x": x}), record=recorded.__setitem__)
    two = chain.add(new_key("second"), second, second.bound_item({"x": one}), record=recorded.__setitem__)
    three = chain.add(new_key("third"), third, third.bound_item({"x": one, "y": two}), record=recorded.__setitem__)
    refused = None
    try:
        chain.submit()
    except SubmissionRefused as error:
        refused = error
    return Submitted(one, two, three, recorded, refused)


def test_a_chain_is_one_command_and_each_job_has_its_id_and_its_commands(inline: InlineCluster) -> None:
    with inline.queue.held():
        found = submitted(inline)
        assert inline.command_counts()["submit"] == 1
        assert [job.part.state.array_id(0) for job in found[:3]] == inline.queue.ids
        assert f"afterok=<id of {found.one.key}>" in found.recorded[found.two.key][0]
        (command,) = found.three.part.state.queued_here
        assert sorted(command.split()[-2:]) == [f"afterok={id_}" for id_ in inline.queue.ids[:2]]
        assert f"/{found.three.key}/script.sh" in command
    assert found.three.result() == (2, 20)
    again = inline.job(found.three.key)
    assert isinstance(again, Job)
    assert again.result() == (2, 20)


def test_a_failure_ends_what_runs_after_it(inline: InlineCluster) -> None:
    found = submitted(inline, -1)
    with pytest.raises(DependencyFailed):
        found.three.result()


def test_nothing_follows_what_is_refused(inline: InlineCluster) -> None:
    inline.queue.answer("refused")
    found = submitted(inline)
    assert found.refused is not None
    assert found.refused.certain
    assert inline.queue.ids == []
    assert [found.one.status().state, found.two.status().state, found.three.status().state] == ["REFUSED"] * 3
    assert found.one.key in str(found.three.exception())


@pytest.mark.parametrize("answer", ["silent", "later"])
def test_what_the_command_did_not_answer_for_is_queued_once(answer: str, inline: InlineCluster) -> None:
    inline.queue.answer(answer)
    found = submitted(inline)
    assert found.three.result() == (2, 20)
    assert [job.part.state.array_id(0) for job in found[:3]] == inline.queue.ids


def test_what_may_be_queued_is_told(inline: InlineCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.schedulers.client, "_BACKLOG", 0.0)
    inline.queue.answer("dropped")
    found = submitted(inline)
    assert found.refused is not None
    assert not found.refused.certain
    assert inline.queue.ids == []


def test_what_finds_no_room_in_the_queue_follows_later(inline: InlineCluster) -> None:
    inline.queue.most_queued = 1
    found = submitted(inline)
    assert found.three.result() == (2, 20)
    assert len(inline.queue.ids) == 3


@task(retry=Retry(1, on=[RuntimeError]))
def fails_once(mark: str) -> int:
    if Path(mark).exists():
        return 5
    Path(mark).touch()
    raise RuntimeError


def test_what_waits_for_a_call_that_runs_again_gets_its_result(inline: InlineCluster, tmp_path: Path) -> None:
    chain, record = inline.chain(), dict[str, "Sequence[str]"]().__setitem__
    one = chain.add(new_key("one"), fails_once, fails_once.bound_item({"mark": str(tmp_path / "mark")}), record=record)
    two = chain.add(new_key("two"), second, second.bound_item({"x": one}), record=record)
    chain.submit()
    assert two.result() == 50


@workflow(retry=Retry(1, on=[RuntimeError]))
def again(keys: str) -> list[str]:
    found = submitted(Cluster.current(), 3)
    assert found.three.result() == (3, 30)
    own = [job.key for job in found[:3]]
    if not Path(keys).exists():
        Path(keys).write_text(" ".join(own))
        raise RuntimeError
    return own


def test_a_workflow_that_runs_again_finds_what_it_has_submitted(inline: InlineCluster, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert again(str(keys)).result() == keys.read_text().split()
