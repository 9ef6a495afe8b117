"""DeferredSubmission: what waited for room in the queue is queued once, block by block, or ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, Task, task
from slurm.errors import SubmissionRefused
from slurm.protocol import ATTEMPTS, OUTCOMES
from slurm.testing import Answer, InlineCluster
from slurm.tracking import attempts
from slurm.tracking.attempts import Claim
from slurm.tracking.deferred import DeferredSubmission

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState

ROOM = 3


@task
def square(x: int) -> int:
    return x * x


@pytest.fixture
def inline() -> Iterator[InlineCluster]:
    """A cluster whose queue starts nothing, and that has no room: its own client waits."""
    with InlineCluster() as cluster, cluster.queue.held():
        cluster.queue.most_queued = ROOM
        yield cluster


class Other:
    """A client that comes back to a map of six calls when the queue has another limit."""

    def __init__(self, inline: InlineCluster, most: int, *, retry: int = 0) -> None:
        of = square.with_options(retry=retry) if retry else square
        self.key = of.map(range(6)).key
        self.queue = inline.queue
        self.queue.most_queued = most
        self.place: Place = Cluster("inline", root=inline.url.partition("://")[2], python=sys.executable).place
        self.state: SubmissionState = self.place.registry.get(self.key)

    def advance(self, *, abandoned_after: float = 60.0, final: bool = True) -> None:
        made = DeferredSubmission(self.place.requests, abandoned_after=abandoned_after, refusals_are_final=final)
        made.advance(self.state)

    @property
    def blocks(self) -> list[tuple[int, int]]:
        assert self.state.submitted is not None
        return [(block.first, block.count) for block in self.state.submitted.blocks]

    def names(self, directory: str) -> list[str]:
        return sorted(path.name for path in Path(self.place.store.directory(self.key), directory).iterdir())

    def claim(self, first: int, count: int) -> None:
        """Claim a block, as another process."""
        made = Claim(group=f"{first}.0-other", options={}, retries=0, reason="there is room", count=count)
        attempts.write_claims(self.place.store, self.key, {(first, 0): made})


@pytest.mark.parametrize(
    ("most", "expected"),
    [(3, []), (4, []), (5, [(2, 1)]), (6, [(2, 2)]), (7, [(2, 4)]), (8, [(2, 4)]), (99, [(2, 4)])],
)
def test_as_many_elements_are_queued_as_there_is_room_for_besides_a_retry_job_for_the_rest(
    inline: InlineCluster, most: int, expected: list[tuple[int, int]]
) -> None:
    other = Other(inline, most)
    other.advance()
    assert other.blocks == [(0, 2), *expected]
    assert other.state.unqueued == range(2 + sum(count for _, count in expected), 6)


@pytest.mark.parametrize(("most", "expected"), [(3, []), (4, [(2, 1)]), (5, [(2, 1)]), (6, [(2, 2)])])
def test_a_place_is_left_for_the_retry_job_if_there_are_two_when_all_that_was_queued_has_ended(
    inline: InlineCluster, most: int, expected: list[tuple[int, int]]
) -> None:
    other = Other(inline, most)
    other.place.store.commit(other.key, OUTCOMES, {f"{element}.json": b"{}" for element in range(2)})
    other.state.add_outcomes(range(2))
    other.advance()
    assert other.blocks == [(0, 2), *expected]


def test_the_rest_is_queued_when_there_is_room_again(inline: InlineCluster) -> None:
    other = Other(inline, 6)
    for _ in range(3):
        other.advance()
    assert other.blocks == [(0, 2), (2, 2)]
    inline.queue.cancel(inline.queue.ids[0], None, "")
    other.advance()
    assert other.blocks == [(0, 2), (2, 2), (4, 2)]


@pytest.mark.parametrize("of", [square, square.with_options(retry=1)])
def test_a_user_who_may_queue_one_job_gets_all_results(of: Task[[int], int]) -> None:
    with InlineCluster() as cluster:
        cluster.queue.most_queued = 1
        assert of.map(range(3)).results(60) == [0, 1, 4]


def test_a_queue_that_is_fuller_than_known_gets_smaller_blocks(inline: InlineCluster) -> None:
    other = Other(inline, 8)
    other.place.queue.client.room(square.options)  # reads the limit
    inline.queue.most_queued = ROOM + 2
    other.advance()
    assert other.blocks == [(0, 2), (2, 2)]
    other.advance()
    assert other.blocks == [(0, 2), (2, 2)]
    assert [name for name in other.names(ATTEMPTS) if name.startswith("4.")] == []


@pytest.mark.parametrize("old", [False, True])
def test_a_block_that_another_process_has_claimed_is_left_to_it_for_a_while(
    inline: InlineCluster, *, old: bool
) -> None:
    other = Other(inline, 99)
    other.claim(2, 3)
    other.advance(abandoned_after=-1.0 if old else 60.0)
    assert other.blocks == ([(0, 2), (2, 3)] if old else [(0, 2)])


def test_blocks_that_another_process_has_queued_are_known_by_their_records(inline: InlineCluster) -> None:
    first = Other(inline, 6)
    first.advance()
    second = Other.__new__(Other)
    second.__dict__.update(first.__dict__)
    place: Place = Cluster("inline", root=inline.url.partition("://")[2], login_shell=True).place
    second.place, second.state = place, place.registry.get(first.key)
    assert second.blocks == []
    second.advance()
    assert second.blocks == first.blocks == [(0, 2), (2, 2)]


def test_elements_that_have_all_ended_are_not_queued(inline: InlineCluster) -> None:
    other = Other(inline, 99)
    other.state.add_outcomes(range(2, 5))
    names = {f"{element}.json": b"{}" for element in range(2, 6)}
    other.place.store.commit(other.key, OUTCOMES, names)
    other.advance()
    assert other.blocks == [(0, 2)]


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("retry", [0, 2])
def test_a_refusal_ends_all_that_waits_where_refusals_are_final(
    inline: InlineCluster, retry: int, *, final: bool
) -> None:
    other = Other(inline, 99, retry=retry)
    inline.queue.answer(Answer.REFUSED, times=9)
    other.advance(final=final)
    ended = other.place.store.done([other.key])[other.key]
    assert ended == (frozenset(range(2, 6)) if final else frozenset())
    assert [name for name in other.names(ATTEMPTS) if name.endswith("next.json")] == ["0.0.next.json"]
    if final:
        outcome = other.place.store.outcomes(other.key, [5], chunk=1)[5]
        assert outcome.error is not None
        assert (outcome.phase, outcome.error.type) == ("queue", SubmissionRefused.__name__)
        own = [name for name in other.names(OUTCOMES) if name == "5.json"]
        assert bool(own) is bool(retry), "elements that may run again have files of their own"
