"""The files of a pool through a relay, which may end at any moment."""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path

import pytest

from slurm.errors import UntrustedFile
from slurm.places.place import place_for
from slurm.pools import relayed_files
from slurm.pools.client_files import ClientFiles
from slurm.pools.relayed_files import RelayedFiles, RelayedReader
from slurm.protocol.frames import ARGUMENTS, BLOCK, Head, encode, read_frame, write_at
from slurm.protocol.pools import INLINE_BYTES
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


def test_a_block_follows_its_arguments_although_relays_are_killed_and_the_disk_is_full(root: Path) -> None:
    files = RelayedFiles(place_for("local", root=root))
    client = ClientFiles.create(files, f"{root}/jobs/pool", 1, inline=INLINE_BYTES)
    some = [os.urandom(size) for size in (5_000_000, 10, 70_000, 9_000_000, 80_000)]
    blocks, killed = Path(client.directory, "calls"), list[bool]()

    def write(*numbers: int) -> None:
        for number in numbers:
            client.add_block(bytes(32), number, client.add_arguments(number, [some[number]]))
            if number != 3:
                killed.append(kill(root))
        client.flush()

    def check(count: int) -> None:
        heads = [Head(*head) for head, _ in files.heads(str(blocks), 0)]
        assert [head.number for head in heads] == list(range(count))
        for number in set(range(count)) - {1}:
            frame = read_frame(f"{client.directory}/arguments/{number}", 0)
            assert frame is not None
            assert (frame.head.kind, frame.head.number, frame.body) == (ARGUMENTS, number, some[number])

    write(0, 1, 2)
    assert any(killed)
    check(3)
    size = blocks.stat().st_size
    (relay,) = relays(root)
    resource.prlimit(relay, resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    writing = threading.Thread(target=write, args=(3, 4))
    writing.start()
    until(Path(client.directory, "arguments", "3").exists)
    until(lambda: Path(client.directory, "arguments", "3").stat().st_size == 1_000_000)
    assert blocks.stat().st_size == size
    resource.prlimit(relay, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writing.join(120)
    check(5)
    kill(root)


def test_what_calls_share_is_whole_although_a_relay_is_killed(root: Path) -> None:
    files = RelayedFiles(place_for("local", root=root))
    client = ClientFiles.create(files, f"{root}/jobs/pool", 1, inline=INLINE_BYTES)
    some, functions = [os.urandom(size) for size in (150_000_000, 1000)], Path(client.directory, "functions")
    (relay,) = relays(root)
    writing = threading.Thread(target=client.add_function, args=(some[0], 0))
    writing.start()
    until(lambda: bool(list(functions.iterdir())))
    os.kill(relay, signal.SIGKILL)
    digests = [client.add_function(some[1], 0, "3"), client.add_function(some[0], 0)]
    writing.join(120)
    assert sorted(path.name for path in functions.iterdir()) == sorted(digest.hex() for digest in digests)
    for digest, data in zip(digests, (some[1], some[0]), strict=True):
        assert (functions / digest.hex() / "calls.pkl").read_bytes() == data
    assert relays(root) != [relay]
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
