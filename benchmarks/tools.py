"""Tools: prepare a run, submit its stages, and list many runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from common import judged

from slurm import Cluster
from slurm.tools import Stage, Tool
from slurm.tools.listing import list_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

RUNS = 10_000
MOST_PREPARE, MOST_LIST, MOST_COMMANDS = 0.5, 2.0, 2


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    template, results = settings.workspace / "tool" / "small", settings.workspace / "tool-runs"
    template.mkdir(parents=True)
    (template / "case.yaml").write_text("steps: 3\n")

    class Solver(Tool):
        name, taxonomy, config, templates = "solver", ("group",), "case.yaml", template.parent
        solve = Stage("cp {config} field.txt", products=["field.txt"])
        report = Stage("cp {solve}/field.txt report.txt", products=["report.txt"])
        plot = Stage("cp {solve}/field.txt plot.txt", products=["plot.txt"])

    with Cluster("local", root=settings.workspace / "tool-jobs") as cluster:
        begin = time.process_time()
        run = Solver.prepare("first", template="small", override={"steps": 4}, group="g", root=results)
        seconds = time.process_time() - begin
        yield judged(
            "a run of a tool prepared, the first in a process",
            f"{seconds:.2f} s CPU",
            budget=f"≤ {MOST_PREPARE:g} s CPU",
            kept=seconds <= MOST_PREPARE,
        )
        run.submit()
        count = cluster.command_counts()["submit"]
        yield judged(
            "commands that submit three stages of a tool",
            f"{count} command{'s' if count != 1 else ''}",
            budget=f"≤ {MOST_COMMANDS} commands",
            kept=count <= MOST_COMMANDS,
        )
        for number in range(1, RUNS):
            Solver.prepare(f"r{number}", template="small", group=f"g{number % 100}", root=results)
    begin = time.process_time()
    found = sum(1 for _ in list_runs(results))
    seconds = time.process_time() - begin
    assert found == RUNS
    yield judged(
        f"{RUNS:,} runs of a tool listed",
        f"{seconds:.2f} s CPU",
        budget=f"≤ {MOST_LIST:g} s CPU",
        kept=seconds <= MOST_LIST,
    )
