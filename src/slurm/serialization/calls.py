"""Calls: the pickled calls of a submission, and the offsets in them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol import OFFSET_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence


class Calls(NamedTuple):
    """`calls.pkl` and `calls.idx`, and `callbacks.pkl` if the submission has callbacks."""

    data: bytes
    offsets: bytes
    callbacks: bytes = b""


def packed(offsets: Sequence[int]) -> bytes:
    """Encode offsets as in `calls.idx`."""
    return struct.pack(f"<{len(offsets)}Q", *offsets)


def unpacked(data: bytes) -> Sequence[int]:
    """Decode the offsets of `calls.idx`."""
    return struct.unpack(f"<{len(data) // OFFSET_BYTES}Q", data)
