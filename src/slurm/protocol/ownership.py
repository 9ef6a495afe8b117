"""Ownership: parse the output of `ownership.sh` about files that other users own or can write.

The rule is that of `slurm.protocol.files.is_private`. It has three implementations: there in Python, in `ownership.sh`
for commands on another machine, and in `slurm.protocol.boot.BOOT`, which runs before the package can be imported. A
test checks the three against one table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.errors import UntrustedFile

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = re.compile(r"^untrusted (\d+): (.)(\S{9})\S* +\d+ +(\d+) +\d+ +\d+ +\S+ +\S+ +\S+ \.?(/.*)$", re.MULTILINE)
"""The calling user, and the line of `ls -ldn` (POSIX): mode, links, owner, group, bytes, three fields of time, path."""


def untrusted_files(output: str) -> Iterator[UntrustedFile]:
    """Yield an error for each line in a command's output that `foreign` or `strange_link` printed."""
    for match in _LINE.finditer(output):
        me, kind, letters, owner, path = match.groups()
        path = path.partition(" -> ")[0] if kind == "l" else path
        yield UntrustedFile(path, uid=int(owner), mode=_mode(letters), me=int(me), link=kind == "l")


def check_output(output: str) -> None:
    """Raise the first error of `untrusted_files`, if any."""
    for error in untrusted_files(output):
        raise error


def _mode(letters: str) -> int:
    """Return the number for a text mode such as `rwxr-x---`."""
    return sum(1 << (8 - position) for position, letter in enumerate(letters) if letter not in "-ST")
