"""Dependencies: one for each upstream submission, not one for each element."""

from __future__ import annotations

import pytest

from slurm.errors import SubmissionError
from slurm.protocol import Block, Edge, Origin, Submitted
from slurm.schedulers.base import Dependency
from slurm.serialization.pickling import Reference
from slurm.submission import dependencies
from slurm.submission.submission_state import SubmissionState

UPSTREAM = "up/1"


def upstream(*counts: int) -> SubmissionState:
    """An upstream submission with blocks of these sizes, with ids 10, 11, …"""
    blocks = [Block(id=str(10 + n), first=sum(counts[:n]), count=count) for n, count in enumerate(counts)]
    submitted = Submitted(scheduler="slurm", blocks=tuple(blocks))
    return SubmissionState(UPSTREAM, sum(counts), submitted, mapped=True)


def job(index: int) -> Reference:
    return Reference("job", UPSTREAM, index, 1, "slurm")


def whole(count: int) -> Reference:
    return Reference("array", UPSTREAM, (0, count, 1), 1, "slurm")


def told(watched: SubmissionState, *calls: set[Reference], first: int = 0) -> list[tuple[object, ...]]:
    """The dependencies of the block at `first`, for calls with these references."""
    edges = dependencies.referred([frozenset(call) for call in calls], lambda _: watched, chunk=1)
    block = Block(first=first, count=len(calls) - first)
    return [(kind, ids) for kind, ids, _ in dependencies.of_block(edges, block, lambda _: watched)]


def test_a_call_waits_for_the_success_of_a_call() -> None:
    assert told(upstream(1), {job(0)}) == [("afterok", ("10",))]


def test_a_call_waits_for_a_whole_array_by_one_id() -> None:
    assert told(upstream(1000), {whole(1000)}) == [("afterok", ("10",))]
    assert told(upstream(1000), {job(index) for index in range(1000)}) == [("afterok", ("10",))]


def test_a_map_over_an_array_of_the_same_length_waits_elementwise() -> None:
    assert told(upstream(3), {job(0)}, {job(1)}, {job(2)}) == [("aftercorr", ("10",))]


def test_each_block_of_a_map_waits_for_its_counterpart() -> None:
    calls = [{job(index)} for index in range(5)]
    assert told(upstream(3, 2), *calls, first=3) == [("aftercorr", ("11",))]


def test_calls_that_need_different_elements_wait_for_all_of_them() -> None:
    assert told(upstream(3), {job(2)}, {job(1)}, {job(0)}) == [("afterany", ("10",))]
    assert told(upstream(3), {job(0)}, {job(1)}) == [("afterany", ("10",))]


def test_a_call_waits_for_one_element_of_many() -> None:
    assert told(upstream(3, 3), {job(4)}) == [("afterok", ("11_1",))]


def test_some_elements_are_one_dependency_on_their_blocks() -> None:
    assert told(upstream(3, 3, 3), {job(4), job(7)}) == [("afterany", ("11", "12"))]


@pytest.mark.parametrize(("count", "kind"), [(100, "afterok"), (101, "afterany")])
def test_a_job_that_runs_again_names_few_elements_or_all_jobs(count: int, kind: str) -> None:
    edges = dependencies.referred([frozenset({whole(count)})], lambda _: upstream(count), chunk=1)
    (found,) = dependencies.of_calls(edges, range(1), lambda _: upstream(count))
    ids = [f"10_{element}" for element in range(count)] if kind == "afterok" else ["10"]
    assert (found.kind, list(found.ids)) == (kind, ids)


def test_finished_upstreams_are_no_dependencies() -> None:
    watched = upstream(3)
    watched.add_outcomes({0, 1})
    assert told(watched, {job(0), job(1)}) == []
    assert told(watched, {whole(3)}) == [("afterok", ("10",))]


@pytest.mark.parametrize(
    ("id_", "origin", "clusters"),
    [("12;big", None, {"big"}), ("12;big", Origin(cluster="home"), {"big"}), ("12", Origin(cluster="home"), {"home"})],
)
def test_a_dependency_names_the_cluster_of_its_jobs(id_: str, origin: Origin | None, clusters: set[str]) -> None:
    blocks = (Block(id=id_, first=0, count=2, origin=origin),)
    watched = SubmissionState(UPSTREAM, 2, Submitted(scheduler="slurm", blocks=blocks), mapped=True)
    (dependency,) = dependencies.of_block([Edge(key=UPSTREAM)], Block(first=0, count=1), lambda _: watched)
    assert dependency == Dependency("afterok", (id_,), frozenset(clusters))


def test_an_upstream_that_was_never_queued_is_refused() -> None:
    watched = SubmissionState(UPSTREAM, 1, None, mapped=False)
    with pytest.raises(SubmissionError, match="up/1 was never submitted"):
        told(watched, {job(0)})


@pytest.mark.parametrize(("on", "kind"), [("success", "afterok"), ("failure", "afternotok"), ("any", "afterany")])
def test_after_sets_the_kind_of_the_dependency(on: str, kind: str) -> None:
    watched = upstream(2)
    edges = [Edge(key=UPSTREAM, on=on)]
    assert dependencies.of_block(edges, Block(first=0, count=4), lambda _: watched) == (Dependency(kind, ("10",)),)
    checked = () if on == "any" else ((UPSTREAM, on, (0, 1), 1),)
    assert dependencies.to_check(edges, lambda _: watched) == checked
    watched.continues = True
    ends = () if on == "success" else ((UPSTREAM, "end", (0, 1), 1),)
    assert dependencies.to_check(edges, lambda _: watched) == (*ends, *checked)
