"""A directory that nodes and client see through caches of their own, as over NFS: two mounts of it by sshfs."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import final

from testbed.daemons import Daemon, GuardianClient
from testbed.errors import SlurmTestbedError
from testbed.programs import find_program
from testbed.sshd import SSHTestbed, missing_ssh

_INSTALL = "sudo apt-get install --no-install-recommends sshfs"
_START_SECONDS = 60.0
_TIMEOUTS = (
    *("dcache_timeout", "dcache_stat_timeout", "dcache_dir_timeout", "dcache_link_timeout"),
    *("attr_timeout", "entry_timeout", "negative_timeout"),
)
"""What sshfs and the kernel remember: attributes, listings, names, and absent names."""


def missing_caches() -> str | None:
    """Return what this machine lacks for mounts by sshfs and the command that brings it, or None."""
    absent = [name for name in ("sshfs", "unshare", "nsenter") if find_program(name) is None]
    return f"sshfs is not installed (no {', '.join(absent)}); get it with: {_INSTALL}" if absent else missing_ssh()


def cannot_mount() -> str | None:
    """Return why this user can't mount by FUSE, or None: no package brings that."""
    if os.geteuid() != 0:
        return "a file system with caches needs root, who alone may mount one in a namespace"
    return None if os.access("/dev/fuse", os.R_OK | os.W_OK) else "there is no /dev/fuse"


@final
class CachedFiles:
    """A directory on a file system that remembers attributes, listings, names and absent names for `seconds`.

    It has the same path on the nodes and for the client, but each of both has a mount, and caches, of its own, in a
    mount namespace. `on_nodes` and `on_client` are commands that run another command there.

    The constructor does no I/O. All is gone at stop(), or soon after the death of this process.
    """

    directory: Path
    on_nodes: tuple[str, ...]
    on_client: tuple[str, ...]

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running = ExitStack()

    def __enter__(self) -> CachedFiles:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Mount the directory twice, and wait until both mounts are there."""
        if lacking := missing_caches() or cannot_mount():
            raise SlurmTestbedError(lacking)
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Unmount the directory and remove every file."""
        self._running.close()

    def _launch(self) -> None:
        server = self._running.enter_context(SSHTestbed(settings=("Subsystem sftp internal-sftp",)))
        (server.directory / "files").mkdir(mode=0o700)
        base = Path(tempfile.mkdtemp(prefix="files-testbed-"))
        guardian = GuardianClient(base)
        guardian.start()
        self._running.callback(guardian.stop)
        self.directory = base / "shared"
        self.directory.mkdir()
        timeouts = ",".join(f"{name}={self._seconds:g}" for name in _TIMEOUTS)
        argv = [
            *(find_program("unshare") or "unshare", "--mount", "--propagation", "private"),
            *("sshfs", "-f", "-F", str(server.config), f"box:{server.directory}/files", str(self.directory)),
            *("-o", f"dir_cache=yes,auto_cache,default_permissions,{timeouts}"),
        ]
        mounts = [Daemon(name, guardian, argv=argv, env=os.environ, logs=base) for name in ("nodes", "client")]
        for mount in mounts:
            mount.start()
        self.on_nodes, self.on_client = map(self._entered, mounts)

    def _entered(self, mount: Daemon) -> tuple[str, ...]:
        """Wait for a mount; the namespace that it is in lives as long as its process."""
        deadline = time.monotonic() + _START_SECONDS
        mounted = Path(f"/proc/{mount.pid}/mountinfo")
        while not (mount.alive() and f" {self.directory} " in mounted.read_text()):
            if not mount.alive() or time.monotonic() > deadline:
                raise SlurmTestbedError(f"{self.directory} is not mounted\n{mount.log_tail()}")
            time.sleep(0.005)
        here = 'cd -- "$0" && exec "$@"'  # nsenter(1) leaves the working directory
        return (find_program("nsenter") or "nsenter", "-t", str(mount.pid), "-m", "sh", "-c", here, os.getcwd())
