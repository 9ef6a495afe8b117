"""100,000 calls, and a million in eight chunks, on the test Slurm, with this library and others. Each runs once."""

from __future__ import annotations

import subprocess
from getpass import getuser
from typing import TYPE_CHECKING

from bare_slurm import counted
from common import Row, unmeasured
from peers import NAMES, OURS, POOL, TOOLS, Failed, commands_of, measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Settings

SINGLE, CHUNKED, BY_HAND = "single", "chunked", "by-hand"
COUNTS = {SINGLE: 100_000, CHUNKED: 1_000_000, BY_HAND: 1_000_000}
WHAT = {
    SINGLE: f"{COUNTS[SINGLE]:,} no-op calls on Slurm, from nothing to all results",
    CHUNKED: f"{COUNTS[CHUNKED]:,} no-op calls on Slurm in 8 chunks, each with a result of its own",
    BY_HAND: f"{COUNTS[BY_HAND]:,} no-op calls on Slurm by a function that makes 125,000 of them, with one result",
}


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    for how, what in WHAT.items():
        for tool in (OURS, POOL, "submitit", *TOOLS):
            said = f"{what}: {NAMES.get(tool, tool)}"
            if tool == "submitit" and how == SINGLE:
                yield unmeasured(said, "not tried: each call is a job")
            elif tool in NAMES or how != CHUNKED:
                yield _row(said, tool, settings, how)


def _row(what: str, tool: str, settings: Settings, how: str) -> Row:
    with counted(settings.workspace / f"scale-{tool}-{how}") as log:
        try:
            seconds, megabytes = measured(tool, settings, str(COUNTS[how]), how)
        except Failed as failed:
            subprocess.run(["scancel", "--user", getuser()], check=True)  # else its jobs take part in what follows
            return unmeasured(what, str(failed))
        return Row(what, f"{seconds:.1f} s; client {megabytes:.0f} MB; {commands_of(log)}")
