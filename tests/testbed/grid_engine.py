"""A real Grid Engine: Debian's packages, unpacked below the user's cache directory, with one node of 8 slots.

Its programs look for plugins in /usr/lib/gridengine, so the daemons run in a mount namespace where that directory is
there. This needs root. The clients need no namespace. Nothing is installed, and no service of this machine is started.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import final

from testbed.config import free_ports
from testbed.daemons import Daemon, GuardianClient
from testbed.debian import Suite, explained, missing_debian, run
from testbed.errors import SlurmTestbedError
from testbed.generations import unpacked

SUITE = "bookworm"
_RECIPE = 1  # count up when _make changes
_PACKAGES = ("gridengine-master", "gridengine-exec", "gridengine-client", "gridengine-common")
_LIBRARIES = ("libjemalloc2", "libhwloc15", "libtirpc3", "libmunge2", "libdb5.3")
_NAMESPACE = 'mount -t overlay overlay -o "lowerdir=$0/usr/lib:/usr/lib" /usr/lib && exec "$@"'
_START_SECONDS = 60.0
_SLOTS = 8
_BOOTSTRAP = """\
admin_user none
default_domain none
ignore_fqdn false
spooling_method classic
spooling_lib libspoolc
spooling_params {root}/default/common;{root}/spool
binary_path {root}/bin
qmaster_spool_dir {root}/spool
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""
_CONFIGURATION = {
    "execd_spool_dir": "{root}/execd",
    "mailer": "/bin/true",
    # A login shell runs the profile of this user, and a job that is cancelled there can leave a lock of pyenv's behind.
    "login_shells": "none",
    "min_uid": "0",
    "min_gid": "0",
    "load_report_time": "00:00:01",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00",
}
_SCHEDULER = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "job_load_adjustments": "NONE",
}
_QUEUE = {"qname": "all.q", "load_thresholds": "NONE", "slots": str(_SLOTS), "pe_list": "smp"}


