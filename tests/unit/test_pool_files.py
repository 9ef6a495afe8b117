"""The files of a pool under faults: torn frames, short writes, two who claim, replies that are lost."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from slurm.pools.pool_files import PoolFiles
from slurm.protocol.claims import Claims, claim_path, claimant, prepare
from slurm.protocol.frames import BLOCK, RESULT, FrameReader, Head, complete, encode, head_at, read_frame, write_at
from slurm.protocol.pools import pack, unpack

if TYPE_CHECKING:
    import pytest

BODIES = st.lists(st.binary(max_size=40) | st.binary(min_size=1, max_size=4).map(lambda b: b * 400_000), max_size=4)


def frames_of(bodies: list[bytes]) -> list[bytes]:
    return [encode(Head(RESULT, number), body) for number, body in enumerate(bodies)]


@given(BODIES, st.data())
def test_each_frame_is_read_once_and_whole_though_every_write_may_be_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path, offset = f"{directory}/out", 0
        write_at(path, 0, b"")
        reader = FrameReader(path)
        found = []
        for frame in frames_of(bodies):
            cut = data.draw(st.integers(0, len(frame)))
            write_at(path, offset, frame[:cut])
            found += list(reader.frames())
            assert len(found) == sum(1 for _ in found if _.offset + len(_.body) <= offset + cut)
            write_at(path, offset, frame)  # the writer repeats it at the same place
            offset += len(frame)
            if data.draw(st.booleans()):
                found += list(reader.frames())
        found += list(reader.frames())
        assert [frame.body for frame in found] == bodies
        assert [frame.head.number for frame in found] == list(range(len(bodies)))
        assert [read_frame(path, frame.offset) for frame in found] == found


def test_a_frame_that_is_sent_again_is_written_again(tmp_path: Path) -> None:
    (frame,) = frames_of([b"x" * 100])
    for _ in range(2):  # the reply to the first one was lost
        PoolFiles().write(str(tmp_path), 0, 0, frame)
    assert (tmp_path / "calls").read_bytes() == frame
    assert claimant(str(tmp_path), 0) is None


@given(BODIES, st.data())
def test_heads_are_read_once_and_their_bodies_may_come_later(bodies: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path, offset = f"{directory}/calls", 0
        write_at(path, 0, b"")
        reader = FrameReader(path)
        heads = []
        for frame, body in zip(frames_of(bodies), bodies, strict=True):
            cut = data.draw(st.integers(0, len(frame)))
            write_at(path, offset, frame[:cut])
            heads += list(reader.heads())
            if len(heads) and heads[-1][1] == offset and cut < len(frame):
                assert read_frame(path, offset) is None
            write_at(path, offset, frame)
            assert read_frame(path, offset).body == body  # type: ignore[union-attr] # it is there now
            offset += len(frame)
        heads += list(reader.heads())
        assert [head.number for head, _ in heads] == list(range(len(bodies)))


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_frame_with_a_changed_byte_is_not_read(body: bytes, data: st.DataObject) -> None:
    frame = bytearray(encode(Head(RESULT, 7), body))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as directory:
        write_at(f"{directory}/out", 0, frame)
        assert list(FrameReader(f"{directory}/out").frames()) == []
        assert read_frame(f"{directory}/out", 0) is None


def test_a_tail_that_arrives_before_its_head_is_not_read(tmp_path: Path) -> None:
    """As on network file systems, which show the pages of a file in any order."""
    path, (frame,) = str(tmp_path / "out"), frames_of([b"x" * 10_000])
    tmp_path.chmod(0o700)
    write_at(path, 5_000, frame[5_000:])
    reader = FrameReader(path)
    assert not [*reader.frames(), *reader.heads()]
    write_at(path, 0, frame[:5_000])
    assert [each.body for each in reader.frames()] == [b"x" * 10_000]


@given(BODIES, st.lists(st.integers(1, 500_000), max_size=8))
def test_frames_are_cut_out_of_what_a_pipe_brings(bodies: list[bytes], sizes: list[int]) -> None:
    stream, buffer, found = b"".join(frames_of(bodies)), bytearray(), []
    for size in (*sizes, len(stream)):
        buffer += stream[:size]
        stream = stream[size:]
        found += list(complete(buffer))
    assert [frame for _, frame in found] == frames_of(bodies)
    assert not buffer


@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(max_size=30), max_size=20))
def test_a_block_gives_back_its_calls(digest: bytes, calls: list[bytes]) -> None:
    assert unpack(pack(digest, calls)) == (digest.hex(), calls, b"")
    assert unpack(pack(digest, calls, b"{}")) == (digest.hex(), calls, b"{}")
    assert head_at(encode(Head(BLOCK, 3, first=9, calls=len(calls)), pack(digest, calls))[:-1]) is not None


def test_of_several_who_claim_a_block_one_gets_it(tmp_path: Path) -> None:
    blocks, names = range(4090, 4150), ["0.1", "1.1", "2.1", "client"]
    for block in (0, *blocks):
        prepare(str(tmp_path), block)
    taken: dict[str, list[int]] = {name: [] for name in names}

    def claim_all(name: str) -> None:
        claims = Claims(str(tmp_path), name)
        taken[name] = [block for block in blocks if claims.claim(block)]

    threads = [threading.Thread(target=claim_all, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(block for some in taken.values() for block in some) == list(blocks)
    assert all(claimant(str(tmp_path), block) == name for name, some in taken.items() for block in some)
    assert claimant(str(tmp_path), 1) is None


def test_a_claim_whose_reply_was_lost_is_still_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS repeats a request whose reply was lost, and is told that the link exists."""
    prepare(str(tmp_path), 0)
    mine, other = Claims(str(tmp_path), "0.1"), Claims(str(tmp_path), "1.1")
    link = os.link

    def link_twice(source: str, target: str) -> None:
        link(source, target)
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link_twice)
        assert mine.claim(5)
    assert not other.claim(5)
    assert claimant(str(tmp_path), 5) == "0.1"


def test_more_claims_than_a_file_may_have_links(tmp_path: Path) -> None:
    count = 21_000
    for block in range(count):
        prepare(str(tmp_path), block)
    claims = Claims(str(tmp_path), "3.1")
    assert all(claims.claim(block) for block in range(count))
    assert max(os.stat(claim_path(str(tmp_path), block)).st_nlink for block in (0, 10_000, count - 1)) <= 10_001
    assert {claimant(str(tmp_path), block) for block in (0, 9_999, 10_000, count - 1)} == {"3.1"}
