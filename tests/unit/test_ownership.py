"""File ownership: one table of cases for the three implementations of the rule."""

from __future__ import annotations

import gc
import grp
import os
import pwd
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from slurm.errors import UntrustedFile
from slurm.protocol import directories
from slurm.protocol.boot import BOOT
from slurm.protocol.directories import make_private, socket_directory, strange_link
from slurm.protocol.files import is_private, open_own
from slurm.protocol.ownership import check_output
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Callable

SHELL = program("slurm.protocol.ownership", "ownership.sh")
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


class Group(NamedTuple):
    """The group of a file: its name, its listed members, and the users whose primary group it is."""

    name: str
    members: tuple[str, ...] = ()
    primary: tuple[str, ...] = ()


OWN = Group("ann", primary=("ann",))
TABLE = [
    # owner, mode, group -> trusted
    ("ann", 0o600, OWN, True),
    ("ann", 0o644, Group("users", primary=("ann", "bob")), True),  # readers don't matter
    ("ann", 0o660, OWN, True),
    ("ann", 0o664, Group("ann"), True),  # a site that does not list its users
    ("ann", 0o660, Group("ann", members=("ann",)), True),
    ("ann", 0o660, Group("project", members=("ann",)), True),
    ("ann", 0o660, Group("project"), False),  # a group with unknown members
    ("ann", 0o660, Group("ann", members=("bob",)), False),
    ("ann", 0o660, Group("ann", members=("ann", "bob")), False),
    ("ann", 0o660, Group("ann", primary=("ann", "bob")), False),
    ("ann", 0o660, Group("users", primary=("ann", "bob")), False),
    ("ann", 0o660, None, False),  # a number without a name
    ("ann", 0o606, OWN, False),
    ("ann", 0o666, OWN, False),
    ("bob", 0o600, OWN, False),
    ("root", 0o600, OWN, False),
]
UIDS = {"root": 0, "ann": 1000, "bob": 1001}
GID = 5000
CASES = pytest.mark.parametrize(("owner", "mode", "group", "trusted"), TABLE)


class Machine:
    """The users and groups of a machine, as its calls and commands return them."""

    def __init__(self, group: Group | None) -> None:
        self.group = group
        primary = group.primary if group else ()
        self.users = [SimpleNamespace(pw_name="root", pw_uid=0, pw_gid=0)]
        self.users += [SimpleNamespace(pw_name=name, pw_uid=UIDS[name], pw_gid=GID) for name in primary]

    def getgrgid(self, gid: int) -> SimpleNamespace:
        if gid != GID or self.group is None:
            raise KeyError(gid)
        return SimpleNamespace(gr_name=self.group.name, gr_mem=list(self.group.members))

    def pretend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this process ann on that machine. Fakes the lists: a test cannot change those of the system."""
        monkeypatch.setattr(os, "geteuid", lambda: UIDS["ann"])
        monkeypatch.setattr(grp, "getgrgid", self.getgrgid)
        monkeypatch.setattr(pwd, "getpwall", lambda: self.users)
        monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="ann", pw_uid=uid))


def status(owner: str, mode: int) -> SimpleNamespace:
    return SimpleNamespace(st_uid=UIDS[owner], st_gid=GID, st_mode=0o100000 | mode)


@CASES
def test_in_python(owner: str, mode: int, group: Group | None, trusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(group).pretend(monkeypatch)
    assert is_private(status(owner, mode)) is trusted  # type: ignore[arg-type]  # as os.stat has it


@CASES
def test_in_the_boot_program(
    owner: str, mode: int, group: Group | None, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs the program in this process, with a fake `os.stat` for files of another user."""
    Machine(group).pretend(monkeypatch)
    found = {"/r/blobs": status("ann", 0o700), "/r/blobs/z": status(owner, mode)}
    asked: list[str] = []

    def look(path: str) -> SimpleNamespace:
        asked.append(path)
        return found[path]

    monkeypatch.setattr(os, "stat", look)
    monkeypatch.setattr(sys, "argv", ["-c", "/r/blobs/z", "there.is.no.such.module"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(gc, "disable", lambda: None)  # what is not there ends the program before it enables it again
    with pytest.raises((SystemExit, ImportError)) as ended:
        exec(BOOT, {})  # noqa: S102 - as `python -c` does
    assert isinstance(ended.value, ImportError) is trusted
    if not trusted:
        assert "/r/blobs/z belongs to user" in str(ended.value)
    assert asked[:2] == ["/r/blobs", "/r/blobs/z"]
    monkeypatch.undo()


@ROOT_ONLY
@CASES
def test_in_the_shell(owner: str, mode: int, group: Group | None, trusted: bool, tmp_path: Path) -> None:
    """Uses the real find and ls; `id` and `getent` are fakes, as a test cannot change the lists of the machine."""
    machine = Machine(group)
    file, commands = tmp_path / "a  file of ann's", tmp_path / "bin"
    file.write_text("")
    os.chown(file, UIDS[owner], GID)
    file.chmod(mode)
    commands.mkdir()
    listed = f"{group.name}:x:{GID}:{','.join(group.members)}" if group else ""
    users = "\n".join(f"{user.pw_name}:x:{user.pw_uid}:{user.pw_gid}::/:/bin/sh" for user in machine.users)
    fakes = {
        "id": f"case $1 in -u) echo {UIDS['ann']} ;; -un) echo ann ;; esac",
        "getent": f"case $1 in group) [ -n '{listed}' ] && echo '{listed}' ;; passwd) echo '{users}' ;; esac",
    }
    for name, text in fakes.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", f'{SHELL}\nforeign "$0"', file],
        env={"PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    if trusted:
        assert done.stdout == ""
        return
    with pytest.raises(UntrustedFile) as caught:
        check_output(done.stdout)
    assert caught.value.path == str(file)
    advice = "chmod go-w '" if owner == "ann" else "root="
    assert advice in str(caught.value)


@pytest.fixture(params=["python", "shell"])
def first_strange_link(request: pytest.FixtureRequest) -> Callable[[Path], str | None]:
    def by_shell(path: Path) -> str | None:
        done = subprocess.run(
            ["sh", "-c", f'{SHELL}\nstrange_link "$0"', path], capture_output=True, text=True, check=True
        )
        try:
            check_output(done.stdout)
        except UntrustedFile as error:
            return error.path
        return None

    return by_shell if request.param == "shell" else lambda path: strange_link(str(path))


def test_links_of_the_user_are_followed(tmp_path: Path, first_strange_link: Callable[[Path], str | None]) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "scratch").symlink_to("far")
    (tmp_path / "home").symlink_to(tmp_path / "scratch")
    (tmp_path / "round").symlink_to("round")
    assert first_strange_link(tmp_path / "home" / "not yet there") is None
    assert first_strange_link(tmp_path / "round") is None


@ROOT_ONLY
@pytest.mark.parametrize("which", ["home", "scratch"])
def test_a_link_of_another_user_is_found_anywhere_on_the_path(
    tmp_path: Path, which: str, first_strange_link: Callable[[Path], str | None]
) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "scratch").symlink_to("far")
    (tmp_path / "home").symlink_to(tmp_path / "scratch")
    os.chown(tmp_path / which, 4321, -1, follow_symlinks=False)
    assert first_strange_link(tmp_path / "home" / "root") == str(tmp_path / which)


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> object:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


UMASKS = pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077], indirect=True, ids=oct)


