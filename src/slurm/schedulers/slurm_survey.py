"""Parse what the doctor's script prints about Slurm: its configuration, partitions, limits and federation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.schedulers import federation
from slurm.schedulers.survey import Partition, Survey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OLDEST = (20, 11)
_LIMITS = ("MaxArraySize", "MaxJobCount", "MinJobAge", "DefMemPerNode", "DefMemPerCPU", "EnforcePartLimits")
_ASSOCIATION = ("MaxJobs", "MaxSubmit", "MaxWall")
_NO_ACCOUNTING = ("", "(null)", "accounting_storage/none")
_ALLOWED = ("AllowGroups", "AllowAccounts", "AllowQos", "DenyAccounts", "DenyQos", "AllocNodes")
_FACT = re.compile(r"(\w+)=(\S*)")
_USABLE = ("idle", "mix", "alloc", "comp", "resv", "plan", "power")
"""Prefixes of sinfo(1)'s states of nodes that can run jobs."""


def parse(output: str) -> Survey:
    """Parse the configuration, then lines with the prefixes of the script."""
    config = {
        name.strip(): value.strip() for name, equals, value in (x.partition("=") for x in output.splitlines()) if equals
    }
    version = config.get("SLURM_VERSION", "")
    if not version:
        return Survey(version="", trouble=output.strip() or "no answer")
    lines = [line.split("|") for line in output.splitlines()]
    limits = {name: config[name] for name in _LIMITS if name in config}
    for _, account, partition, *values in (line for line in lines if line[0] == "assoc" and len(line) == 6):
        known = [f"{name} {value}" for name, value in zip(_ASSOCIATION, values, strict=True) if value]
        where = f"account {account}{f', partition {partition}' if partition else ''}"
        limits[where] = ", ".join(known) or "no limits of its own"
    return Survey(
        version=version,
        old=tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST,
        accounting=config.get("AccountingStorageType", "") not in _NO_ACCOUNTING,
        arrays=limits.get("MaxArraySize") != "0",
        limits=limits,
        memory=_ends_for_memory(config),
        partitions=_partitions(
            [line[1:] for line in lines if line[0] == "part" and len(line) == 9],
            dict(_allowed(line[1]) for line in lines if line[0] == "use" and len(line) == 2),
        ),
        federation=federation.members(output),
    )


def _ends_for_memory(config: Mapping[str, str]) -> bool:
    """Whether Slurm ends jobs that use too much memory: by cgroups, or by the accounting of jobs (slurm.conf(5))."""
    by_cgroup = "task/cgroup" in config.get("TaskPlugin", "") and config.get("ConstrainRAMSpace") == "yes"
    return by_cgroup or "OverMemoryKill" in config.get("JobAcctGatherParams", "")


def _allowed(line: str) -> tuple[str, str]:
    """Parse the name of a partition, and who may use it, in a line of scontrol."""
    facts = dict(_FACT.findall(line))
    limits = (f"{name}={facts[name]}" for name in _ALLOWED if facts.get(name, "ALL") not in ("ALL", "(null)"))
    return facts.get("PartitionName", ""), " ".join(limits)


def _partitions(lines: Sequence[Sequence[str]], allowed: Mapping[str, str]) -> tuple[Partition, ...]:
    """Parse sinfo's lines: a partition has one line for each state and each kind of its nodes."""
    found: dict[str, Partition] = {}
    for name, up, limit, nodes, state, cpus, memory, gres in lines:
        bare = name.rstrip("*")
        count = int(nodes) if nodes.isdecimal() else 0
        usable = count if state.startswith(_USABLE) and not state.endswith("*") else 0
        before = found.get(bare)
        found[bare] = (
            before._replace(nodes=before.nodes + count, usable=before.usable + usable)
            if before
            else Partition(
                bare, name.endswith("*"), up == "up", limit, count, usable, cpus, memory, gres, allowed.get(bare, "")
            )
        )
    return tuple(found.values())
