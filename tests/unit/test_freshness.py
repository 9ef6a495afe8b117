"""Looking past the caches of file systems: when, at which cost, and what is learnt from a late listing."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from slurm.protocol import freshness
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.schedulers.job_control import Answers
from slurm.transports.local import LocalTransport
from unit.job_directories import KEY, follow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

CALLS = ("stat", "chmod", "listdir", "link")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have learnt of the file systems here doesn't count."""
    monkeypatch.setattr(freshness, "_known", {})
    monkeypatch.setattr(freshness, "_devices", {})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often this thread made each system call: threads of earlier tests may still look at their directories."""
    made: Counter[str] = Counter()
    me = threading.get_ident()

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            made[name] += threading.get_ident() == me
            return call(*arguments, **options)

        return counted

    for name in CALLS:
        monkeypatch.setattr(os, name, counting(name, getattr(os, name)))
    return made


def test_a_coherent_file_system_costs_one_stat_for_each_directory(tmp_path: Path, calls: Counter[str]) -> None:
    transport, directory = LocalTransport(), str(tmp_path)
    transport.list([directory])
    assert calls == {"stat": 1, "listdir": 1}
    for _ in range(10):
        transport.list([directory])
        assert not [*transport.fetch([f"{directory}/absent"])]
    assert calls == {"stat": 1, "listdir": 11}


def test_each_listing_of_a_directory_that_is_cached_changes_its_mode_to_the_same(
    tmp_path: Path, calls: Counter[str]
) -> None:
    transport, directory = LocalTransport(), str(tmp_path)
    tmp_path.chmod(0o2750)
    calls.clear()
    transport.distrust(directory)
    for _ in range(10):
        transport.list([directory])
    assert (calls["chmod"], calls["listdir"]) == (10, 10)
    assert tmp_path.stat().st_mode & 0o7777 == 0o2750


def test_many_absent_files_take_one_listing(tmp_path: Path, calls: Counter[str]) -> None:
    transport, directory = LocalTransport(), str(tmp_path)
    (tmp_path / "there").write_bytes(b"x")
    transport.distrust(directory)
    found = transport.fetch([*(f"{directory}/{number}" for number in range(500)), f"{directory}/there"])
    assert [file.path for file in found] == [f"{directory}/there"]
    assert (calls["chmod"], calls["listdir"], calls["link"]) == (1, 1, 0)


def test_looking_for_an_absent_name_creates_nothing(tmp_path: Path) -> None:
    freshness.distrust(str(tmp_path))
    assert not freshness.exists(f"{tmp_path}/absent")
    assert not freshness.exists(f"{tmp_path}/no/such")
    with pytest.raises(FileNotFoundError):
        freshness.list_names(f"{tmp_path}/absent")
    assert [*tmp_path.iterdir()] == []


def test_a_directory_of_another_user_is_listed_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    (tmp_path / "a").touch()
    freshness.distrust(str(tmp_path))
    monkeypatch.setattr(os, "chmod", refused)
    assert freshness.list_names(str(tmp_path)) == ["a"]


def test_what_is_known_of_directories_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "_MOST_KNOWN", 10)
    for number in range(100):
        freshness.caches(f"{tmp_path}/{number}")
    assert len(freshness._known) <= 10


MOUNTS = """\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:40 / /home rw,nosuid shared:2 master:1 - nfs4 server:/home rw,vers=4.2
31 22 0:41 / /mnt/a\\040b rw - nfs server:/b rw,nocto
32 22 0:42 / /data rw,nosuid - fuse.sshfs host:/data rw
33 22 0:43 / /usb rw - fuseblk /dev/sdb1 rw
34 22 0:44 / /scratch rw - lustre 10.0.0.1@tcp:/scratch rw
35 22 0:45 / /gpfs rw - gpfs fs1 rw
"""


def test_file_systems_that_cache_are_known_by_their_kind() -> None:
    assert freshness.caching_devices(MOUNTS.encode().splitlines()) == {"0:40", "0:41", "0:42"}
    assert freshness.devices_with_old_sizes(MOUNTS.encode().splitlines()) == {"0:41", "0:42"}


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.RUNNING])
def test_a_result_that_is_listed_after_the_scheduler_reported_the_end_tells_of_a_cache(state: JobState) -> None:
    told: list[str] = []
    listed: set[int] = set()
    report = Report("7", None, state, state.value, "n1", "", comment=KEY)
    tracker, watched = follow(
        lambda keys: dict.fromkeys(keys, frozenset(listed)),
        lambda _: Answers([report], set(), None),
        distrust=told.append,
    )
    tracker.list_outcomes([watched])
    tracker.query([watched])
    assert told == []
    tracker.list_outcomes([watched])
    tracker.list_outcomes([watched])
    assert told == ([KEY] if state is JobState.COMPLETED else [])


def test_a_result_that_is_listed_at_the_first_look_after_the_end_tells_nothing() -> None:
    told: list[str] = []
    listed: set[int] = set()
    report = Report("7", None, JobState.COMPLETED, "COMPLETED", "n1", "", comment=KEY)
    tracker, watched = follow(
        lambda keys: dict.fromkeys(keys, frozenset(listed)),
        lambda _: Answers([report], set(), None),
        distrust=told.append,
    )
    tracker.query([watched])
    listed.add(0)
    tracker.list_outcomes([watched])
    assert (told, watched.finished(0)) == ([], True)