def modes(*paths: Path) -> list[int]:
    return [path.stat().st_mode & 0o7777 for path in paths]


@UMASKS
def test_our_directories_and_their_parents_are_private(umask: int, tmp_path: Path) -> None:
    make_private(str(tmp_path / "a" / "b" / "c"))
    assert modes(tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c") == [0o700] * 3


@UMASKS
def test_socket_directories_are_private(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "local"))
    assert socket_directory("2") == str(tmp_path / "local" / "2")
    assert modes(tmp_path / "local", tmp_path / "local" / "2") == [0o700, 0o700]


def test_a_named_socket_directory_may_be_reached_by_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far").mkdir(mode=0o700)
    (tmp_path / "near").symlink_to("far")
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "near"))
    socket_directory("ssh")
    assert modes(tmp_path / "far" / "ssh") == [0o700]


@pytest.mark.parametrize("which", ["base", "base/2"])
def test_in_tmp_a_socket_directory_must_not_be_a_link(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A replacement for the directory in /tmp, which the tests' own scheduler may be using.
    monkeypatch.delenv("SLURMTASKS_LOCAL_DIR", raising=False)
    monkeypatch.setattr(directories, "socket_base", lambda: str(tmp_path / "base"))
    socket_directory("2")
    (tmp_path / which).rename(tmp_path / "elsewhere")
    (tmp_path / which).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match=f"{tmp_path / which} is a symbolic link"):
        socket_directory("2")


@ROOT_ONLY
def test_a_named_socket_directory_is_rejected_behind_a_link_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far").mkdir(mode=0o700)
    (tmp_path / "near").symlink_to("far")
    os.chown(tmp_path / "near", 4321, -1, follow_symlinks=False)
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "near"))
    with pytest.raises(PermissionError, match=f"{tmp_path / 'near'} is a symbolic link"):
        socket_directory("ssh")


@pytest.mark.parametrize("which", ["local", "local/2"])
def test_a_socket_directory_that_others_can_write_is_rejected(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "local"))
    socket_directory("2")
    (tmp_path / which).chmod(0o707)
    with pytest.raises(PermissionError, match=f"chmod go-w {tmp_path / which}"):
        socket_directory("2")


def test_the_advised_command_is_quoted_for_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "a b; c"))
    place = Path(socket_directory("2"))
    place.chmod(0o707)
    with pytest.raises(PermissionError) as caught:
        socket_directory("2")
    error = UntrustedFile(str(place), uid=os.geteuid(), mode=0o707, me=os.geteuid())
    for words in (str(caught.value), str(error)):
        assert f"chmod go-w {shlex.quote(str(place))}" in words


@ROOT_ONLY
@pytest.mark.parametrize("which", ["local", "local/2"])
def test_a_socket_directory_of_another_user_is_rejected(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "local"))
    socket_directory("2")
    os.chown(tmp_path / which, 4321, -1)
    with pytest.raises(PermissionError, match=f"{tmp_path / which} belongs to user 4321.*SLURMTASKS_LOCAL_DIR"):
        socket_directory("2")


def test_a_file_whose_directory_is_removed_while_it_is_opened_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "removed" / "file"
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    real = os.stat

    def stat(checked: str, **options: bool) -> os.stat_result:
        if checked == str(path.parent):
            path.unlink()
            path.parent.rmdir()
        return real(checked, **options)

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(FileNotFoundError):
        open_own(str(path))
    assert set(os.listdir("/proc/self/fd")) == before
