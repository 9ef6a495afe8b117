"""Program logs: the output of the programs of commands, which goes to files beside the products of the programs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.protocol import WORK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.storage.job_store import JobStore

MARK = b": the program writes to "
"""This text is in each log that names files to which programs write."""
_LINE = re.compile(rf"(?m)^{WORK}/(\d+)/(attempt-[\w-]+){MARK.decode()}(stdout\.log)?(?: and )?(stderr\.log)?$")


def with_programs(store: JobStore, key: str, indices: Sequence[int], texts: Sequence[str]) -> list[str]:
    """Return the logs of calls, with what their programs have printed: standard output, then standard error.

    If the two have separate logs, only the stream of the log is added. The log of an element names the directory of
    each program that it has started; the last one of a call counts. Takes a round trip if any program was started.
    """
    found = [output_paths(index, text) for index, text in zip(indices, texts, strict=True)]
    flat = [f"{store.directory(key)}/{path}" for paths in found for path in paths]
    printed = iter(store.logs(flat) if flat else ())
    return [text + "".join(next(printed) for _ in paths) for text, paths in zip(texts, found, strict=True)]


def output_paths(index: int, text: str) -> list[str]:
    """Return the files that a call's program writes to, according to the log, relative to the job directory."""
    last = None
    for line in _LINE.finditer(text):
        last = line if int(line[1]) == index else last
    return [f"{WORK}/{last[1]}/{last[2]}/{last[name]}" for name in (3, 4) if last[name]] if last else []
