"""An external program many times, and calls that are known already: here and by other tools, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import Row, timed
from peers import of_tool, seconds
from record_tasks import known

from slurm import Cluster, command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from common import Settings

COUNT, AT_ONCE = 100, 2
WHAT = f"{COUNT} runs of `bash -c 'echo > out'` on this machine; {COUNT} more; one more"
KNOWN = f"{COUNT} calls whose results are kept; the same calls again; one of them"
TOOLS = {"submitit-command": "submitit's `CommandFunction`, all at once", "parsl-bash": "Parsl's `bash_app`"}

write = command("bash -c 'echo > out'", products=["out"])


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    chunk = COUNT // AT_ONCE

    def programs(count: int) -> object:
        return write.starmap([()] * count, chunk_size=chunk).results(200)

    def calls(count: int) -> object:
        return known.map(range(count), chunk_size=chunk).results(200)

    yield Row(f"{WHAT} (`command`, {AT_ONCE} at a time)", _ours(settings.workspace / "program", programs))
    for tool, name in TOOLS.items():
        yield of_tool(f"the same by {name}", tool, settings, count=COUNT)
    yield Row(f"{KNOWN} (`reuse`)", _ours(settings.workspace / "known", calls))
    yield of_tool("the same by executorlib's cache", "executorlib-cache", settings, count=COUNT)


def _ours(root: Path, run: Callable[[int], object]) -> str:
    times: Sequence[float]
    with Cluster("local", root=root):
        times = [timed(lambda: run(count)) for count in (COUNT, COUNT, 1)]  # noqa: B023 - called at once
    return seconds(times)
