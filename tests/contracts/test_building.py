"""An environment is made once, whoever asks for it, and whatever becomes of those who make it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slurm.environments import building
from slurm.environments.base import BuildListener, BuildTarget
from slurm.environments.building import Building, Superseded, build_once, send
from slurm.errors import BuildFailed, TransportError, UntrustedFile
from slurm.plugins import plugin
from slurm.protocol import ResolvedEnvironment
from slurm.transports.local import LocalTransport
from slurm.url import ClusterURL
from testbed import SSHTestbed
from waiting import until

BUILDER = """\
import sys, time
from pathlib import Path
from slurm.environments import building
from slurm.environments.base import BuildTarget
from slurm.protocol import ResolvedEnvironment
from slurm.transports.local import LocalTransport

root, gate = map(Path, sys.argv[1:3])
building.BEAT_SECONDS, building.STALE_SECONDS = 0.1, float(sys.argv[3])

def make(now):
    (root / f"made-{now.directory.rpartition('/')[2]}").touch()
    while not gate.exists():
        time.sleep(0.01)
    return ResolvedEnvironment(key=now.key, python=now.directory, tag="t")

print(building.build_once(BuildTarget.at(LocalTransport(), str(root)), "env-1", make).python)
"""


class Told(BuildListener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.ends: list[BaseException | None] = []

    def step(self, key: str, step: str) -> None:
        self.steps.append(step)

    def end(self, key: str, error: BaseException | None) -> None:
        self.ends.append(error)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def place(tmp_path: Path, told: Told) -> BuildTarget:
    return BuildTarget.at(LocalTransport(), str(tmp_path), listener=told)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def made(root: Path) -> list[Path]:
    """A file for each time that it was made."""
    return sorted(root.glob("made-*"))


def prepared(now: Building) -> ResolvedEnvironment:
    return ResolvedEnvironment(key=now.key, python=now.directory, tag="t")


def never(now: Building) -> ResolvedEnvironment:
    raise AssertionError


@contextmanager
def builders(number: int, root: Path, gate: Path, *, stale: float = 4.0) -> Iterator[list[subprocess.Popen[str]]]:
    argv = [sys.executable, "-c", BUILDER, str(root), str(gate), str(stale)]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_eight_processes_that_ask_at_once_make_one(tmp_path: Path, gate: Path) -> None:
    with builders(8, tmp_path, gate, stale=60.0) as processes:
        until(lambda: made(tmp_path))
        gate.touch()
        answers = {process.communicate(timeout=60)[0] for process in processes}
    [only] = made(tmp_path)
    assert len(answers) == 1
    assert answers.pop().strip().endswith(only.name.removeprefix("made-"))
    assert len(list(tmp_path.glob("envs/*"))) == 2  # the environment and its record; no lock


def test_a_waiter_takes_over_from_a_builder_that_was_killed(tmp_path: Path, gate: Path) -> None:
    with builders(3, tmp_path, gate) as processes:
        until(lambda: made(tmp_path))
        [dead] = made(tmp_path)
        holder = next(tmp_path.glob("envs/*.lock/1/owner")).read_text().split()[-1]
        killed = next(process for process in processes if str(process.pid) == holder)
        killed.kill()
        until(lambda: len(made(tmp_path)) == 2)
        gate.touch()
        answers = {process.communicate(timeout=60)[0].strip() for process in processes if process is not killed}
    [living] = {path.name for path in made(tmp_path)} - {dead.name}
    assert [Path(answer).name for answer in answers] == [living.removeprefix("made-")]
    assert [path.name for path in next(tmp_path.glob("envs/env-1-*/")).iterdir()] == [living.removeprefix("made-")]


def test_a_builder_that_was_only_asleep_takes_what_was_made_meanwhile(tmp_path: Path, gate: Path) -> None:
    with builders(1, tmp_path, gate) as [sleeper]:
        until(lambda: made(tmp_path))
        sleeper.send_signal(signal.SIGSTOP)
        with builders(1, tmp_path, gate) as [waiter]:
            until(lambda: len(made(tmp_path)) == 2)
            gate.touch()
            answer = waiter.communicate(timeout=60)[0]
        sleeper.send_signal(signal.SIGCONT)
        assert sleeper.communicate(timeout=60)[0] == answer


def test_a_build_that_fails_tells_those_who_wait_why_and_the_next_one_tries_again(
    place: BuildTarget, told: Told
) -> None:
    begun, may_fail = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def fail(now: Building) -> ResolvedEnvironment:
        begun.set()
        may_fail.wait()
        raise BuildFailed("no such dependency", output="all of it", log="/log")

    def ask(make: Callable[[Building], ResolvedEnvironment]) -> None:
        try:
            build_once(place, "env", make)
        except BuildFailed as error:
            errors.append(error)

    builder = threading.Thread(target=ask, args=[fail])
    builder.start()
    begun.wait()
    waiters = [threading.Thread(target=ask, args=[never]) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    until(lambda: len(told.steps) == 2)
    assert "waiting for" in told.steps[0]
    may_fail.set()
    for thread in (builder, *waiters):
        thread.join()
    assert len(errors) == 3
    for error in errors:
        assert isinstance(error, BuildFailed)
        assert (str(error)[:18], error.output, error.log) == ("no such dependency", "all of it", "/log")
    assert build_once(place, "env", prepared) == build_once(place, "env", never)
    assert [type(end) for end in told.ends] == [BuildFailed, type(None)]


def test_after_an_interruption_the_next_one_begins_at_once(place: BuildTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(now: Building) -> ResolvedEnvironment:
        Path(now.directory, "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(place, "env", interrupted)
    monkeypatch.setattr(building, "STALE_SECONDS", 1e9)
    begin = time.monotonic()
    found = build_once(place, "env", prepared)
    assert time.monotonic() - begin < 30
    assert list(Path(found.python).parent.iterdir()) == [Path(found.python)]


def test_what_is_sent_is_sent_once(place: BuildTarget, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 3_000_000)
    sent = send(place, {"a.whl": tmp_path / "a"})
    assert Path(sent["a.whl"]).read_bytes() == b"a" * 3_000_000
    Path(sent["a.whl"]).chmod(0o400)
    before = Path(sent["a.whl"]).stat().st_ino
    assert send(place, {"a.whl": tmp_path / "a"}) == sent
    assert Path(sent["a.whl"]).stat().st_ino == before


def stand_in(program: str, when: str, done: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a program do something else, once, where its last argument matches: a moment that can't be hit at will."""
    path = tmp_path / "bin" / program
    path.parent.mkdir()
    this_once = f'{when}) mkdir "{tmp_path}/done" 2>/dev/null && {{ {done} }}'
    lines = ["#!/bin/sh", "PATH=/usr/bin:/bin", "for last; do :; done", f"case $last in {this_once}", "esac"]
    path.write_text("\n".join([*lines, f'exec {program} "$@"', ""]))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def test_a_lock_that_goes_while_one_asks_for_it_means_that_all_is_there(
    place: BuildTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = build_once(place, "env", prepared)
    [record] = tmp_path.glob("envs/*.json")
    record.rename(tmp_path / "record")
    done = f'rm -r "${{last%/1}}"; mv "{tmp_path}/record" "{record}"; echo File exists >&2; exit 1;'
    stand_in("mkdir", "*.lock/1", done, tmp_path, monkeypatch)
    assert build_once(place, "env", never) == found


def test_a_heartbeat_while_a_lock_is_removed_leaves_nothing_of_it(
    place: BuildTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = f'cd "{tmp_path}"/envs/env-*.lock/1 2>/dev/null && echo 2 > beat;'
    done = f'rm -f "$last"/1/*; ({beat}); rmdir "$last"/1 "$last"; exit;'
    stand_in("rm", "*.lock", done, tmp_path, monkeypatch)
    build_once(place, "env", prepared)
    assert (tmp_path / "done").is_dir()
    assert [path.name for path in (tmp_path / "envs").iterdir() if ".lock" in path.name] == []


@pytest.mark.parametrize("gone", ["*.lock/1", "*-$(uname -m)/????????"])
def test_what_is_removed_while_one_begins_to_make_it_is_made_all_the_same(
    place: BuildTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    stand_in("mkdir", gone, f'rm -r "{tmp_path}"/envs/*;', tmp_path, monkeypatch)
    begin = time.monotonic()
    assert Path(build_once(place, "env", prepared).python).is_dir()
    assert time.monotonic() - begin < building.STALE_SECONDS


def test_a_failure_that_goes_while_one_reads_it_is_none(
    place: BuildTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(now: Building) -> ResolvedEnvironment:
        raise BuildFailed("no such dependency")

    with pytest.raises(BuildFailed):
        build_once(place, "env", fail)
    stand_in("cat", "failed", "rm failed;", tmp_path, monkeypatch)
    monkeypatch.setattr(building, "STALE_SECONDS", 0.5)
    assert Path(build_once(place, "env", prepared).python).is_dir()


def test_superseded_build_leaves_nothing_and_the_name_stays_free(place: BuildTarget, tmp_path: Path) -> None:
    def superseded(now: Building) -> ResolvedEnvironment:
        raise Superseded

    with pytest.raises(Superseded):
        build_once(place, "env", superseded)
    assert [path.name for path in (tmp_path / "envs").iterdir()] == []
    assert Path(build_once(place, "env", prepared).python).is_dir()


def test_superseded_build_leaves_the_lock_of_a_process_that_took_over(place: BuildTarget, tmp_path: Path) -> None:
    def superseded(now: Building) -> ResolvedEnvironment:
        [lock] = tmp_path.glob("envs/*.lock")
        (lock / "2").mkdir()
        raise Superseded

    with pytest.raises(Superseded):
        build_once(place, "env", superseded)
    [lock] = tmp_path.glob("envs/*.lock")
    assert sorted(path.name for path in lock.iterdir()) == ["1", "2"]


def test_what_was_removed_while_it_was_made_is_not_said_to_be_there(place: BuildTarget, tmp_path: Path) -> None:
    def removed(now: Building) -> ResolvedEnvironment:
        shutil.rmtree(tmp_path / "envs")
        (tmp_path / "envs").mkdir()
        return prepared(now)

    with pytest.raises(TransportError, match="was removed while it was made"):
        build_once(place, "env", removed)
    assert list(tmp_path.glob("envs/*")) == []


def test_a_connection_that_breaks_while_it_is_made_costs_time_and_nothing_else(
    new_ssh: Callable[..., SSHTestbed], tmp_path: Path
) -> None:
    box = new_ssh()
    url = ClusterURL.parse("slurm+ssh://box")
    transport = plugin("transports", url.transport).from_url(url)

    def make(now: Building) -> ResolvedEnvironment:
        (tmp_path / f"made-{now.directory.rpartition('/')[2]}").touch()
        if len(made(tmp_path)) == 1:
            transport.run(["sh", "-c", 'touch "$0"; exec sleep 60', str(tmp_path / "begun")])
        return prepared(now)

    def break_it() -> None:
        until((tmp_path / "begun").exists)
        box.kill_connections()

    breaking = threading.Thread(target=break_it)
    breaking.start()
    found = build_once(BuildTarget.at(transport, str(tmp_path)), "env", make)
    breaking.join()
    assert len(made(tmp_path)) == 2
    assert list(Path(found.python).parent.iterdir()) == [Path(found.python)]
    transport.close()


def test_a_file_that_lies_there_is_taken_only_if_it_is_the_same_to_the_byte(place: BuildTarget, tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"wheel")
    [path] = map(Path, send(place, {"a b.whl": tmp_path / "a b"}).values())
    before = path.stat().st_ino
    send(place, {"a b.whl": tmp_path / "a b"})
    assert path.stat().st_ino == before
    path.write_bytes(b"whe")
    send(place, {"a b.whl": tmp_path / "a b"})
    assert path.read_bytes() == b"wheel"


@pytest.mark.parametrize("which", ["blobs", "file"])
def test_a_file_that_others_could_have_sent_is_refused(place: BuildTarget, tmp_path: Path, which: str) -> None:
    (tmp_path / "a").write_bytes(b"wheel")
    [path] = map(Path, send(place, {"a.whl": tmp_path / "a"}).values())
    loose = path if which == "file" else path.parent
    loose.chmod(0o707)
    with pytest.raises(UntrustedFile, match=f"{loose} is writable by other users"):
        send(place, {"a.whl": tmp_path / "a"})


@pytest.mark.parametrize("which", ["envs", "environment", "record"])
def test_an_environment_that_others_could_have_made_is_refused(place: BuildTarget, tmp_path: Path, which: str) -> None:
    key = build_once(place, "env-1", prepared).key
    loose = {
        "envs": tmp_path / "envs",
        "environment": tmp_path / "envs" / key,
        "record": tmp_path / "envs" / f"{key}.json",
    }[which]
    loose.chmod(0o707)
    with pytest.raises(UntrustedFile, match=f"chmod go-w {loose}$"):
        build_once(place, "env-1", never)
    loose.chmod(0o700)
    assert build_once(place, "env-1", never).key == key
