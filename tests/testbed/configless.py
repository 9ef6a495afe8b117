"""A machine without a slurm.conf, on which slurmd and Slurm's commands get it from slurmctld."""

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
from testbed.programs import find_program, plugin_directory

_START_SECONDS = 60.0
_MUNGED = """\
mount -t tmpfs none /run && mkdir -m 755 /run/munge && ln -s "$1/munge.socket" /run/munge/munge.socket.2 || exit
exec munged --foreground --force --key-file="$1/munge.key" --socket="$1/munge.socket" --pid-file="$1/munge.pid" \
    --log-file="$1/munge.log" --seed-file="$1/munge.seed"
"""
"""Without a slurm.conf, Slurm takes the default: MUNGE, with the socket of the machine's munged below /run."""


def cannot_be_configless() -> str | None:
    """Return why this user cannot have such a machine, or None: no package brings that."""
    if os.geteuid() != 0:
        return "a configless node needs root, who alone may mount a /run in a namespace"
    if plugin_directory() is not None:
        return "without a slurm.conf, an unpacked release of Slurm loads the plugins of the installed one"
    return None


@final
class ConfiglessMachine:
    """A mount namespace with a /run of its own, where a munged listens.

    There, slurmd makes the link /run/slurm/conf to its copy of slurm.conf, without a change to this machine.
    `inside` is a command that runs another command there, without SLURM_CONF. `settings` are those of its cluster.

    The constructor does no I/O. All is gone at the end, or soon after the death of this process.
    """

    inside: tuple[str, ...]
    settings: dict[str, str]

    def __init__(self) -> None:
        self._running = ExitStack()

    def __enter__(self) -> ConfiglessMachine:
        try:
            self._launch()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def _launch(self) -> None:
        if lacking := cannot_be_configless():
            raise SlurmTestbedError(lacking)
        base = Path(tempfile.mkdtemp(prefix="configless-testbed-"))
        guardian = GuardianClient(base)
        guardian.start()
        self._running.callback(guardian.stop)
        base.chmod(0o755)  # munged refuses a socket that its users cannot reach
        key = base / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        unshare = (find_program("unshare") or "unshare", "--mount", "--propagation", "private")
        argv = [*unshare, "sh", "-c", _MUNGED, "sh", str(base)]
        munged = Daemon("munged", guardian, argv=argv, env=os.environ, logs=base)
        munged.start()
        deadline = time.monotonic() + _START_SECONDS
        while not (base / "munge.socket").exists():
            if not munged.alive() or time.monotonic() > deadline:
                raise SlurmTestbedError(f"munged does not listen\n{munged.log_tail()}")
            time.sleep(0.005)
        # nsenter(1) leaves the working directory.
        here = 'cd -- "$0" && unset SLURM_CONF && exec "$@"'
        nsenter = (find_program("nsenter") or "nsenter", "-t", str(munged.pid), "-m")
        self.inside = (*nsenter, "/bin/sh", "-c", here, os.getcwd())
        socket = {"AuthInfo": f"socket={base}/munge.socket"}
        self.settings = {"AuthType": "auth/munge", "CredType": "cred/munge", **socket}
