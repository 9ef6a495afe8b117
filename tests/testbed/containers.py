"""Real containers for tests: podman with images and a registry of their own, and apptainer."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import final

from testbed.config import LOOPBACK, free_ports, is_listening
from testbed.errors import SlurmTestbedError
from testbed.images import make_program_tree, make_tree, pack
from testbed.programs import find_program

_NEEDED = ("podman", "runc", "docker-registry", "setpriv")
_NEEDED_ROOTLESS = ("newuidmap", "newgidmap")
_INSTALL = "sudo apt-get install --no-install-recommends podman buildah runc uidmap docker-registry"

# Root without CAP_SYS_RESOURCE can't raise limits, crun refuses cgroups of both versions, and a network of its own
# needs a device that not every user may open.
_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
"""
_STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{directory}/graph"
rootless_storage_path = "{directory}/graph"
runroot = "{directory}/run"
"""
_REGISTRY = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: warn}}
storage: {{filesystem: {{rootdirectory: "{directory}/registry"}}}}
http: {{addr: "{address}"}}
{more}
"""
_AUTH = 'auth: {{htpasswd: {{realm: tests, path: "{file}"}}}}'

MINI = "localhost/mini:1"
"""An image with this Python."""
STATIC = "localhost/static:1"
MPI = "localhost/mpi:1"
"""An image with one program, which is linked statically."""
BARE = "localhost/bare:1"
"""One without any."""

OCI_SINCE = (21, 8)
"""The release of Slurm whose srun first has --container."""
_OCI_CONF = """\
CreateEnvFile=false
RunTimeQuery="runc --rootless=true --root={state} state %n.%u.%j.%s.%t"
RunTimeKill="runc --rootless=true --root={state} kill -a %n.%u.%j.%s.%t"
RunTimeDelete="runc --rootless=true --root={state} delete --force %n.%u.%j.%s.%t"
RunTimeRun="runc --rootless=true --root={state} run %n.%u.%j.%s.%t -b %b"
"""


def oci_conf(state: Path) -> str:
    """Return an oci.conf by which Slurm (22.05) runs `--container` by runc, which keeps its state there."""
    return _OCI_CONF.format(state=state)


def missing_containers() -> str | None:
    """Return what this machine or user lacks to run podman, or None."""
    needed = (*_NEEDED, *(() if os.geteuid() == 0 else _NEEDED_ROOTLESS))
    if absent := [name for name in needed if find_program(name) is None]:
        return f"podman is not installed (no {', '.join(absent)}); get it with: {_INSTALL}"
    return None


def missing_ids() -> str | None:
    """Return why this user has no ids for podman without root, or None; who made the account decides that."""
    if os.geteuid() == 0:
        return None
    user = getpass.getuser()
    lacking = [file for file in ("/etc/subuid", "/etc/subgid") if f"{user}:" not in _text(file)]
    return f"{user} has no line in {' and '.join(lacking)}, so podman can't map users" if lacking else None


def _text(path: str) -> str:
    return Path(path).read_text() if os.path.exists(path) else ""


