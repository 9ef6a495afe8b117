"""How an elastic pool decides how many elements to add, and how large it may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.clusters.pool import Workers, size_of
from slurm.errors import OptionError
from slurm.pools.growth_rule import Demand, elements_to_add

IDLE = Demand(least=0, most=8, workers=2, begun=0, queued=0, waiting=0, longest=0.0, start=2.0, since=100.0)


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({}, 0),
        ({"least": 3}, 0),  # nothing waits
        ({"waiting": 1}, 1),  # there is no element, so one is added at once
        ({"waiting": 1, "least": 3}, 3),
        ({"waiting": 1, "least": 3, "most": 2}, 2),
        ({"waiting": 100}, 1),  # one at first; later, the number doubles
        ({"begun": 1, "waiting": 100, "longest": 1.9}, 0),  # not longer than an element takes to start
        ({"begun": 1, "waiting": 100, "longest": 2.1}, 1),
        ({"begun": 3, "waiting": 100, "longest": 2.1}, 3),
        ({"begun": 6, "waiting": 100, "longest": 2.1}, 2),
        ({"begun": 8, "waiting": 100, "longest": 2.1}, 0),
        ({"begun": 4, "waiting": 3, "longest": 2.1}, 2),  # two workers of each element take three blocks
        ({"begun": 4, "queued": 2, "waiting": 4, "longest": 2.1}, 0),  # the elements in the queue will take them
        ({"begun": 4, "queued": 2, "waiting": 6, "longest": 2.1}, 1),
        (
            {"queued": 1, "waiting": 100, "longest": 50.0, "since": 1.0},
            0,
        ),  # the element in the queue may begin at any moment
        ({"queued": 8, "waiting": 100, "longest": 50.0}, 0),
    ],
)
def test_elements_are_added_when_calls_wait_longer_than_one_takes_to_start(changes: dict[str, Any], added: int) -> None:
    assert elements_to_add(IDLE._replace(**changes)) == added


COUNT = st.integers(0, 100)
SECONDS = st.floats(0, 1000)


@given(st.builds(Demand, COUNT, COUNT, st.just(3), COUNT, COUNT, COUNT, SECONDS, SECONDS, SECONDS))
def test_a_pool_never_exceeds_its_largest_size_and_always_serves_what_waits(demand: Demand) -> None:
    demand = demand._replace(most=max(1, demand.most))
    begun, queued, waiting, most = demand.begun, demand.queued, demand.waiting, demand.most
    added = elements_to_add(demand)
    assert added >= 0
    assert added == 0 or begun + queued + added <= most
    assert waiting or not added
    if waiting and not begun + queued:
        assert added
    if added and begun + queued:
        assert (queued + added - 1) * 3 < waiting  # each added element finds a block


@pytest.mark.parametrize(
    ("nodes", "workers", "size"),
    [
        (1, 8, (1, 1, 8)),
        (1, (8, 8), (1, 1, 8)),
        (2, 8, (2, 2, 8)),
        (2, (16, 16), (2, 2, 8)),
        (1, (0, 64), (0, 64, 1)),
        (8, (0, 64), (0, 8, 8)),
        (8, (12, 64), (2, 8, 8)),
        (1, (1, 2), (1, 2, 1)),
    ],
)
def test_two_numbers_of_workers_are_the_least_and_the_most_in_all(
    nodes: int, workers: Workers, size: tuple[int, int, int]
) -> None:
    assert size_of(nodes, workers) == size


@pytest.mark.parametrize(
    ("nodes", "workers", "why"),
    [
        (1, (8, 4), "larger"),
        (3, (0, 64), "multiple"),
        (1, (1, 2, 3), "least and the most"),
        (1, (0, 0), "whole number from 1"),
        (1, 0, "whole number from 1"),
        (0, (0, 4), "whole number from 1"),
    ],
)
def test_sizes_that_no_pool_can_have_are_refused(nodes: int, workers: Workers, why: str) -> None:
    with pytest.raises((OptionError, ValueError), match=why):
        size_of(nodes, workers)
