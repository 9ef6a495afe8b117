"""Advice for a shell: messages of the library name Python calls; the command shows its own words instead."""

from __future__ import annotations

import re
import shlex
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMPLETE = "slurm sweep complete NAME"

ADVICE: Mapping[str, str] = {
    # The left side is a regular expression. NAME on the right side is the name of the sweep.
    r"add them with Sweep\.open\('(?P<name>[^']+)', task\)\.extend\(space\), or choose another name": (
        "add them with `slurm sweep extend NAME FILE`, or choose another name with --name"
    ),
    r"(?P<name>\S+) was never run, so its code is not stored: open it with its task, Sweep\.open\(name, task\)": (
        f"NAME was never run, so its code is not stored: name its file, `{_COMPLETE} --file FILE`"
    ),
    r"open the sweep with its task, Sweep\.open\(name, task\)": f"name its file, `{_COMPLETE} --file FILE`",
    r"the sweep '(?P<name>[^']+)' has no points yet: run\(on=…\) writes them": (
        "the sweep 'NAME' has no points yet: `slurm sweep run FILE --name NAME` writes them"
    ),
    r'(?P<name>\S+) has no sampler: Sweep\(task, ranges, sampler="tpe", metric="loss"\)': (
        "NAME has no sampler: --trials is for a sweep whose file has search: and sampler:"
    ),
    r"Return a mapping of names to numbers, or name another: metric=…": (
        "Return a mapping of names to numbers, or name another metric in the file"
    ),
    r"redo='changed' computes them again": "--redo changed computes them again",
    r"redo='changed' with chunk='auto': say chunk= or seconds=": (
        "--redo changed with --chunk auto: say --chunk N or --seconds S"
    ),
    r'chunk="auto" of an adaptive search(?P<why>.*); say chunk= or seconds=': (
        r"--chunk auto of an adaptive search\g<why>; say --chunk N or --seconds S"
    ),
    r"with chunk=, or how long one takes with seconds=, or use chunk='auto' and drive the sweep": (
        "with --chunk N, or how long one takes with --seconds S, or use --chunk auto without --detach"
    ),
    r"leave some out with \.where or \.sample, or pass max_points=": (
        "leave some out with where: or sample: in the file, or say --max-points N"
    ),
    r"complete the sweep with failed=True": f"run `{_COMPLETE} --failed --file FILE`",
    r"Complete the sweep elsewhere, with take_over=True for points": (
        f"Run `{_COMPLETE} --on CLUSTER` with another cluster, and --take-over for points"
    ),
    r"(sweep\.)?complete\(failed=True\)": f"`{_COMPLETE} --failed`",
    r"complete\(\) runs it again with failed=True": f"`{_COMPLETE} --failed` runs it again",
    r"complete\(take_over=True\)": f"`{_COMPLETE} --take-over`",
    r"complete\(chunk=…\) submits": f"`{_COMPLETE} --chunk N` submits",
    r"complete\(\) submits": f"`{_COMPLETE}` submits",
    r"slurm sweep logs NAME POINT": "slurm sweep logs NAME POINT",
    r"send it with cluster\.put\(\), or use": "use",
    r"where fetch\(\) and logs\(\) read them": "where `slurm sweep fetch` and `slurm sweep logs` read them",
    r"procedure (?P<number>\S+) is (?P<state>\w+), not READY\. "
    r"Call wait\(\"READY\"\) first, or start\(…, force_start=True\)": (
        r"procedure \g<number> is \g<state>, not READY. Wait until `slurm script show \g<number>` shows READY, or add "
        "--force"
    ),
    r"make its service with abort=…": "prepare it with --abort SCRIPT",
    r"copy it by job\.fetch\(to=…\), and open that": "copy it with `slurm fetch KEY --to DIRECTORY`, and name the copy",
    r"Check with cluster\.job\('(?P<key>[^']+)'\)": r"Check with `slurm show \g<key>`",
    r"use Cluster\(…, login_shell=True\)\. To run without a scheduler, use Cluster\('local'\)": (
        "write login_shell: yes for the cluster in the Slurmfile. To run without a scheduler, use the cluster local"
    ),
    r"Name one: Cluster\(…, python='(?P<path>[^']+)'\)": (
        r"Name one for the cluster in the Slurmfile, python: \g<path>"
    ),
}
"""Advice of the library as regular expressions, and the advice of the command with the same meaning."""


def for_a_shell(message: str, name: str | None = None) -> str:
    """Return a message with commands and options in place of Python calls. `name` is the name of the sweep, if known.

    A message that gives no such advice stays the same.
    """
    for python, command in ADVICE.items():
        message = re.sub(python, partial(_filled, command, name), message)
    return message


def _filled(command: str, name: str | None, found: re.Match[str]) -> str:
    known = found.groupdict().get("name") or name
    text = found.expand(command)
    return text.replace("'NAME'", repr(known)).replace("NAME", shlex.quote(known)) if known else text