@final
class ContainerTestbed:
    """Podman with storage of its own, in which there is the image `MINI`, and a registry on loopback.

    All is gone at stop(). The constructor does no I/O.
    """

    #: What podman, buildah and apptainer need in their environment.
    env: dict[str, str]
    #: The registry, as images in it are named.
    registry: str
    directory: Path

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> ContainerTestbed:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make the image and start the registry."""
        self.directory = Path(tempfile.mkdtemp(prefix="slurm-containers-"))
        self.env = {"CONTAINERS_CONF": str(self.directory / "containers.conf")}
        self.env["CONTAINERS_STORAGE_CONF"] = str(self.directory / "storage.conf")
        if os.geteuid() != 0:  # without root that is where running containers are kept, whatever storage.conf says
            self.env["XDG_RUNTIME_DIR"] = str(self.directory / "run")
            (self.directory / "run").mkdir(mode=0o700)
        (self.directory / "containers.conf").write_text(_CONTAINERS_CONF)
        (self.directory / "storage.conf").write_text(_STORAGE_CONF.format(directory=self.directory))
        self.registry = self.new_registry()
        tree = make_tree(self.directory / "tree")
        self.run("podman", "import", "--quiet", str(pack(tree, self.directory / "mini.tar")), MINI)
        (tree / "usr/local/bin/python3").unlink()
        shutil.rmtree(tree / "usr/local/lib")
        self.run("podman", "import", "--quiet", str(pack(tree, self.directory / "bare.tar")), BARE)

    def static_image(self) -> str:
        """Make an image that holds one static program, `/program`, and nothing else. Returns its name."""
        tree = self.directory / "static"
        if not tree.exists():
            tree.mkdir()
            source = Path(__file__).with_name("static_program.c")
            self.run("gcc", "-static", "-O1", "-o", str(tree / "program"), str(source))
            self.run("podman", "import", "--quiet", str(pack(tree, self.directory / "static.tar")), STATIC)
        return STATIC

    def mpi_image(self, mpicc: str) -> str:
        """Make an image that holds one program of MPI, `/program`, with its MPI library. Returns its name."""
        program, tree = self.directory / "mpi_program", self.directory / "mpi"
        if not tree.exists():
            self.run(mpicc, "-o", str(program), str(Path(__file__).with_name("mpi_program.c")))
            archive = pack(make_program_tree(tree, program), self.directory / "mpi.tar")
            self.run("podman", "import", "--quiet", str(archive), MPI)
        return MPI

    def new_registry(self, htpasswd: str = "") -> str:
        """Start a registry; with lines of htpasswd (bcrypt) it wants to know who asks."""
        [port] = free_ports(1)
        address, place = f"{LOOPBACK}:{port}", self.directory / str(port)
        place.mkdir()
        (place / "htpasswd").write_text(htpasswd)
        more = _AUTH.format(file=place / "htpasswd") if htpasswd else ""
        (place / "config.yml").write_text(_REGISTRY.format(directory=place, address=address, more=more))
        self._start("docker-registry", "serve", str(place / "config.yml"))
        _until(lambda: is_listening(port), f"docker-registry doesn't listen at {address}")
        return address

    def docker(self) -> dict[str, str]:
        """Start what the docker command talks to: podman, which speaks its protocol; return the variables for it."""
        socket = self.directory / "docker.sock"
        if not socket.exists():
            self._start("podman", "system", "service", "--time=0", f"unix://{socket}")
            _until(socket.exists, "podman doesn't serve docker's protocol")
        return {"DOCKER_HOST": f"unix://{socket}"}

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command and return what it prints. Raises SlurmTestbedError if it fails and check is true."""
        done = subprocess.run(argv, env=self._environ(), text=True, capture_output=True, timeout=120, check=False)
        if check and done.returncode:
            raise SlurmTestbedError(f"{' '.join(argv)}: status {done.returncode}\n{done.stderr}")
        return done.stdout

    def containers(self) -> Sequence[str]:
        """Return the names of the containers that podman knows, running or not."""
        return self.run("podman", "ps", "--all", "--format", "{{.Names}}").split()

    def running(self) -> Sequence[str]:
        """Return the names of the containers that run."""
        return self.run("podman", "ps", "--format", "{{.Names}}").split()

    def remove_all(self) -> None:
        """Remove all containers."""
        self.run("podman", "rm", "--all", "--force", "--time=0", check=False)

    def stop(self) -> None:
        """End what runs and remove every file."""
        for process in self._processes:
            process.terminate()
            process.wait()
        if self.directory.exists():
            self.remove_all()
            pause = self.directory / "run/libpod/tmp/pause.pid"  # what holds the user namespace of podman without root
            holder = int(pause.read_text()) if pause.exists() else None
            outer = () if os.geteuid() == 0 else ("podman", "unshare")  # some files may belong to mapped ids
            self.run(*outer, "rm", "-rf", str(self.directory), check=False)
            shutil.rmtree(self.directory, ignore_errors=True)
            if holder:
                with suppress(ProcessLookupError):
                    os.kill(holder, signal.SIGKILL)

    def _start(self, *argv: str) -> None:
        # Who starts it may be killed.
        argv = ("setpriv", "--pdeathsig=TERM", *argv)
        with open(self.directory / "log", "ab") as log:
            self._processes.append(
                subprocess.Popen(argv, env=self._environ(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )

    def _environ(self) -> dict[str, str]:
        return {**os.environ, **self.env}


def _until(condition: Callable[[], object], otherwise: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SlurmTestbedError(otherwise)
        time.sleep(0.01)
