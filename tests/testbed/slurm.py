"""A Slurm cluster of its own for a test session, or for a single test."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import final

from testbed.accounting import Accounting
from testbed.config import (
    CLUSTER_NAME,
    LOOPBACK,
    SECOND_CLUSTER,
    cgroup_conf,
    free_ports,
    is_listening,
    merged,
    slurm_conf,
)
from testbed.daemons import Daemon, GuardianClient
from testbed.errors import CommandError, SlurmTestbedError
from testbed.limits import make_cgroups, memory_settings
from testbed.programs import (
    find_faketime,
    find_program,
    missing,
    missing_accounting,
    missing_faketime,
    missing_memory_limits,
    search_path,
    slurm_release,
    without_slurm,
)

_START_ATTEMPTS = 4
_START_SECONDS = 60.0
_EMPTY_SECONDS = 60.0
_PORT_LOST = "already in use"
# With a faster clock these pass sooner: ended jobs would be forgotten, and nodes of a busy machine be taken for dead.
_PATIENT = {"MinJobAge": "6000", "MessageTimeout": "100", "BatchStartTimeout": "400", "SlurmdTimeout": "600"}


@final
class SlurmTestbed:
    """A real slurmctld and slurmds on the loopback interface, run by and for the user who starts them.

    Keyword arguments: nodes, named n1, n2, ...; cpus and memory (MB) that each claims, whatever the machine
    has; settings are lines of slurm.conf, over the defaults; partitions are further ones besides `debug`,
    from the name to the rest of the line; speedup is how much faster slurmctld's clock runs, so that a time
    limit of a minute passes in seconds (timestamps that Slurm reports are then off). skew is by how many seconds
    the clock of a node's slurmd is wrong.

    With accounting sacct answers, by a slurmdbd and a MariaDB of this cluster's own; its clock can't be faster then.
    database_settings are further lines of slurmdbd.conf.
    name is its ClusterName, node_prefix the letter of its nodes. A second cluster under one slurmdbd is started with
    `beside`, a running testbed that has accounting, and stopped before it: see second_cluster().
    node_command runs another command on the nodes, in a namespace of theirs.
    kinds are node_settings of single nodes, files further ones beside slurm.conf: their texts by their names.
    With configless each slurmd gets its slurm.conf from slurmctld: see ConfiglessMachine.
    With memory_limits the kernel kills what uses more than its --mem; only root can have that.

    The constructor does no I/O. The cluster is gone at stop(), or soon after the death of this process,
    however it died.
    """

    directory: Path
    conf: Path
    #: What a Slurm command needs in its environment to find this cluster: SLURM_CONF, and a PATH with Slurm
    #: on it.
    env: dict[str, str]
    #: Where slurmctld listens: host and port.
    conf_server: str
    slurmctld: Daemon
    slurmd: dict[str, Daemon]
    #: These two only with accounting.
    slurmdbd: Daemon
    mariadbd: Daemon

    def __init__(  # noqa: PLR0913 - each is a trait of a cluster
        self,
        *,
        name: str = CLUSTER_NAME,
        nodes: int = 2,
        node_prefix: str = "n",
        cpus: int = 4,
        memory: int = 2000,
        settings: Mapping[str, str] | None = None,
        partitions: Mapping[str, str] | None = None,
        node_settings: Mapping[str, str] | None = None,
        kinds: Mapping[str, Mapping[str, str]] | None = None,
        files: Mapping[str, str] | None = None,
        gpu: bool = False,
        speedup: float = 1,
        skew: Mapping[str, int] | None = None,
        accounting: bool = False,
        database_settings: Mapping[str, str] | None = None,
        beside: SlurmTestbed | None = None,
        memory_limits: bool = False,
        node_command: Sequence[str] = (),
        configless: bool = False,
    ) -> None:
        if (accounting or beside) and speedup != 1:
            raise ValueError("accounting needs the true time: it can't be had with speedup")
        if accounting and beside:
            raise ValueError("a cluster has accounting of its own, or that of the cluster beside it: not both")
        self.name = name
        self._node_names = [f"{node_prefix}{number}" for number in range(1, nodes + 1)]
        self._cpus = cpus
        self._memory = memory
        self._settings = dict(settings or {})
        self._partitions = dict(partitions or {})
        self._kinds, self._files = dict(kinds or {}), dict(files or {})
        self._gpu = gpu
        self._node_settings = {
            "CPUs": str(cpus),
            "RealMemory": str(memory),
            **({"Gres": "gpu:1"} if gpu else {}),
            **(node_settings or {}),
        }
        self._speedup = speedup
        self._skew = dict(skew or {})
        self._with_accounting = accounting
        self._database_settings = dict(database_settings or {})
        self._beside = beside
        self._memory_limits = memory_limits
        self._configless = configless
        self._node_command = tuple(node_command)
        self._accounting: Accounting | None = None
        self._ports: list[int] = []
        self._guardian: GuardianClient | None = None

    def __enter__(self) -> SlurmTestbed:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def second_cluster(self, *, settings: Mapping[str, str] | None = None) -> SlurmTestbed:
        """Return a testbed, not started, that shares this one's slurmdbd: the cluster `other`, with the node m1."""
        return SlurmTestbed(name=SECOND_CLUSTER, nodes=1, node_prefix="m", settings=settings, beside=self)

    def federate(self, other: SlurmTestbed) -> None:
        """Make a federation of this cluster and another one, and wait until both know it."""
        self.run("sacctmgr", "-i", "add", "federation", "both", f"clusters={self.name},{other.name}")
        self._wait(lambda: self._sees_sibling() and other._sees_sibling(), _START_SECONDS, "there is no federation")

    def _sees_sibling(self) -> bool:
        return "Synced:Yes" in self.run("scontrol", "show", "federation").stdout

    def start(self) -> None:
        """Bring the cluster up and wait until it takes jobs.

        Raises SlurmTestbedError, with the ends of the logs, if it doesn't come up.
        """
        if self._guardian is not None:
            raise SlurmTestbedError("the testbed is running already")
        if lacking := self._missing():
            raise SlurmTestbedError(lacking)
        for _ in range(_START_ATTEMPTS - 1):
            if self._launch_unless_port_lost():
                return
        self._launch()

    def stop(self) -> None:
        """Kill the daemons and all that they started, jobs included, and remove every file."""
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            guardian.stop()

    def run(
        self, *argv: str, check: bool = True, timeout: float = 60, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this cluster, with stdin as its input, and return it with its output.

        Raises CommandError if it fails and check is true, subprocess.TimeoutExpired after timeout seconds
        (with slurmctld gone most commands of Slurm give up only after nine).
        """
        done = subprocess.run(
            argv,
            env={**without_slurm(os.environ), **self.env},
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
            input=stdin,
        )
        if check and done.returncode:
            raise CommandError(done.returncode, done.args, done.stdout, done.stderr)
        return done

    def wait_ready(self, timeout: float = _START_SECONDS) -> None:
        """Wait until slurmctld answers and every node whose slurmd should run is in touch with it.

        A slurmdbd that should run takes connections then.

        A node counts as in touch until slurmctld has noticed the death of its slurmd, which takes up to
        SlurmdTimeout. Raises SlurmTestbedError, with the ends of the logs, after timeout seconds or once a
        daemon has died by itself.
        """
        self._wait(self._answers, timeout, "the cluster is not ready")

    def skewed(self, node: str) -> dict[str, str]:
        """Return the variables that give a process the clock of a node."""
        return _faked(f"{self._skew[node]:+d}s") if node in self._skew else {}

    def cancel_all(self) -> None:
        """Cancel every job and wait until none is left in the queue."""
        if jobs := self.run("squeue", "-h", "-o", "%A").stdout.split():
            self.run("scancel", *jobs, check=False)  # one that ended meanwhile makes it fail
            self._wait(lambda: not self.run("squeue", "-h").stdout, _EMPTY_SECONDS, "the queue is not empty")

    def _missing(self) -> str | None:
        wanted = [
            (missing, True),
            (missing_faketime, self._speedup != 1 or bool(self._skew)),
            (missing_accounting, self._with_accounting),
            (missing_memory_limits, self._memory_limits),
        ]
        return next((lacking for find, asked in wanted if asked and (lacking := find())), None)

    def _launch_unless_port_lost(self) -> bool:
        try:
            self._launch()
        except SlurmTestbedError as error:
            if _PORT_LOST not in str(error):
                raise
            return False
        return True

    def _launch(self) -> None:
        try:
            self._start_daemons()
        except BaseException:
            self.stop()
            raise

    def _start_daemons(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="slurm-testbed-"))
        self._guardian = GuardianClient(self.directory)
        self._guardian.start()
        nodes = len(self._node_names)
        ports = free_ports(1 + nodes + self._with_accounting)
        self._ports = ports[: 1 + nodes]
        self.conf = self.directory / "slurm.conf"
        self.conf_server = f"{LOOPBACK}:{self._ports[0]}"
        self.env = {"SLURM_CONF": str(self.conf), "PATH": search_path()}
        if self._with_accounting:
            self._accounting = Accounting(self.directory, ports[-1], self.daemon, self._database_settings)
            self.mariadbd, self.slurmdbd = self._accounting.mariadbd, self._accounting.slurmdbd
        self._write_files()
        self.slurmctld = self.daemon("slurmctld", "slurmctld", "-D", env=self._clock())
        self.slurmd = {
            name: self.daemon(
                *(f"slurmd-{name}", "slurmd", "-D", "-N", name),
                *(("--conf-server", self.conf_server) if self._configless else ()),
                env=self.skewed(name),
                command=self._node_command,
            )
            for name in self._node_names
        }
        if self._accounting:
            self._start_accounting(self._accounting)
        if self._accounting_settings():
            # A slurmctld whose cluster isn't there yet is turned away.
            self._wait(self._add_cluster, _START_SECONDS, "slurmdbd does not take the name of the cluster")
        deadline = time.monotonic() + _START_SECONDS
        # A slurmd that finds no slurmctld tries again only a second later.
        self.slurmctld.start()
        self._wait(lambda: is_listening(self._ports[0]), _START_SECONDS, "slurmctld does not listen")
        for daemon in self.slurmd.values():
            daemon.start()
        self.wait_ready(deadline - time.monotonic())
        if self._accounting_settings():
            self._wait(self._is_registered, deadline - time.monotonic(), "slurmdbd does not know where slurmctld is")

    def _start_accounting(self, accounting: Accounting) -> None:
        self.run(*accounting.install)
        self.mariadbd.start()
        self._wait(accounting.database_answers, _START_SECONDS, "mariadbd does not answer")
        self.slurmdbd.start()
        self._wait(accounting.answers, _START_SECONDS, "slurmdbd does not listen")

    def _add_cluster(self) -> bool:
        """Give slurmdbd the name of this cluster; False if it does not answer, as soon after it listens."""
        done = self.run("sacctmgr", "-i", "add", "cluster", self.name, check=False)
        return done.returncode == 0 or "already exists" in done.stdout + done.stderr

    def _is_registered(self) -> bool:
        """Say whether slurmdbd tells others' commands, by `-M`, where this slurmctld listens."""
        shown = self.run("sacctmgr", "-nP", "show", "cluster", self.name, "format=controlhost,controlport").stdout
        return shown.strip() == f"{LOOPBACK}|{self._ports[0]}"

    def _write_files(self) -> None:
        for name in ("state", "log", "run", *(f"spool/{name}" for name in self._node_names)):
            (self.directory / name).mkdir(parents=True)
        self.conf.write_text(
            slurm_conf(
                self.directory,
                name=self.name,
                nodes=dict(zip(self._node_names, self._ports[1:], strict=True)),
                port=self._ports[0],
                settings=merged(self._options_settings(), self._settings),
                partitions=self._partitions,
                node_settings=self._node_settings,
                kinds=self._kinds,
            )
        )
        for name, text in self._files.items():
            self.conf.with_name(name).write_text(text)
        if self._gpu:  # Slurm only counts it, and wants a device
            self.conf.with_name("gres.conf").write_text("AutoDetect=off\nName=gpu File=/dev/null\n")
        mounts = make_cgroups(self.directory, self._own) if self._memory_limits else None
        self.conf.with_name("cgroup.conf").write_text(cgroup_conf(slurm_release(), mounts))
        if self._accounting:
            self._accounting.write_files()

    def _options_settings(self) -> dict[str, str]:
        settings = memory_settings(self._memory, self._cpus) if self._memory_limits else {}
        settings |= {"GresTypes": "gpu"} if self._gpu else {}
        settings |= {"SlurmctldParameters": "enable_configless"} if self._configless else {}
        if self._speedup != 1:
            settings |= _PATIENT
        return settings | self._accounting_settings()

    def _accounting_settings(self) -> dict[str, str]:
        if self._beside:
            return self._beside._accounting_settings()
        return self._accounting.settings if self._accounting else {}

    def _own(self, cgroup: Path) -> None:
        assert self._guardian is not None
        self._guardian.ask("own", cgroup=str(cgroup))

    def daemon(
        self,
        name: str,
        program: str,
        *options: str,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
    ) -> Daemon:
        """Return a daemon that is not started yet, and that ends with the cluster."""
        assert self._guardian is not None
        return Daemon(
            name,
            self._guardian,
            argv=[*command, find_program(program) or program, *options],
            env={**without_slurm(os.environ), **self.env, **(env or {})},
            logs=self.directory / "log",
        )

    def _clock(self) -> dict[str, str]:
        return {} if self._speedup == 1 else _faked(f"+0 x{self._speedup:g}")

    def _answers(self) -> bool:
        if not is_listening(self._ports[0]):
            return False
        if self._accounting and self.slurmdbd.wanted and not self._accounting.answers():
            return False
        try:
            sinfo = self.run("sinfo", "-a", "-h", "-N", "-o", "%N %T", check=False, timeout=2)
        except subprocess.TimeoutExpired:
            return False
        states = dict(line.split() for line in sinfo.stdout.splitlines())
        # A star marks a node that doesn't respond; `unknown` is one that never did.
        good = {name for name, state in states.items() if not state.endswith("*") and state not in ("down", "unknown")}
        return sinfo.returncode == 0 and good >= {name for name, daemon in self.slurmd.items() if daemon.wanted}

    def _wait(self, condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            dead = [daemon.name for daemon in self._daemons() if daemon.wanted and not daemon.alive()]
            if dead:
                raise SlurmTestbedError(f"{', '.join(dead)} ended by itself\n{self._logs()}")
            if time.monotonic() > deadline:
                raise SlurmTestbedError(f"{otherwise} after {timeout:.0f} s\n{self._logs()}")
            time.sleep(0.005)

    def _daemons(self) -> Iterator[Daemon]:
        if self._accounting:
            yield from (self.mariadbd, self.slurmdbd)
        yield self.slurmctld
        yield from self.slurmd.values()

    def _logs(self) -> str:
        return "\n".join(f"--- {daemon.name}\n{daemon.log_tail()}" for daemon in self._daemons())


def _faked(clock: str) -> dict[str, str]:
    # Waits on condition variables count the monotonic clock; bent as well they would return at once, for
    # ever.
    return {"LD_PRELOAD": str(find_faketime()), "FAKETIME": clock, "DONT_FAKE_MONOTONIC": "1"}
