"""What the files of elastic pools say about whether more elements may follow."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slurm.pools.client_files import ClientFiles
from slurm.pools.pool_files import PoolFiles
from slurm.tracking.elastic_pools import OPEN_DAYS, pool_growth
from slurm.transports.local import LocalTransport


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """The directory of a pool without clients, with a space in its path."""
    directory = tmp_path / "a pool"
    (directory / "attempts").mkdir(parents=True)
    return directory


def client_of(pool: Path) -> ClientFiles:
    return ClientFiles.create(PoolFiles(), f"{pool}", 0, inline=None)


def may_grow(*pools: Path) -> list[bool]:
    return [growth.may_grow for growth in pool_growth(LocalTransport(), [f"{pool}" for pool in pools])]


def test_a_pool_is_open_until_all_clients_have_closed_it(pool: Path) -> None:
    first, second = client_of(pool), client_of(pool)
    assert may_grow(pool) == [True]
    first.close()
    assert may_grow(pool) == [True]
    second.close()
    assert may_grow(pool) == [False]


def test_a_closed_pool_is_open_while_a_block_waits(pool: Path) -> None:
    client = client_of(pool)
    for number in range(2):
        client.add_block(bytes(32), number, [b"a call"])
    client.close()
    PoolFiles().claim(client.directory, "0.1", [0])
    assert may_grow(pool) == [True]
    PoolFiles().claim(client.directory, "0.1", [1])
    assert may_grow(pool) == [False]


def test_a_pool_that_was_cancelled_or_not_written_to_for_long_is_not_open(pool: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    client_of(pool), client_of(other)
    assert may_grow(pool, other) == [True, True]
    (pool / "attempts/ended").touch()
    assert may_grow(pool, other) == [False, True]
    then = time.time() - (OPEN_DAYS + 1) * 86400
    for path in (other / "clients/0/calls", other / "clients/0/out"):
        os.utime(path, (then, then))
    assert may_grow(pool, other) == [False, False]
    (other / "clients/0/out/3.1").touch()  # the answers of an element
    assert may_grow(pool, other) == [False, True]


def test_a_part_of_the_last_frame_does_not_close_a_pool(pool: Path) -> None:
    client = client_of(pool)
    client.close()
    calls = Path(client.directory, "calls")
    whole = calls.read_bytes()
    calls.write_bytes(whole[:-1])
    assert may_grow(pool) == [True]
    calls.write_bytes(whole)
    assert may_grow(pool) == [False]
