"""Ports: where the processes of a call connect to each other, derived from the submission's key and the element."""

from __future__ import annotations

from zlib import crc32

FIRST, COUNT = 20_000, 12_000
"""Below the ports that Linux uses for outgoing connections (32768 and up by default), above the ports of services."""


def of_key(key: str) -> int:
    """Return the offset of element 0; the others follow. It depends on the key: ids of two clusters may be equal."""
    return crc32(key.encode()) % COUNT


def of_element(key: str, index: int) -> int:
    """Return the port of an element."""
    return FIRST + (of_key(key) + index) % COUNT
