"""The slots of an executor: what starts when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurm.jobs.backlog import Backlog, Entry
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Element:
    """A job that ends when the test says so."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], object]] = []

    def when_finished(self, callback: Callable[[], object], /) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: None

    def end(self) -> None:
        for callback in self.callbacks:
            callback()


class Submissions:
    """Adds entries to a backlog, and knows what has become of them."""

    def __init__(self, slots: int | None) -> None:
        self.backlog = Backlog(slots)
        self.started: dict[str, list[Element]] = {}
        self.failed: dict[str, BaseException] = {}
        self.dropped: list[str] = []

    def add(self, name: str, elements: int = 1, *, alone: bool = False) -> Entry:
        def start() -> list[Element]:
            if not elements:
                raise ValueError(name)
            self.started[name] = [Element() for _ in range(elements)]
            return self.started[name]

        def failed(error: BaseException) -> None:
            self.failed[name] = error

        entry = Entry(start, failed, lambda: self.dropped.append(name), alone=alone)
        self.backlog.add(entry)
        return entry

    def end(self, name: str, number: int = 0) -> None:
        self.started[name][number].end()


@pytest.fixture
def two() -> Iterator[Submissions]:
    made = Submissions(2)
    yield made
    made.backlog.clear()


def test_without_a_limit_everything_starts_at_once() -> None:
    free = Submissions(None)
    for number in range(5):
        free.add(f"{number}", 10, alone=True)
    assert len(free.started) == 5


def test_an_entry_starts_when_another_has_ended_and_in_order(two: Submissions) -> None:
    for name in "abcd":
        two.add(name)
    assert list(two.started) == ["a", "b"]
    two.end("b")
    until(lambda: "c" in two.started)
    assert "d" not in two.started
    two.end("a")
    until(lambda: "d" in two.started)
    two.backlog.drain()


def test_a_map_waits_for_all_slots_and_frees_them_as_its_last_elements_end(two: Submissions) -> None:
    two.add("a")
    two.add("map", 3, alone=True)
    two.add("b")
    two.add("c")
    assert list(two.started) == ["a"]
    two.end("a")
    until(lambda: "map" in two.started)
    two.end("map", 0)
    assert "b" not in two.started
    two.end("map", 2)
    until(lambda: "b" in two.started)
    assert "c" not in two.started
    two.end("map", 1)
    until(lambda: "c" in two.started)


def test_a_map_takes_no_more_slots_than_it_has_elements(two: Submissions) -> None:
    two.add("map", 1, alone=True)
    two.add("a")
    assert list(two.started) == ["map", "a"]


def test_a_start_that_fails_frees_its_slots(two: Submissions) -> None:
    with pytest.raises(ValueError, match="now"):
        two.add("now", 0, alone=True)
    two.add("a")
    two.add("map", 2, alone=True)
    two.add("later", 0)
    assert list(two.started) == ["a"]
    two.end("a")
    until(lambda: "map" in two.started)
    two.end("map", 0)
    until(lambda: "later" in two.failed)
    assert isinstance(two.failed["later"], ValueError)
    two.add("b")
    until(lambda: "b" in two.started)


def test_only_an_entry_that_waits_can_be_withdrawn(two: Submissions) -> None:
    first = two.add("a")
    two.add("b")
    waits = two.add("c")
    two.add("d")
    assert not two.backlog.withdraw(first)
    assert two.backlog.withdraw(waits)
    assert not two.backlog.withdraw(waits)
    two.end("a")
    until(lambda: "d" in two.started)
    two.add("e")
    two.backlog.clear()
    two.backlog.drain()
    assert two.dropped == ["c", "e"]
    assert "c" not in two.started
