"""Files of calls over every transport: they are listed as they are, and arrive whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.errors import ConnectionLost, TransportError
from slurm.plugins import plugin
from slurm.storage import download as download_module
from slurm.storage.download import Download, download
from slurm.storage.work_files import digests, list_files
from slurm.transports.base import Transport
from slurm.url import ClusterURL

URLS = ("local", "local+ssh://box", "local+paramiko://box")
STRANGE = ("no te\nü '$(touch x)' *.txt", "-rf", "back\\slash", ".hidden", os.fsdecode(b"not-utf8-\xff"), "100%d")


@pytest.fixture(params=URLS)
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    url = ClusterURL.parse(request.param)
    if "+" in request.param:
        request.getfixturevalue("ssh_env")
    transport = plugin("transports", url.transport).from_url(url)
    yield transport
    transport.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The output directory of a call; its path is hard to quote."""
    found = tmp_path / "a 'root' ü" / "work" / "0"
    found.mkdir(parents=True)
    return found


def fetch(transport: Transport, work: Path, to: Path) -> None:
    (listing,) = list_files(transport, [str(work)])
    download(transport, [Download(file, file.name) for file in listing.files], str(to))


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_every_name_is_listed_and_arrives_as_it_is(transport: Transport, work: Path, tmp_path: Path) -> None:
    (work / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(STRANGE):
        (work / name).write_bytes(b"%d" % number)
        (work / "deep" / "er" / name).write_bytes(b"")
    (listing,) = list_files(transport, [str(work)])
    assert {file.name: file.size for file in listing.files} == {
        **dict.fromkeys(STRANGE, 1),
        **{f"deep/er/{name}": 0 for name in STRANGE},
    }
    fetch(transport, work, tmp_path / "here")
    assert contents(tmp_path / "here") == contents(work)
    assert not (work / "x").exists()


def test_directories_are_listed_in_order_and_missing_ones_are_empty(transport: Transport, work: Path) -> None:
    other = work.parent / "12"
    other.mkdir()
    (work / "a").touch()
    (other / "b").touch()
    listed = list_files(transport, [str(other), str(work.parent / "7"), str(work)])
    assert [[file.name for file in listing.files] for listing in listed] == [["b"], [], ["a"]]


def test_links_within_the_directory_are_followed_and_others_are_told(transport: Transport, work: Path) -> None:
    (work / "inner").mkdir()
    (work / "inner" / "file").write_bytes(b"four")
    (work / "soft").symlink_to("inner/file")
    (work / "chain").symlink_to("soft")
    (work / "to-directory").symlink_to("inner")
    (work / "absolute").symlink_to(work / "inner" / "file")
    (work / "outside").symlink_to("/etc/passwd")
    (work / "up").symlink_to("../../..")
    (work / "beside").symlink_to(f"../{work.name}0")
    (work.parent / f"{work.name}0").touch()  # its path begins with that of the directory
    (work / "dangling").symlink_to("nothing")
    (work / "loop").symlink_to("loop")
    os.mkfifo(work / "pipe")
    (listing,) = list_files(transport, [str(work)])
    assert {file.name: file.size for file in listing.files} == dict.fromkeys(
        ["absolute", "chain", "inner/file", "soft"], 4
    )
    assert set(listing.outside) == {"outside", "up", "beside"}
    assert listing.outside["outside"] == "/etc/passwd"
    assert listing.directories == {"to-directory": "inner"}


def test_hard_links_and_links_arrive_with_their_content(transport: Transport, work: Path, tmp_path: Path) -> None:
    (work / "first").write_bytes(b"shared")
    os.link(work / "first", work / "second")
    (work / "third").symlink_to("second")
    fetch(transport, work, tmp_path / "here")
    assert contents(tmp_path / "here") == dict.fromkeys(["first", "second", "third"], b"shared")
    assert not any(path.is_symlink() for path in (tmp_path / "here").iterdir())


def test_digests_are_those_of_the_cluster(transport: Transport, work: Path) -> None:
    for name in STRANGE:
        (work / name).write_bytes(name.encode(errors="surrogateescape") * 1000)
    paths = [f"{work}/{name}" for name in STRANGE]
    expected = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}
    assert digests(transport, paths) == expected
    with pytest.raises(TransportError, match=r"nothing cannot be read.*No such file"):
        digests(transport, [*paths, f"{work}/nothing"])


