"""Freshness: find what other machines have written on shared file systems that cache listings and names.

NFS and most FUSE file systems answer from memory for seconds. Measured with sshfs on Linux 6: if the mode of a
directory is changed, even to the same mode, its next listing is fresh; if the mode of a file is changed, its size is
fresh. A name that was looked up while it did not exist stays absent in this machine's memory until a system call that
may create it asks the server again. Lustre, GPFS and local file systems are coherent: there nothing is done, at the
cost of one stat for each directory.
"""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

_MOST_KNOWN = 4096
"""The most directories to remember: a process that lives long uses more and more of them."""

_known: dict[str, bool] = {}
_devices: dict[int, bool] = {}
_sizes: dict[int, bool] = {}


def caches(directory: str) -> bool:
    """Whether files of other machines may appear late in a directory. Only the first call costs a stat."""
    found = _known.get(directory)
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[directory] = _device_caches(_device(directory))
    return found


def distrust(directory: str) -> None:
    """Treat the file system of a directory as one that caches, because a listing there was late."""
    _devices[_device(directory)] = True
    _known.clear()


def freshen(directory: str) -> bool:
    """Make the next listing of a directory fresh if its file system caches. Returns whether the file system caches."""
    if not caches(directory):
        return False
    try:
        os.chmod(directory, os.stat(directory).st_mode & 0o7777)
    except OSError:  # it belongs to another user, or was removed
        pass
    return True


def freshen_size(path: str) -> None:
    """Make a file of this user, with mode 0600, show all appended bytes when it is opened next.

    NFS always does this, unless it is mounted with `nocto`; FUSE file systems may not.
    """
    device = _device(os.path.dirname(path))
    if device not in _sizes:
        _sizes[device] = _is_among(device, devices_with_old_sizes)
    if _sizes[device]:
        try:
            os.chmod(path, 0o600)
        except OSError:  # it is absent: the caller that opens it gets the error
            pass


def list_names(directory: str) -> list[str]:
    """Return the names in a directory as it is now. Raises OSError."""
    freshen(directory)
    return retry_absent(os.listdir, directory)


def exists(path: str) -> bool:
    """Whether a file exists now."""
    return os.path.exists(path) or appeared(path)


def retry_absent(use: Callable[[str], T], path: str, listed: dict[str, frozenset[str]] | None = None) -> T:
    """Return `use(path)`; call it again if it raises FileNotFoundError although the path exists.

    If you look for several paths, pass the same mapping `listed`, empty at first: then each directory is listed once.
    """
    try:
        return use(path)
    except FileNotFoundError:
        directory, name = os.path.split(path)
        if listed is not None and caches(directory):
            if directory not in listed:
                listed[directory] = _names_or_none(directory)
            if name not in listed[directory]:
                raise
        if not appeared(path):
            raise
        return use(path)


def appeared(path: str) -> bool:
    """Whether a path exists that this machine remembers as absent."""
    parent = os.path.dirname(path)
    if parent == path or not caches(parent) or not (os.path.isdir(parent) or appeared(parent)):
        return False
    freshen(parent)
    try:
        os.link(os.devnull, path)  # fails between file systems, but first asks the server whether the name is taken
    except FileExistsError:
        return True
    except OSError:
        pass
    return os.path.lexists(path)


def _names_or_none(directory: str) -> frozenset[str]:
    try:
        return frozenset(list_names(directory))
    except OSError:
        return frozenset()


def _device(directory: str) -> int:
    """The device of a directory, or of the nearest one above it that exists."""
    while True:
        try:
            return os.stat(directory).st_dev
        except OSError:
            parent = os.path.dirname(directory)
            if parent == directory:
                return 0
            directory = parent


def _device_caches(device: int) -> bool:
    """Whether the mounted file system with this device is of a kind that caches."""
    if device not in _devices:
        _devices[device] = _is_among(device, caching_devices)
    return _devices[device]


def _is_among(device: int, devices: Callable[[Iterable[bytes]], set[str]]) -> bool:
    """Whether a device is among the devices that `devices` finds in the lines of /proc/self/mountinfo."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return f"{os.major(device)}:{os.minor(device)}" in devices(file)
    except OSError:  # not Linux
        return False


def caching_devices(lines: Iterable[bytes]) -> set[str]:
    """Return the devices of file systems that cache, from the lines of proc(5), /proc/pid/mountinfo."""
    return {device for device, kind, _ in _mounts(lines) if kind in (b"nfs", b"nfs4") or _is_fuse(kind)}


def devices_with_old_sizes(lines: Iterable[bytes]) -> set[str]:
    """Return the devices of file systems where a file that is opened again may have its old size, from these lines."""
    return {device for device, kind, options in _mounts(lines) if _is_fuse(kind) or b"nocto" in options}


def _mounts(lines: Iterable[bytes]) -> Iterable[tuple[str, bytes, list[bytes]]]:
    for fields in map(bytes.split, lines):
        if b"-" in fields:
            at = fields.index(b"-")
            yield fields[2].decode(), fields[at + 1], fields[-1].split(b",")


def _is_fuse(kind: bytes) -> bool:
    return kind == b"fuse" or kind.startswith(b"fuse.")
