"""Pools: the files of a pool's clients. Each client has a directory `clients/<n>/` in the directory of the pool.

calls                     client       frames: blocks of calls
arguments/<n>             client       one frame: the arguments of call n, if they are large
functions/<digest>/       client       calls.pkl and calls.idx, without calls: a function, and what calls share;
                                       retry, the `Retry` of its calls as JSON, if they have one
taken/<b // 4096>/<b>     elements     claims of blocks, see `slurm.protocol.claims`
out/<e>.<attempt>         element e    frames: answers
results/<n>-<e>.<a>-<b>.pkl  a worker  the result of attempt b of call n, if it is large

In `logs/` of the pool, `<e>.<w>.log` is the log of worker w, from 1, of element e.
"""

from __future__ import annotations

from slurm.protocol import CLIENTS, LOGS, log_name
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

BLOCKS, OUT, FUNCTIONS, RETRY, ARGUMENTS = "calls", "out", "functions", "retry", "arguments"

POOL = "pool"
"""The name of the task that the elements of pools run."""
MOST = "most"
"""The field in the record of an elastic pool for the largest number of elements at a time."""
ENDED = "ended"
"""The name of a file in `attempts/`. If it exists, no more elements are added to an elastic pool."""
LARGE_BYTES = 1 << 20
"""A result of more bytes is stored in a separate file."""
INLINE_BYTES = 1 << 16
"""Larger arguments are in a separate file, so that a block is small: elements that do not claim it read it, too."""
INLINE = "inline"
"""The field in the record of a pool for this number. Without it, the elements cannot read such files."""
_DIGEST_BYTES = 32
_LENGTH_BYTES = 4
_COUNT_BYTES = 4


def is_pool(key: str) -> bool:
    """Whether a key is the key of a pool, or of a task with the same name."""
    return key.partition("/")[0] == POOL and CLIENTS not in key.split("/")


def is_elastic(pool: Mapping[str, Any] | None) -> bool:
    """Whether this is the record of an elastic pool."""
    return pool is not None and MOST in pool


def client_key(pool: str, number: int) -> str:
    """Return the key of the calls of a client of a pool."""
    return f"{pool}/{CLIENTS}/{number}"


def pool_key(key: str) -> str:
    """Return the key of the pool that makes the calls with a key; for other jobs, the key itself."""
    return key.partition(f"/{CLIENTS}/")[0]


def calls_key(key: str, numbers: range, *, mapped: bool) -> str:
    """Return the name of some calls of a client: key[3], or for a map key[3-9], which are calls 3 to 9."""
    return f"{key}[{numbers.start}-{numbers.stop - 1}]" if mapped else f"{key}[{numbers.start}]"


def outbox_name(element: int, attempt: int = 1) -> str:
    """Return the name in `out/` of the answers of an element's attempt."""
    return f"{element}.{attempt}"


def worker_log(element: int, task: int, worker: int) -> str:
    """Return the path of a worker's log in the pool's directory. `task` is the scheduler's number of the element."""
    return f"{LOGS}/{log_name(element - task, f'{task}.{worker}')}"


def pack(digest: bytes, calls: Sequence[bytes], places: bytes = b"") -> bytes:
    """Return the body of a block: calls of the function with this digest, as pickled arguments.

    Empty arguments are in a file of their own.

    `places`, as JSON, says where the results are to which the arguments refer: for the key of each client, and the
    number of each call, the name of an outbox and an offset in it.
    """
    lengths = (len(call).to_bytes(_LENGTH_BYTES, "little") for call in calls)
    return b"".join((digest, len(calls).to_bytes(_COUNT_BYTES, "little"), *lengths, *calls, places))


def digest_of(body: bytes) -> str:
    """Return the digest of the function of a block, in hexadecimal."""
    return body[:_DIGEST_BYTES].hex()


def unpack(body: bytes) -> tuple[str, list[bytes], bytes]:
    """Return the digest of the function, in hexadecimal, the pickled arguments of calls, and the places of a block."""
    at = _DIGEST_BYTES + _COUNT_BYTES
    count = int.from_bytes(body[_DIGEST_BYTES:at], "little")
    lengths = [int.from_bytes(body[i : i + _LENGTH_BYTES], "little") for i in range(at, at + count * _LENGTH_BYTES, 4)]
    at += count * _LENGTH_BYTES
    calls = []
    for length in lengths:
        calls.append(body[at : at + length])
        at += length
    return digest_of(body), calls, body[at:]