def test_parts_have_a_limit_and_a_second_download_sends_nothing(
    transport: Transport, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "PART_BYTES", 10_000)
    for number in range(6):
        (work / f"{number}").write_bytes(os.urandom(2_500))
    (work / "huge").write_bytes(os.urandom(40_000))
    sent = watch(transport, monkeypatch)
    fetch(transport, work, tmp_path / "here")
    assert contents(tmp_path / "here") == contents(work)
    assert [len(part) for part in sent] == [2, 2, 2, 1]
    fetch(transport, work, tmp_path / "here")
    assert len(sent) == 4
    (tmp_path / "here" / "3").write_bytes(b"changed here")
    fetch(transport, work, tmp_path / "here")
    assert sent[4:] == [[f"{work}/3"]]
    assert contents(tmp_path / "here") == contents(work)


def test_an_interrupted_download_goes_on_where_it_was(
    transport: Transport, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "PART_BYTES", 1)
    for number in range(4):
        (work / f"{number}").write_bytes(os.urandom(2_500))
    sent = watch(transport, monkeypatch)
    original = transport.fetch

    def break_off(paths: list[str]) -> Iterator[object]:
        if paths[0].endswith("2"):
            raise ConnectionLost("the connection broke")
        return original(paths)

    monkeypatch.setattr(transport, "fetch", break_off)
    with pytest.raises(ConnectionLost):
        fetch(transport, work, tmp_path / "here")
    monkeypatch.setattr(transport, "fetch", original)
    assert {name: (work / name).read_bytes() for name in ("0", "1")} == contents(tmp_path / "here")
    sent.clear()
    fetch(transport, work, tmp_path / "here")
    assert sent == [[f"{work}/2"], [f"{work}/3"]]
    assert contents(tmp_path / "here") == contents(work)


def watch(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The paths that are fetched from now on, by part."""
    sent: list[list[str]] = []
    original = transport.fetch

    def fetch(paths: list[str]) -> Iterator[object]:
        sent.append(paths)
        return original(paths)

    monkeypatch.setattr(transport, "fetch", fetch)
    return sent


def test_a_file_that_changes_while_it_is_sent_is_sent_again(
    transport: Transport, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "log").write_bytes(b"1")
    original = transport.fetch

    def grow(paths: list[str]) -> Iterator[object]:
        if len((work / "log").read_bytes()) < 3:
            with (work / "log").open("ab") as file:
                file.write(b"+")
        return original(paths)

    monkeypatch.setattr(transport, "fetch", grow)
    fetch(transport, work, tmp_path / "here")
    assert contents(tmp_path / "here") == {"log": b"1++"}


def test_a_file_that_keeps_changing_is_an_error_and_leaves_nothing(
    transport: Transport, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "log").write_bytes(b"1")
    original = transport.fetch

    def grow(paths: list[str]) -> Iterator[object]:
        with (work / "log").open("ab") as file:
            file.write(b"+")
        return original(paths)

    monkeypatch.setattr(transport, "fetch", grow)
    with pytest.raises(TransportError, match="log changes while it is copied"):
        fetch(transport, work, tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def test_a_file_that_cannot_be_read_is_an_error_with_its_path(transport: Transport, work: Path, tmp_path: Path) -> None:
    (work / "a").write_bytes(b"a")
    (listing,) = list_files(transport, [str(work)])
    (work / "a").unlink()
    with pytest.raises(TransportError, match=f"{work}/a cannot be read"):
        download(transport, [Download(file, file.name) for file in listing.files], str(tmp_path / "here"))


def test_a_link_here_that_leads_out_of_the_target_is_refused(transport: Transport, work: Path, tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "out").symlink_to(elsewhere)
    (here / "last").symlink_to(elsewhere / "victim")
    (work / "out").mkdir()
    (work / "out" / "a").write_bytes(b"a")
    with pytest.raises(TransportError, match="out is a link that leads out of"):
        fetch(transport, work, here)
    (here / "out").unlink()
    (work / "last").write_bytes(b"last")
    fetch(transport, work, here)  # a link of a file's own name is replaced
    assert contents(here) == {"out/a": b"a", "last": b"last"}
    assert list(elsewhere.iterdir()) == []


def test_files_are_listed_without_the_extensions_of_gnu_find(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = plugin("transports", "local").from_url(ClusterURL.parse("local"))
    for name in STRANGE:
        (work / name).write_bytes(b"1234567")
    os.link(work / "-rf", work / "hard")
    (expected,) = list_files(transport, [str(work)])
    plain = tmp_path / "bin" / "find"  # a stand-in for find of busybox
    plain.parent.mkdir()
    plain.write_text('#!/bin/sh\ncase "$*" in *-printf*) exit 1 ;; esac\nexec /usr/bin/find "$@"\n')
    plain.chmod(0o755)
    monkeypatch.setenv("PATH", f"{plain.parent}:{os.environ['PATH']}")
    (listing,) = list_files(transport, [str(work)])
    assert [file[:3] for file in listing.files] == [file[:3] for file in expected.files]
    assert len({file.identity for file in listing.files}) == len(STRANGE)
