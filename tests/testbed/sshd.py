"""A real sshd on loopback, for and by the user who starts it, with keys and a client configuration of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import final

from testbed.config import LOOPBACK, free_ports, is_listening, user_name
from testbed.daemons import Daemon, GuardianClient
from testbed.errors import SlurmTestbedError
from testbed.programs import find_program

INSTALL = "sudo apt-get install --no-install-recommends openssh-server openssh-client"
_START_SECONDS = 60.0
_PROXY = Path(__file__).with_name("delayproxy.py")


def missing_ssh() -> str | None:
    """Return what this machine lacks for an sshd of the user's own and the command that brings it, or None."""
    absent = [name for name in ("sshd", "ssh", "ssh-keygen") if find_program(name) is None]
    return f"SSH is not installed (no {', '.join(absent)}); get it with: {INSTALL}" if absent else None


def without_shell() -> str | None:
    """Return why nobody can log in as the user of the tests, or None: sshd takes the shell of /etc/passwd."""
    shell = pwd.getpwuid(os.getuid()).pw_shell
    return f"{user_name()} can't log in: its shell is {shell}" if shell.endswith(("/nologin", "/false")) else None


@final
class SSHTestbed:
    """An sshd that lets its user in by a key; `config` is an ssh_config(5) in which it has the name `box`.

    `environment` is what commands there have besides sshd's own few variables; `settings` are lines of sshd_config(5),
    which go before the others; `user` is another account to log in to, for which sshd must be root's; `command` starts
    sshd elsewhere, such as in a namespace. The user of the tests has an empty home there: what bash reads from a real
    one, for every command, may take longer than the command.

    The constructor does no I/O. All is gone at stop(), or soon after the death of this process.
    """

    directory: Path
    config: Path
    known_hosts: Path
    key: Path
    port: int
    sshd: Daemon

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        settings: tuple[str, ...] = (),
        user: str | None = None,
        command: tuple[str, ...] = (),
    ) -> None:
        self._environment = dict(environment or {})
        self._settings = settings
        self._user = user or user_name()
        self._command = command
        self._guardian: GuardianClient | None = None

    def __enter__(self) -> SSHTestbed:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring it up, and wait until it takes connections."""
        if lacking := missing_ssh():
            raise SlurmTestbedError(lacking)
        self.directory = Path(tempfile.mkdtemp(prefix="ssh-testbed-"))
        self._guardian = GuardianClient(self.directory)
        self._guardian.start()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill sshd and all that it started, and remove every file."""
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            guardian.stop()

    def proxy(self, *, delay: float = 0.0) -> tuple[int, Daemon]:
        """Start a relay to it, `delay` seconds away; returns its port and the process."""
        (port,) = free_ports(1)
        relay = self._daemon(f"proxy-{port}", sys.executable, str(_PROXY), str(port), str(self.port), str(delay))
        relay.start()
        self._wait(port, relay)
        return port, relay

    def write_config(self, name: str, *, host: str = LOOPBACK, port: int | None = None, more: str = "") -> Path:
        """Write another client configuration for `box`; `more` are lines that go before the others."""
        path = self.directory / name
        path.write_text(
            f"Host box\n{more}\n  HostName {host}\n  Port {port or self.port}\n  User {self._user}\n"
            f"  IdentityFile {self.key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
            "  GlobalKnownHostsFile /dev/null\n"
        )
        return path

    def trust(self, port: int, key: str = "host_key") -> None:
        """Have the client know a key of the host at a port."""
        kind, data, *_ = (self.directory / f"{key}.pub").read_text().split()
        with self.known_hosts.open("a") as file:
            file.write(f"[{LOOPBACK}]:{port} {kind} {data}\n")

    def new_key(self, name: str) -> Path:
        """Make a key pair."""
        path = self.directory / name
        argv = [find_program("ssh-keygen") or "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return path

    def kill_connections(self) -> None:
        """Kill the processes that serve connections, as a crash of the host would; sshd itself goes on."""
        for child in _children(self.sshd.pid):  # they are our own sshd's
            for pid in (child, *filter(_is_sshd, _children(child))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)

    def _launch(self) -> None:
        self.key, host_key = self.new_key("key"), self.new_key("host_key")
        self.known_hosts = self.directory / "known_hosts"
        authorized = self.directory / "authorized_keys"
        shutil.copyfile(f"{self.key}.pub", authorized)
        if self._user != user_name():
            self.directory.chmod(0o755)
            authorized.chmod(0o644)
        (self.port,) = free_ports(1)
        self.trust(self.port)
        self.config = self.write_config("config")
        environment = self._environment
        if self._user == user_name():
            (self.directory / "home").mkdir()
            environment = {"HOME": f"{self.directory}/home", **environment}
        settings = [
            *self._settings,
            f"ListenAddress {LOOPBACK}:{self.port}",
            f"HostKey {host_key}",
            f"AuthorizedKeysFile {authorized}",
            "PidFile none",
            "StrictModes no",  # its directory lies under /tmp
            *("UsePAM no", "UseDNS no", "PermitRootLogin yes", "MaxStartups 100"),
            *("PasswordAuthentication no", "KbdInteractiveAuthentication no"),
        ]
        if environment:  # of several lines the first would count
            settings.append(" ".join(["SetEnv", *(f'"{name}={value}"' for name, value in environment.items())]))
        conf = self.directory / "sshd_config"
        conf.write_text("\n".join(settings) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd confines what it hasn't let in yet
        self.sshd = self._daemon("sshd", *self._command, find_program("sshd") or "sshd", "-D", "-e", "-f", str(conf))
        self.sshd.start()
        self._wait(self.port, self.sshd)

    def _daemon(self, name: str, *argv: str) -> Daemon:
        assert self._guardian is not None
        return Daemon(name, self._guardian, argv=argv, env=dict(os.environ), logs=self.directory)

    def _wait(self, port: int, daemon: Daemon) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not is_listening(port):
            if not daemon.alive() or time.monotonic() > deadline:
                raise SlurmTestbedError(f"{daemon.name} doesn't listen\n{daemon.log_tail()}")
            time.sleep(0.005)


def _is_sshd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "sshd\n"
    except (FileNotFoundError, ProcessLookupError):  # it is gone
        return False


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
