"""Offers: what a cluster has, in a line for the message of a refusal. Parses the output of one sinfo."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 8
"""The most partitions that a message names."""
_NO_GRES = ("", "(null)", "none")


class _Nodes(NamedTuple):
    """Equal nodes of a partition. Memory in megabytes."""

    partition: str
    limit: str
    number: int
    cpus: int
    memory: int
    gres: str

    @property
    def size(self) -> str:
        """What a job on one of them may have."""
        return f"{self.cpus} CPUs, {self.memory} MB{f', {self.gres}' if self.gres else ''}"


def parse(lines: Sequence[Sequence[str]]) -> str:
    """Return "Partitions: …. Largest node: …" for lines of name, time limit, nodes, CPUs, memory and GRES."""
    found = [_nodes(*line) for line in lines]
    if not found:
        return ""
    partitions: dict[str, list[_Nodes]] = {}
    for nodes in found:
        partitions.setdefault(nodes.partition, []).append(nodes)
    named = [_described(name, several) for name, several in partitions.items()][:_MOST]
    more = f"; and {len(partitions) - _MOST} others" if len(partitions) > _MOST else ""
    largest = max(found, key=lambda nodes: (nodes.cpus, nodes.memory))
    return f"Partitions: {'; '.join(named)}{more}. Largest node: {largest.size}"


def _described(name: str, several: Sequence[_Nodes]) -> str:
    largest = max(several, key=lambda nodes: (nodes.cpus, nodes.memory))
    count = sum(nodes.number for nodes in several)
    default = " (default)" if name.endswith("*") else ""
    return f"{name.rstrip('*')}{default}: {count} nodes, up to {largest.size}, time limit {largest.limit}"


def _nodes(name: str, limit: str, count: str, cpus: str, memory: str, gres: str) -> _Nodes:
    return _Nodes(name, limit, _number(count), _number(cpus), _number(memory), "" if gres in _NO_GRES else gres)


def _number(text: str) -> int:
    """Read sinfo's number, such as "4", or "4+" if nodes differ."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
