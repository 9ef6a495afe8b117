"""Answers of a pool's elements, of which some cannot be read."""

from __future__ import annotations

from pathlib import Path
from pickle import dumps

import pytest

from slurm.errors import ProtocolError, UntrustedFile
from slurm.pools.answers import Answers
from slurm.pools.pool_files import PoolFiles
from slurm.pools.verdicts import cancelled
from slurm.protocol.frames import RESULT, Head, encode, write_at
from slurm.protocol.pools import OUT, outbox_name
from slurm.transports.local import LocalTransport


def answered(directory: Path, element: int, *numbers: int) -> Path:
    """An outbox with the answers to calls."""
    path = directory / OUT / outbox_name(element)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_at(str(path), 0, b"".join(encode(Head(RESULT, number), dumps(number * number)) for number in numbers))
    return path


def answers_in(directory: Path, elements: int) -> Answers:
    """The answers of so many elements in a client's directory."""
    answers = Answers(LocalTransport(), PoolFiles(), directory=str(directory), wake=lambda: None)
    answers.add_elements(range(elements))
    return answers


@pytest.mark.parametrize("missing", [True, False])
def test_an_outbox_that_cannot_be_read_delays_no_answers_of_others(tmp_path: Path, *, missing: bool) -> None:
    paths = [answered(tmp_path, 0, 4, 1), answered(tmp_path, 1, 0), answered(tmp_path, 2, 3, 2)]
    answers, found = answers_in(tmp_path, 3), set[int]()
    away = tmp_path / "away"
    if missing:
        paths[1].rename(away)
    else:
        paths[1].chmod(0o666)
    with pytest.raises(FileNotFoundError if missing else UntrustedFile):
        answers.read(found)
    assert found == {1, 2, 3, 4}
    assert answers.results(found).results == {number: number * number for number in (1, 2, 3, 4)}
    if missing:
        away.rename(paths[1])
    else:
        paths[1].chmod(0o600)
    found.clear()
    answers.read(found)
    assert found == {0}


def test_the_first_end_of_a_call_counts(tmp_path: Path) -> None:
    paths = [answered(tmp_path, 0, 7), answered(tmp_path, 1, 7)]
    answers, found = answers_in(tmp_path, 2), set[int]()
    answers.read(found)
    assert found == {7}
    assert not answers.conclude(7, cancelled())
    assert answers.conclude(8, cancelled())
    write_at(str(paths[1]), paths[1].stat().st_size, encode(Head(RESULT, 8), dumps("late")))
    found.clear()
    answers.read(found)
    assert found == set()
    assert answers.results([7, 8]).results == {7: 49}
    assert answers.outcomes([8]).read == {8: cancelled()}


def test_a_result_is_read_again_from_its_file_and_a_change_is_noticed(tmp_path: Path) -> None:
    path = answered(tmp_path, 0, 2, 3)
    answers = answers_in(tmp_path, 1)
    answers.read(set())
    assert answers.results([3]).results == answers.results([3]).results == {3: 9}
    path.write_bytes(b"x" * path.stat().st_size)
    assert isinstance(answers.results([3]).unloaded[3], ProtocolError)