@final
class GridEngineTestbed:
    """A qmaster and an execd on this machine; `env` is what its clients need. All is gone at the end."""

    env: dict[str, str]

    def __enter__(self) -> GridEngineTestbed:
        if lacking := missing_debian(["unshare"]):
            raise SlurmTestbedError(f"cannot unpack Grid Engine: no {', '.join(lacking)}")
        try:
            self._tree = unpacked(f"gridengine-{SUITE}-{_RECIPE}", _make)
        except (OSError, subprocess.SubprocessError) as error:
            raise SlurmTestbedError(f"cannot unpack Grid Engine: {explained(error)}") from error
        self._directory = Path(tempfile.mkdtemp(prefix="grid-engine-"))
        self._root = self._directory / "root"
        self._guardian = GuardianClient(self._directory)
        self._guardian.start()
        try:
            self._launch()
        except BaseException:
            self._guardian.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guardian.stop()

    def run(self, *argv: str) -> str:
        """Run a client, and return its output."""
        done = subprocess.run(
            argv, env=os.environ | self.env, capture_output=True, text=True, check=False, timeout=_START_SECONDS
        )
        if done.returncode:
            raise SlurmTestbedError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
        return done.stdout

    def cancel_all(self) -> None:
        """Cancel all jobs, and wait until they are gone. A job may be submitted meanwhile, by one that goes on."""
        env = os.environ | self.env

        def gone() -> bool:
            subprocess.run(["qdel", "-u", "*"], env=env, capture_output=True, check=False, timeout=_START_SECONDS)
            return not self.run("qstat", "-u", "*")

        self._until(gone, "its jobs do not end")

    def _launch(self) -> None:
        self._lay_out()
        master, node = (self._daemon(name) for name in ("sge_qmaster", "sge_execd"))
        master.start()
        self._until(self._answers, "sge_qmaster does not answer", master)
        host = socket.gethostname()
        self.run("qconf", "-as", host)
        self.run("qconf", "-Msconf", self._edited("scheduler", self.run("qconf", "-ssconf"), _SCHEDULER))
        self.run("qconf", "-Ap", str(self._tree / "usr/share/gridengine/util/resources/pe/smp"))
        self.run("qconf", "-Aq", self._edited("queue", self.run("qconf", "-sq"), _QUEUE | {"hostlist": host}))
        node.start()
        self._until(lambda: self._up(host), "its node is not up", node)

    def _lay_out(self) -> None:
        """Write what the installation would write, without its questions."""
        root, share, host = self._root, self._tree / "usr/share/gridengine", socket.gethostname()
        for name in ("bin", "lib", "utilbin", "default/common", "spool/job_scripts", "execd"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "lib", "utilbin"):
            (root / name / "lx-amd64").symlink_to(self._tree / "usr/lib/gridengine")
        (root / "util").symlink_to(share / "util")
        common = root / "default/common"
        (common / "bootstrap").write_text(_BOOTSTRAP.format(root=root))
        (common / "act_qmaster").write_text(f"{host}\n")
        (common / "host_aliases").write_text(f"{host} localhost\n")
        settings = {name: value.format(root=root) for name, value in _CONFIGURATION.items()}
        self._edited("configuration", (share / "default-configuration").read_text(), settings)
        shutil.copy(self._directory / "configuration", common / "configuration")
        ports = dict(zip(("SGE_QMASTER_PORT", "SGE_EXECD_PORT"), map(str, free_ports(2)), strict=True))
        path = f"{root}/bin/lx-amd64{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        self.env = {"SGE_ROOT": str(root), "SGE_CELL": "default", "SGE_ARCH": "lx-amd64", "PATH": path, **ports}
        resources = share / "util/resources"
        for argv in (
            ("spoolinit", "classic", "libspoolc", f"{common};{root}/spool", "init"),
            ("spooldefaults", "complexes", str(resources / "centry")),
            ("spooldefaults", "usersets", str(resources / "usersets")),
            ("spooldefaults", "managers", "root"),
        ):
            self.run(*self._inside(*argv))

    def _edited(self, name: str, text: str, changes: dict[str, str]) -> str:
        """Write a configuration in which these settings have other values, and return its path."""
        found = (line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#"))
        lines = [f"{setting} {changes.get(setting, value)}\n" for setting, value in found]
        path = self._directory / name
        path.write_text("".join(lines))
        return str(path)

    def _inside(self, name: str, *arguments: str) -> list[str]:
        """Return the command that runs a program in the mount namespace."""
        program = f"/usr/lib/gridengine/{name}"
        return ["/usr/bin/unshare", "-m", "--propagation", "private", "sh", "-c", _NAMESPACE, str(self._tree), program,
                *arguments]  # fmt: skip

    def _daemon(self, name: str) -> Daemon:
        env = os.environ | self.env | {"SGE_ND": "1"}
        return Daemon(name, self._guardian, argv=self._inside(name), env=env, logs=self._directory)

    def _answers(self) -> bool:
        done = subprocess.run(
            ["qconf", "-sh"], env=os.environ | self.env, capture_output=True, check=False, timeout=_START_SECONDS
        )
        return done.returncode == 0

    def _up(self, host: str) -> bool:
        """Whether the queue's instance on the host has no alarm, error or unknown state."""
        lines = [line.split() for line in self.run("qstat", "-f").splitlines()]
        return any(words[:1] == [f"all.q@{host}"] and len(words) == 5 for words in lines)

    def _until(self, condition: Callable[[], object], failure: str, daemon: Daemon | None = None) -> None:
        end = time.monotonic() + _START_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise SlurmTestbedError(f"{failure}\n{daemon.log_tail() if daemon else ''}")
            time.sleep(0.05)


def _make(work: Path, home: Path) -> None:
    """Unpack the packages into `work`, for programs that will be in `home`."""
    for package in Suite(work / "apt", SUITE).download([*_PACKAGES, *_LIBRARIES]):
        run("dpkg-deb", "-x", package, work / "home")
    (libraries,) = (work / "home/usr/lib").glob("*-linux-gnu")
    for path in (work / "home/usr/lib/gridengine").iterdir():
        if not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF":
            run("patchelf", "--force-rpath", "--set-rpath", home / libraries.relative_to(work / "home"), path)
