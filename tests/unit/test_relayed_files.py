"""The files of a pool through a relay, which may end at any moment."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from slurm.errors import UntrustedFile
from slurm.places.place import place_for
from slurm.pools import relayed_files
from slurm.pools.relayed_files import RelayedFiles, RelayedReader
from slurm.protocol.frames import BLOCK, Head, encode, write_at
from waiting import until


def relays(root: Path) -> list[int]:
    """The processes of relays that run from this root."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if b"\0slurm.pools.pool_files\0" in text and os.fsencode(root) in text:
            found.append(int(path.parent.name))
    return found


def kill(root: Path) -> bool:
    """Kill the relay, and wait for the client to see it. Says whether there was one: the next request starts it."""
    running = relays(root)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not relays(root))
    return bool(running)


def block(number: int, body: bytes = b"") -> bytes:
    return encode(Head(BLOCK, number), body)


def test_what_is_written_and_read_is_whole_although_relays_are_killed(root: Path) -> None:
    files = RelayedFiles(place_for("local", root=root))
    pool = f"{root}/jobs/pool"
    number = files.create_client(pool, 2, "first")
    assert kill(root)
    assert files.create_client(pool, 2, "first") == number  # a request that is repeated
    assert files.create_client(pool, 2, "second") == number + 1
    directory = f"{pool}/clients/{number}"
    offset, sent = 0, []
    for at in range(20):
        frame = block(at, bytes([at]) * 1000)
        sent.append(files.write(directory, at, offset, frame))
        offset += len(frame)
        if at % 7 == 3:
            kill(root)
    for written in sent:
        files.wait(written)
    assert Path(directory, "calls").read_bytes() == b"".join(block(at, bytes([at]) * 1000) for at in range(20))
    assert [Head(*head).number for head, _ in files.heads(f"{directory}/calls", 0)] == list(range(20))
    assert files.claim(directory, "cancelled", [3, 4]) == [True, True]
    kill(root)
    assert files.claim(directory, "cancelled", [3, 4]) == [True, True]
    assert files.claim(directory, "ended", [4, 5]) == [False, True]
    assert files.claimants(directory, [3, 5, 6]) == ["cancelled", "ended", None]
    kill(root)


def test_frames_arrive_once_and_wake_their_reader(root: Path) -> None:
    files = RelayedFiles(place_for("local", root=root))
    directory = f"{root}/jobs/pool/clients/{files.create_client(f'{root}/jobs/pool', 1, 'first')}"
    outbox, news = f"{directory}/out/0.1", threading.Event()
    reader = files.reader(outbox, news.set)
    assert isinstance(reader, RelayedReader)
    assert list(reader.frames()) == []
    offset, found = 0, list[int]()

    def found_all() -> bool:
        found.extend(frame.head.number for frame in reader.frames())
        return len(found) >= count

    for count in range(1, 7):
        news.clear()
        write_at(outbox, offset, block(count))
        offset += len(block(count))
        until(found_all)
        assert news.wait(60)
        if count % 3 == 0:
            kill(root)
        if count % 4 == 0:
            files.rest([reader])
            assert list(reader.frames()) == []
    assert found == list(range(1, 7))
    Path(outbox).chmod(0o666)
    with pytest.raises(UntrustedFile, match="writable by other users"):
        until(lambda: list(reader.frames()))
    with pytest.raises(FileNotFoundError):
        files.frame(f"{directory}/none", 0)
    kill(root)


def test_a_relay_that_is_frozen_is_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relayed_files, "_SILENT_SECONDS", 1.0)
    files = RelayedFiles(place_for("local", root=root))
    directory = f"{root}/jobs/pool/clients/{files.create_client(f'{root}/jobs/pool', 1, 'first')}"
    (frozen,) = relays(root)
    os.kill(frozen, signal.SIGSTOP)
    files.wait(files.write(directory, 0, 0, block(0)))
    assert files.frame(f"{directory}/calls", 0) is not None
    assert frozen not in relays(root)
    kill(root)
