"""What `cluster.put` sends is what a task has, whatever the sizes of its arrays."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from slurm import task
from slurm.testing import InlineCluster

SIZES = [[0], [1], [64], [5, 64, 1, 130], [64, 64], [3, 0, 3]]


class Arrays:
    """Has its data in buffers of its own, as NumPy arrays have."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        return Arrays, ([pickle.PickleBuffer(part) for part in self.parts],)


@task(time="5")
def contents(arrays: Arrays) -> list[tuple[bytes, bool]]:
    views = [memoryview(part) for part in arrays.parts]
    return [(bytes(view), view.readonly) for view in views]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_arrays_arrive_whole_and_read_only(sizes: list[int], inline: InlineCluster) -> None:
    parts = [bytearray(range(number, number + size)) for number, size in enumerate(sizes)]
    assert contents(inline.put(Arrays(parts))).result(30) == [(bytes(part), True) for part in parts]
