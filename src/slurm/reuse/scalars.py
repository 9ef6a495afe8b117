"""Canonical bytes of constants: the same for equal values of one type, different in all other cases."""

from __future__ import annotations

import struct
from hashlib import sha256
from types import CodeType
from typing import TYPE_CHECKING, Any

from slurm.reuse.bytecode import bytecode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def framed(tag: bytes, content: bytes) -> bytes:
    """Join a tag and a content, so that two different pairs never give the same bytes."""
    return b"%s%d:%s" % (tag, len(content), content)


def _integer(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


SCALARS: Mapping[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N0:",
    type(...): lambda _: b"E0:",
    type(NotImplemented): lambda _: b"U0:",
    bool: lambda value: b"B1:1" if value else b"B1:0",
    int: lambda value: framed(b"i", _integer(value)),
    float: lambda value: b"d8:" + struct.pack("<d", value),
    complex: lambda value: b"c16:" + struct.pack("<dd", value.real, value.imag),
    str: lambda value: framed(b"s", value.encode("utf-8", "surrogatepass")),
    bytes: lambda value: framed(b"b", value),
}
"""The canonical bytes of values without parts, by their type. 1, 1.0 and True differ; so do 0.0 and -0.0."""


def constant(value: Any) -> bytes:
    """Return the canonical bytes of a constant of a code object. Sets are sorted, because their order depends on the
    process.
    """
    scalar = SCALARS.get(type(value))
    if scalar:
        return scalar(value)
    if isinstance(value, CodeType):
        return framed(b"C", code_digest(value))
    if isinstance(value, slice):
        return framed(b"S", constant((value.start, value.stop, value.step)))
    parts = map(constant, value)
    tag, ordered = (b"t", parts) if isinstance(value, tuple) else (b"f", sorted(parts))
    return framed(tag, b"".join(ordered))


def code_digest(code: CodeType) -> bytes:
    """Return the digest of a code object's instructions, with the functions and classes that it defines."""
    found = bytecode(code)
    digest = sha256(constant(found.signature))
    for name, argument in found.steps:
        digest.update(constant((name, argument)))
    return digest.digest()
