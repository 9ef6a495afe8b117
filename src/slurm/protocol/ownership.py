"""Ownership: reads what the functions of `ownership.sh` print about files that other users own or can write.

The rule is that of `slurm.protocol.files.is_private`. It is written three times, once for each place that applies it:
there in Python, in `ownership.sh` for commands on another machine, and in `slurm.protocol.boot.BOOT`, which runs before
the package can be imported. A test checks the three against one table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.errors import UntrustedFile

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = re.compile(r"^untrusted (\d+): (.)(\S{9})\S* +\d+ +(\d+) +\d+ +\d+ +\S+ +\S+ +\S+ \.?(/.*)$", re.MULTILINE)
"""Who asked, and the line of `ls -ldn` (POSIX): mode, links, owner, group, bytes, three words for the time, path."""


def untrusted_files(output: str) -> Iterator[UntrustedFile]:
    """An error for each line of `SHELL`'s functions in what a command printed."""
    for found in _LINE.finditer(output):
        me, kind, letters, owner, path = found.groups()
        path = path.partition(" -> ")[0] if kind == "l" else path
        yield UntrustedFile(path, uid=int(owner), mode=_mode(letters), me=int(me), link=kind == "l")


def check_output(output: str) -> None:
    """Raise the first of `untrusted_files`."""
    for error in untrusted_files(output):
        raise error


def _mode(letters: str) -> int:
    """The number that `rwxr-x---` stands for."""
    return sum(1 << (8 - place) for place, letter in enumerate(letters) if letter not in "-ST")
