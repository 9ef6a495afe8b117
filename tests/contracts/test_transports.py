"""The transport seam: what every transport does. A new one is a subclass with a `transport` fixture."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm.errors import ConnectionLost, TransportError, UntrustedFile
from slurm.notifications.progress_reader import ProgressQuery, read_progress
from slurm.plugins import plugin
from slurm.transports.base import Transport
from slurm.transports.local import LocalTransport
from slurm.transports.remote import path_in
from slurm.url import ClusterURL
from testbed import SSHTestbed

_ARGUMENTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4)
_SHARED = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)  # one place, of each subclass
_NAMES = st.from_regex(r"[a-z][a-z0-9 ü'\"$*-]{0,12}", fullmatch=True)


class TransportContract:
    """Subclasses give `transport`; `directory` is a place there that can also be seen from here."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        return tmp_path / "a 'place' ü"

    def test_a_command_gives_its_status_and_both_outputs(self, transport: Transport) -> None:
        done = transport.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err\n")
        assert done.words == "err\nout"

    def test_standard_input_arrives_whole_and_ends(self, transport: Transport) -> None:
        data = b"line\n" * 50_000
        assert transport.run(["wc", "-c"], stdin=data).stdout.strip() == str(len(data))
        assert transport.run(["cat"]).stdout == ""

    def test_a_command_that_runs_on_exchanges_bytes(self, transport: Transport) -> None:
        stream = transport.stream(["sh", "-c", "echo here; exec cat"])
        assert stream.read(5) == b"here\n"
        for size in 1, 300_000:
            data = os.urandom(size)
            writing = threading.Thread(target=stream.write, args=(data,))
            writing.start()
            assert stream.read(size) == data
            writing.join()
        assert transport.run(["echo", "beside"]).stdout == "beside\n"
        stream.close()
        failing = transport.stream(["sh", "-c", "echo why >&2; exit 3"])
        with pytest.raises(ConnectionLost, match="why"):
            failing.read(1)
        failing.close()

    @settings(max_examples=25, deadline=None, suppress_health_check=_SHARED)
    @given(arguments=_ARGUMENTS)
    def test_arguments_arrive_as_they_are(self, transport: Transport, arguments: list[str]) -> None:
        done = transport.run(["printf", r"<%s>\n", *arguments])
        assert done.stdout == "".join(f"<{argument}>\n" for argument in arguments or [""])

    def test_a_command_that_is_not_there_has_the_shells_status(
        self, transport: Transport, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory.mkdir(mode=0)  # nobody but root may look into it
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        done = transport.run(["no-such-command-anywhere"])
        assert done.status == 127
        assert "no-such-command-anywhere" in done.words

    def test_a_command_that_takes_too_long_is_an_error_soon(self, transport: Transport) -> None:
        begin = time.monotonic()
        with pytest.raises(TransportError, match=r"sleep .*0.2"):
            transport.run(["sleep", "30"], timeout=0.2)
        assert time.monotonic() - begin < 25

    @settings(max_examples=20, deadline=None, suppress_health_check=_SHARED)
    @given(files=st.dictionaries(_NAMES, st.binary(max_size=1000), max_size=5))
    def test_files_come_back_as_they_were_put(
        self, transport: Transport, directory: Path, files: dict[str, bytes]
    ) -> None:
        transport.put(str(directory), files, directories=("inner",))
        paths = {name: f"{directory}/{name}" for name in files}
        assert transport.get(list(paths.values()), private=True) == {paths[name]: files[name] for name in files}
        assert {*files, "inner"} <= set(transport.list([str(directory)])[str(directory)])

    def test_files_and_directories_are_the_users_alone(self, transport: Transport, directory: Path) -> None:
        transport.put(str(directory / "deep"), {"f": b""}, directories=("inner",))
        for path, mode in (("deep", 0o700), ("deep/inner", 0o700), ("deep/f", 0o600), (".", 0o700)):
            assert stat.S_IMODE(os.stat(directory / path).st_mode) == mode

    def test_files_go_into_directories_below_too(self, transport: Transport, directory: Path) -> None:
        files = {"top": b"1", "a/b/f": b"2", "a/b/g": b"3", "c/f": b"4"}
        transport.put(str(directory), files, directories=("a/b", "c"))
        paths = {name: f"{directory}/{name}" for name in files}
        assert transport.get(list(paths.values())) == {paths[name]: data for name, data in files.items()}
        assert sorted(os.listdir(directory)) == ["a", "c", "top"]
        assert stat.S_IMODE((directory / "a").stat().st_mode) == 0o700

    def test_a_file_is_replaced_whole(self, transport: Transport, directory: Path) -> None:
        transport.put(str(directory), {"f": b"old" * 1000})
        reader = (directory / "f").open("rb")
        transport.put(str(directory), {"f": b"new"})
        assert reader.read() == b"old" * 1000
        reader.close()
        assert transport.list([str(directory)])[str(directory)] == ["f"]

    def test_megabytes_pass_both_ways(self, transport: Transport, directory: Path) -> None:
        data = os.urandom(1 << 20) * 8
        transport.put(str(directory), {"big": data})
        assert transport.get([f"{directory}/big"])[f"{directory}/big"] == data

    def test_what_is_large_takes_no_memory_and_leaves_nothing(
        self, transport: Transport, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        large, temporary = os.urandom(1 << 20) * 64, directory / "temporary"
        transport.put(str(directory), {"small": b"a", "large": large, "last": b"z"}, directories=["temporary"])
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        expected, found = hashlib.sha256(large).digest(), {}
        tracemalloc.start()
        for file in transport.fetch([f"{directory}/{name}" for name in ("small", "none", "large", "last")]):
            found[Path(file.path).name] = file.size, hashlib.sha256()
            for block in file.blocks():
                found[Path(file.path).name][1].update(block)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert [(name, size) for name, (size, _) in found.items()] == [("small", 1), ("large", 64 << 20), ("last", 1)]
        assert found["large"][1].digest() == expected
        assert peak < 32 << 20
        assert os.listdir(temporary) == []

    def test_what_is_not_there_is_left_out(self, transport: Transport, directory: Path) -> None:
        assert transport.get([f"{directory}/nothing", f"{directory}/no/thing"]) == {}
        assert [*transport.list([str(directory)])[str(directory)]] == []

    def test_many_directories_are_listed_at_once(self, transport: Transport, directory: Path) -> None:
        for name in "ab":
            transport.put(f"{directory}/{name}", {f"in-{name}": b""})
        listed = transport.list([f"{directory}/a", f"{directory}/b", f"{directory}/c"])
        assert {path: list(names) for path, names in listed.items()} == {
            f"{directory}/a": ["in-a"],
            f"{directory}/b": ["in-b"],
            f"{directory}/c": [],
        }

    def test_what_is_wrong_with_a_file_is_told_of_that_file(self, transport: Transport, directory: Path) -> None:
        transport.put(str(directory), dict.fromkeys(("1", "11", "open"), b"data"), directories=("place", "place/in"))
        (directory / "open").chmod(0o606)
        paths = {name: f"{directory}/{name}" for name in ("1", "place", "gone", "open", "11")}
        found = transport.get_each(list(paths.values()), private=True)
        assert {path: data for path, data in found.items() if isinstance(data, bytes)} == {
            paths["1"]: b"data",
            paths["11"]: b"data",
        }
        assert {path: type(error) for path, error in found.items() if not isinstance(error, bytes)} == {
            paths["place"]: TransportError,
            paths["open"]: UntrustedFile,
        }
        assert f"{directory}/place" in str(found[paths["place"]])
        with pytest.raises(TransportError, match="place"):
            transport.get([paths["1"], paths["place"]])

    @pytest.mark.parametrize("loose", ["file", "directory"])
    def test_private_files_must_not_be_writable_by_others(
        self, transport: Transport, directory: Path, loose: str
    ) -> None:
        transport.put(str(directory), {"f": b"x"})
        place = directory / "f" if loose == "file" else directory
        place.chmod(place.stat().st_mode | 0o002)
        assert transport.get([f"{directory}/f"]) == {f"{directory}/f": b"x"}
        with pytest.raises(UntrustedFile):
            transport.get([f"{directory}/f"], private=True)

    def test_a_place_that_cannot_be_written_is_named(self, transport: Transport, directory: Path) -> None:
        transport.put(str(directory), {"file": b""})
        with pytest.raises(TransportError, match="file"):
            transport.put(f"{directory}/file/inside", {"f": b""})

    def test_a_file_of_this_machine_that_cannot_be_read_is_named(
        self, transport: Transport, directory: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(TransportError, match=f"{tmp_path}/gone cannot be read"):
            transport.put(str(directory), {"first": b"1", "second": tmp_path / "gone"})
        assert not (directory / "second").exists()

    def test_it_works_again_after_close(self, transport: Transport) -> None:
        transport.close()
        assert transport.run(["true"]).status == 0


class TestLocal(TransportContract):
    @pytest.fixture
    def transport(self) -> Transport:
        return LocalTransport.from_url(ClusterURL.parse("local"))


class _TestRemote(TransportContract):
    """The far side is an sshd of this machine, so that its directories can be seen from here."""

    url: str
    login_shell = False

    @pytest.fixture
    def transport(self, ssh_env: SSHTestbed) -> Iterator[Transport]:
        parsed = ClusterURL.parse(self.url)
        transport = plugin("transports", parsed.transport).from_url(parsed, login_shell=self.login_shell)
        yield transport
        transport.close()


class TestOpenSSH(_TestRemote):
    url = "slurm+openssh://box"


class TestOpenSSHInALoginShell(_TestRemote):
    url = "slurm+openssh://box"
    login_shell = True


class TestParamiko(_TestRemote):
    url = "slurm+paramiko://box"


@pytest.mark.parametrize("scheme", ["ssh", "paramiko"])
def test_what_users_export_there_changes_nothing(
    new_ssh: Callable[..., SSHTestbed], tmp_path: Path, scheme: str
) -> None:
    exported = {
        "CDPATH": "/usr",
        "TIME_STYLE": "+%s",
        "QUOTING_STYLE": "shell-always",
        "TAR_OPTIONS": "--exclude=*.json",
    }
    new_ssh(environment={**exported, "POSIXLY_CORRECT": "1", "BLOCK_SIZE": "1M", "LS_BLOCK_SIZE": "1M"})
    url = ClusterURL.parse(f"local+{scheme}://box")
    transport = plugin("transports", url.transport).from_url(url)
    transport.put(str(tmp_path), {"a.json": b"{}", "lib/b": b"b"}, directories=["lib"])
    paths = [f"{tmp_path}/a.json", f"{tmp_path}/lib/b"]
    assert transport.get(paths, private=True) == dict(zip(paths, (b"{}", b"b"), strict=True))
    assert sorted(transport.list([str(tmp_path)])[str(tmp_path)]) == ["a.json", "lib"]
    Path(paths[0]).chmod(0o666)
    with pytest.raises(UntrustedFile, match=f"^{paths[0]} "):
        transport.get(paths, private=True)
    events = tmp_path / "events"
    events.mkdir()
    (events / "0.jsonl").write_text(
        '{"event": "progress", "time": 1.0, "attempt": 1, "done": 1, "total": 2, "metrics": {}}\n'
    )
    (found,) = read_progress(transport, [ProgressQuery(str(events), 1, {})])
    assert [told.call for told in found] == [0]
    transport.close()


@pytest.mark.parametrize("command", ["tar -cf /dev/null", "find"])
@pytest.mark.parametrize("name", ["plain", "a 'place' ü", 'with: "colons"'])
def test_the_path_is_found_in_what_commands_complain_of(tmp_path: Path, command: str, name: str) -> None:
    path = f"{tmp_path}/{name}"
    argv = [*command.split(), f".{path}1"]
    done = subprocess.run(argv, cwd="/", env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    line = done.stderr.splitlines()[0]
    assert path_in(line, [f"{tmp_path}/other", path, f"{path}1"]) == f"{path}1"
    assert path_in(line, [f"{tmp_path}/other"]) is None
