"""A slurmrestd beside a testbed, which authenticates users by tokens."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import final

from testbed.config import LOOPBACK, free_ports, is_listening
from testbed.daemons import Daemon
from testbed.errors import SlurmTestbedError
from testbed.programs import find_program, plugin_directory, slurm_release
from testbed.slurm import SlurmTestbed

USER = "daemon"
"""The user who runs slurmrestd. slurmrestd refuses to run as root, or as SlurmUser, which is root here."""
_INSTALL = "sudo apt-get install --no-install-recommends slurmrestd slurm-wlm-jwt-plugin"
_START_SECONDS = 60.0


def missing_slurmrestd() -> str | None:
    """Return what this machine lacks to run slurmrestd and the command that brings it, or None."""
    if find_program("slurmrestd") is None:
        return f"slurmrestd is not installed; get it with: {_INSTALL}"
    return None


def hidden_slurmrestd() -> str | None:
    """Return why USER cannot run it, or None. slurmrestd of 20.11 does not start if USER cannot read its plug-ins."""
    plugins = plugin_directory()
    if plugins is None or slurm_release() >= (21, 8) or all(path.stat().st_mode & 0o001 for path in plugins.parents):
        return None
    return f"slurmrestd of 20.11 needs plugins that other users can read: not {plugins}. Set XDG_CACHE_HOME"


@final
class SlurmRestTestbed:
    """A cluster with a slurmrestd on a port of the loopback interface, and one on a Unix socket.

    The first takes tokens, of any user; the second only connections of its own user, USER. The caller must be root.
    """

    slurm: SlurmTestbed
    slurmrestd: Daemon
    local: Daemon
    address: str
    socket: Path
    token_file: Path

    def __init__(self, *, accounting: bool = False) -> None:
        self._accounting = accounting

    def __enter__(self) -> SlurmRestTestbed:
        self.directory = Path(tempfile.mkdtemp(prefix="slurmrest-testbed-"))
        key = self.directory / "jwt.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(32))
        jwt = {"AuthAltTypes": "auth/jwt", "AuthAltParameters": f"jwt_key={key}"}
        self.slurm = SlurmTestbed(accounting=self._accounting, settings=jwt, database_settings=jwt)
        try:
            self.slurm.start()
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def env(self) -> dict[str, str]:
        """The environment variables for a process that uses the slurmrestd that accepts tokens."""
        return {
            "SLURM_CONF": str(self.slurm.conf),
            "PATH": self.slurm.env["PATH"],
            "SLURMTASKS_SLURMRESTD": self.address,
            "SLURMTASKS_SLURMRESTD_TOKEN_FILE": str(self.token_file),
        }

    def new_token(self, seconds: int = 86400) -> str:
        """Return a token of the user who runs the testbed."""
        return self.slurm.run("scontrol", "token", f"lifespan={seconds}").stdout.strip().partition("=")[2]

    def wait_ready(self) -> None:
        """Wait until both daemons listen."""
        deadline = time.monotonic() + _START_SECONDS
        while not (is_listening(int(self.address.rpartition(":")[2])) and self.socket.exists()):
            if time.monotonic() > deadline or not self.slurmrestd.alive():
                raise SlurmTestbedError(f"slurmrestd does not listen\n{self.slurmrestd.log_tail()}")
            time.sleep(0.005)

    def _start(self) -> None:
        user = pwd.getpwnam(USER)
        # USER cannot read the cluster's own directory.
        self.directory.chmod(0o755)
        conf = self.directory / "slurm.conf"
        shutil.copy(self.slurm.conf, conf)
        conf.chmod(0o644)
        run = self.directory / "run"
        run.mkdir()
        os.chown(run, user.pw_uid, user.pw_gid)
        self.socket = run / "slurmrestd.sock"
        self.address = f"{LOOPBACK}:{free_ports(1)[0]}"
        self.token_file = self.directory / "token"
        self.token_file.touch(0o600)
        self.token_file.write_text(self.new_token() + "\n")
        # With this capability, USER can read an unpacked Slurm below the home directory of root.
        become = [
            *(str(find_program("setpriv")), f"--reuid={USER}", f"--regid={user.pw_gid}", "--clear-groups"),
            *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
        ]
        env = {"SLURM_CONF": str(conf), "SLURM_JWT": "daemon"}
        plugins = [] if self._accounting else ["-s", _without_slurmdbd(self.slurm)]
        self.slurmrestd = self.slurm.daemon(
            "slurmrestd", "slurmrestd", "-a", "rest_auth/jwt", *plugins, self.address, env=env, command=become
        )
        del env["SLURM_JWT"]
        self.local = self.slurm.daemon(
            "slurmrestd-local",
            *("slurmrestd", "-a", "rest_auth/local", *plugins, f"unix:{self.socket}"),
            env=env,
            command=become,
        )
        self.slurmrestd.start()
        self.local.start()
        self.wait_ready()

    def _remove(self) -> None:
        self.slurm.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _without_slurmdbd(slurm: SlurmTestbed) -> str:
    """Return the plug-ins of slurmrestd that need no slurmdbd. Without slurmdbd, it does not start with the others."""
    release = tuple(int(part) for part in slurm.run("sinfo", "--version").stdout.split()[1].split(".")[:2])
    return "slurmctld" if release >= (23, 11) else "v0.0.38,v0.0.37,v0.0.36" if release >= (22, 5) else "v0.0.36"
