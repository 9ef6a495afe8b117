"""Program logs: what the programs of commands have printed, which they write to files beside their products."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.protocol import WORK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.storage.job_store import JobStore

MARK = b": the program writes to "
"""A log that names files that programs write to contains this."""
_LINE = re.compile(rf"(?m)^{WORK}/(\d+)/(attempt-[\w-]+){MARK.decode()}(stdout\.log)?(?: and )?(stderr\.log)?$")


def with_programs(store: JobStore, key: str, indices: Sequence[int], texts: Sequence[str]) -> list[str]:
    """Return the logs of calls with what their programs have printed: standard output, then standard error; of separate
    logs, that which belongs to the log.

    The log of an element names the directory of each program that it has started; the last one of a call counts. Takes
    a round trip if there is one.
    """
    found = [output_paths(index, text) for index, text in zip(indices, texts, strict=True)]
    flat = [f"{store.directory(key)}/{path}" for paths in found for path in paths]
    printed = iter(store.logs(flat) if flat else ())
    return [text + "".join(next(printed) for _ in paths) for text, paths in zip(texts, found, strict=True)]


def output_paths(index: int, text: str) -> list[str]:
    """Return the files, relative to the submission's directory, that a call's program writes to, as the log says."""
    last = None
    for line in _LINE.finditer(text):
        last = line if int(line[1]) == index else last
    return [f"{WORK}/{last[1]}/{last[2]}/{last[name]}" for name in (3, 4) if last[name]] if last else []
