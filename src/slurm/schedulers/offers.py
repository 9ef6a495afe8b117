"""Offers: what a cluster has, in a line for the message of a refusal. Parses the output of one sinfo."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 8
"""The most partitions that a message names."""
_KINDS = (
    ("license", "Licenses"),
    ("reservation", "Reservations"),
    ("feature", "Features"),
    ("node", "Nodes"),
    ("assoc", "Accounts"),
    ("assoc", "QOS"),
)
"""The kinds of lines, and their titles."""
_NO_GRES = ("", "(null)", "none")


class _Nodes(NamedTuple):
    """Equal nodes of a partition. The memory is in megabytes."""

    partition: str
    limit: str
    number: int
    cpus: int
    memory: int
    gres: str

    @property
    def size(self) -> str:
        """The CPUs, memory and GRES of one of these nodes."""
        return f"{self.cpus} CPUs, {self.memory} MB{f', {self.gres}' if self.gres else ''}"


def parse(lines: Sequence[Sequence[str]]) -> str:
    """Return "Licenses: …. Partitions: …. Largest node: …" for the lines of `offers.sh`, each with its kind first."""
    choices = (_choices(kind, title, lines) for kind, title in _KINDS)
    return ". ".join(filter(None, (*choices, _partitions([line[1:] for line in lines if line[0] == "part"]))))


def _choices(kind: str, title: str, lines: Sequence[Sequence[str]]) -> str:
    """Name the values that an option can have, such as licenses; empty if the output has none of this kind."""
    rows = [line[1:] for line in lines if line[0] == kind and len(line) > 1]
    found: dict[str, None] = {}
    for row in rows:
        if kind in ("license", "reservation"):
            fields = dict(word.partition("=")[::2] for word in row[0].split())
            name = fields.get(f"{title[:-1]}Name") or fields.get("ReservationName", "")
            found[
                f"{name} ({fields['Total']} in all, {fields.get('Free', '?')} free)" if "Total" in fields else name
            ] = None
        else:
            found |= dict.fromkeys(row[-1 if title == "QOS" else 0].split(","))
    names = [name for name in found if name not in _NO_GRES]
    more = f" and {len(names) - _MOST} others" if len(names) > _MOST else ""
    return f"{title}: {', '.join(names[:_MOST]) or 'none'}{more}" if rows else ""


def _partitions(lines: Sequence[Sequence[str]]) -> str:
    """Describe partitions by lines of name, time limit, nodes, CPUs, memory and GRES."""
    found = [_nodes(*line) for line in lines if len(line) == len(_Nodes._fields)]
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
