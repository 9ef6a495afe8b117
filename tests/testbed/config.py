"""The slurm.conf of a testbed, and the ports that it names."""

from __future__ import annotations

import os
import pwd
import random
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from testbed.programs import plugin_directory

LOOPBACK = "127.0.0.1"
CLUSTER_NAME, SECOND_CLUSTER = "testbed", "other"
_STATE_LISTENING = "0A"

# Below the range from which Linux takes the ports of outgoing connections (32768 and up unless changed): a
# daemon that is started again a while later must find its port as free as it left it. Also below the ports where ranks
# of a task meet.
_PORTS = range(10_000, 20_000)


def free_ports(count: int) -> list[int]:
    """Return distinct loopback ports that nobody listens on now; another process may still be faster."""
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                break
            sock = held.enter_context(socket.socket())
            with suppress(OSError):
                sock.bind((LOOPBACK, port))
                ports.append(port)
    return ports


def is_listening(port: int) -> bool:
    """Say whether someone listens on a loopback port, without connecting (a daemon would log that)."""
    address = f"{socket.inet_aton(LOOPBACK)[::-1].hex().upper()}:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1] == address and row[3] == _STATE_LISTENING for row in rows)


def slurm_conf(
    directory: Path,
    *,
    port: int,
    nodes: Mapping[str, int],
    node_settings: Mapping[str, str],
    kinds: Mapping[str, Mapping[str, str]] | None = None,
    settings: Mapping[str, str],
    partitions: Mapping[str, str],
    name: str = CLUSTER_NAME,
) -> str:
    """Return the text of slurm.conf of a cluster so named; port is slurmctld's, nodes are their names and ports.

    node_settings are those of every node, kinds those of single ones, over them.

    settings replace lines of the same key (a key's case doesn't count, as in Slurm); an empty value takes the
    key out, because Slurm refuses `Key=`. A partition has all nodes unless its line says otherwise.
    """
    host = socket.gethostname().partition(".")[0]
    lines = _words(merged(_defaults(directory, host, name, port), settings))
    for node, node_port in nodes.items():
        lines.append(
            f"NodeName={node} NodeHostname={host} NodeAddr={LOOPBACK} Port={node_port}"
            f" {' '.join(_words(merged(node_settings, (kinds or {}).get(node, {}))))} State=UNKNOWN"
        )
    for partition, rest in {"debug": "Default=YES", **partitions}.items():
        given = dict(word.split("=", 1) for word in rest.split())
        line = merged({"Nodes": "ALL", "MaxTime": "INFINITE", "State": "UP"}, given)
        lines.append(" ".join([f"PartitionName={partition}", *_words(line)]))
    return "\n".join(lines) + "\n"


def cgroup_conf(release: tuple[int, int], mounts: Path | None = None) -> str:
    """Return the text of cgroup.conf for a release of Slurm; with limits on memory if mounts says where.

    From 21.08 on slurmd loads a cgroup plugin even if nothing uses it, and on a machine that has only cgroup
    v2 it picks one that wants systemd's help. The plugin for v1 touches nothing until used; `disabled` is
    documented since 24.05.
    """
    lines = {}
    if release >= (21, 8):
        lines["CgroupPlugin"] = "disabled" if mounts is None and release >= (24, 5) else "cgroup/v1"
    if mounts is not None:
        lines |= {"CgroupMountpoint": str(mounts), "ConstrainRAMSpace": "yes"}
        lines |= {"ConstrainSwapSpace": "yes", "AllowedSwapSpace": "0"}
    return "".join(f"{word}\n" for word in _words(lines))


def plugin_settings() -> dict[str, str]:
    """Return the setting that an unpacked Slurm needs in slurm.conf and slurmdbd.conf."""
    found = plugin_directory()
    return {"PluginDir": str(found)} if found else {}


def _defaults(directory: Path, host: str, name: str, port: int) -> dict[str, str]:
    user = user_name()
    return {
        **plugin_settings(),
        "ClusterName": name,
        "SlurmctldHost": f"{host}({LOOPBACK})",
        "SlurmctldPort": str(port),
        "SlurmUser": user,
        "SlurmdUser": user,
        # Nobody is authenticated: no munge and no root is needed, but anyone on this machine could submit as
        # that user.
        "AuthType": "auth/none",
        "CredType": "cred/none",
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        # Without it a node that has fewer CPUs or less memory than its line claims is drained.
        "SlurmdParameters": "config_overrides",
        "StateSaveLocation": f"{directory}/state",
        "SlurmdSpoolDir": f"{directory}/spool/%n",
        "SlurmctldPidFile": f"{directory}/run/slurmctld.pid",
        "SlurmdPidFile": f"{directory}/run/slurmd-%n.pid",
        "SlurmctldLogFile": f"{directory}/log/slurmctld.log",
        "SlurmdLogFile": f"{directory}/log/slurmd-%n.log",
        # Schedule at once instead of when it is worth the while: an `srun true` then takes 0.03 s.
        "SchedulerParameters": "sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1",
        "ReturnToService": "2",
        "SlurmctldTimeout": "10",
        "SlurmdTimeout": "10",
        "KillWait": "2",
        # MPICH names its shared memory by the id of the job, and a killed program leaves it: no two controllers of this
        # machine may have a job of the same id.
        "FirstJobId": str(int.from_bytes(os.urandom(3), "big") + 1),
    }


def merged(base: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return settings with changes, where a key's case doesn't count."""
    changed = {key.lower() for key in changes}
    return {key: value for key, value in base.items() if key.lower() not in changed} | dict(changes)


def _words(pairs: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in pairs.items() if value]


def user_name() -> str:
    """Return the name of who runs the testbed, or the number of one without a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
