"""Log growth: reads what was added to logs since the last time, by one command, or directly from the files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slurm.errors import TransportError
from slurm.protocol import freshness
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

    from slurm.transports.base import Transport

MOST = 1 << 20
"""The most bytes to read of one log at once; the rest is read the next time."""


def growth(transport: Transport, offsets: Mapping[str, int]) -> dict[str, bytes]:
    """Return, by path, the bytes of each log from its offset, at most `MOST`; nothing for a log that has not grown.

    Raises TransportError.
    """
    return {path: data for path, (_, data) in _read(transport, offsets).items() if data}


def ends(transport: Transport, paths: Sequence[str], most: int) -> dict[str, tuple[int, bytes]]:
    """Return, by path, the last bytes of each log, at most `most`, and the offset at which they begin.

    Raises TransportError.
    """
    return _read(transport, dict.fromkeys(paths, -most))


def _read(transport: Transport, offsets: Mapping[str, int]) -> dict[str, tuple[int, bytes]]:
    """Return where each part begins, and its bytes, at most `MOST`. A negative offset counts from the end."""
    if not offsets:
        return {}
    if transport.shares_files:
        return _read_here(offsets)
    paths = list(offsets)
    caches = "yes" if transport.caches(paths[0].rpartition("/")[0]) else "no"
    lines = "".join(f"{offset} {path}\n" for path, offset in offsets.items())
    argv = ["sh", "-c", program(__name__, "log_growth.sh"), "sh", caches, str(MOST)]
    done = transport.run(argv, stdin=lines.encode(errors="surrogateescape"), timeout=300)
    try:
        parts = [part.partition("\n") for part in done.stdout.split("= ")[1:]]
        heads = [(head.split(), data) for head, _, data in parts]
        found = {paths[int(number) - 1]: (int(begin), bytes.fromhex(data)) for (number, begin), data in heads}
    except (ValueError, IndexError):
        raise TransportError(f"logs cannot be read: {done.words[-500:]}") from None
    if done.status != 0:
        raise TransportError(f"logs cannot be read: {done.stderr.strip() or done.status}")
    return found


def _read_here(offsets: Mapping[str, int]) -> dict[str, tuple[int, bytes]]:
    """Read files that this process sees. Each is opened again, to see what other machines have written."""
    found: dict[str, tuple[int, bytes]] = {}
    for path, offset in offsets.items():
        try:
            if freshness.caches(os.path.dirname(path)):  # the size of the file is fresh after a change of its mode
                os.chmod(path, os.stat(path).st_mode & 0o7777)
            with freshness.retry_absent(_opened, path) as file:
                begin = offset if offset >= 0 else max(0, file.seek(0, os.SEEK_END) + offset)
                file.seek(begin)
                if data := file.read(MOST):
                    found[path] = begin, data
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise TransportError(f"{path} cannot be read: {error.strerror or error}") from error
    return found


def _opened(path: str) -> IO[bytes]:
    return open(path, "rb")
