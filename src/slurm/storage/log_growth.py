"""Log growth: reads what was added to logs since the last time, by one command, or from the files themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slurm.errors import TransportError
from slurm.protocol import freshness
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from slurm.transports.base import Transport

MOST = 1 << 20
"""The number of bytes that are read of one log at once; the rest is read the next time."""


def growth(transport: Transport, offsets: Mapping[str, int]) -> dict[str, bytes]:
    """Return the bytes of each log from its offset, at most `MOST`; nothing for a log without more. By path.

    Raises TransportError.
    """
    if not offsets:
        return {}
    if transport.shares_files:
        return _growth_here(offsets)
    paths = list(offsets)
    caches = "yes" if transport.caches(paths[0].rpartition("/")[0]) else "no"
    lines = "".join(f"{offset} {path}\n" for path, offset in offsets.items())
    argv = ["sh", "-c", program(__name__, "log_growth.sh"), "sh", caches, str(MOST)]
    done = transport.run(argv, stdin=lines.encode(errors="surrogateescape"), timeout=300)
    try:
        parts = [part.partition("\n") for part in done.stdout.split("= ")[1:]]
        found = {paths[int(number) - 1]: bytes.fromhex(data) for number, _, data in parts}
    except (ValueError, IndexError):
        message = f"logs cannot be read: {done.words[-500:]}"
        raise TransportError(message) from None
    if done.status != 0:
        message = f"logs cannot be read: {done.stderr.strip() or done.status}"
        raise TransportError(message)
    return {path: data for path, data in found.items() if data}


def _growth_here(offsets: Mapping[str, int]) -> dict[str, bytes]:
    """Do the same for files that this process sees. Each is opened anew, to see what other machines have written."""
    found: dict[str, bytes] = {}
    for path, offset in offsets.items():
        try:
            if freshness.caches(os.path.dirname(path)):  # the size of the file is fresh after a change of its mode
                os.chmod(path, os.stat(path).st_mode & 0o7777)
            with freshness.retry_absent(_opened, path) as file:
                file.seek(offset)
                if data := file.read(MOST):
                    found[path] = data
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror or error}"
            raise TransportError(message) from error
    return found


def _opened(path: str) -> IO[bytes]:
    return open(path, "rb")
