"""Point stages: the stages of a tool that one job of a sweep runs in order, and the settings of this job."""

from __future__ import annotations

import re
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

from slurm.options import Options
from slurm.options import values as kinds
from slurm.runner.template import Template
from slurm.schedulers.base import ntasks
from slurm.tools.errors import ToolError
from slurm.tools.point import RANKS, check_of_stage, diagnose_by_stage
from slurm.tools.stage import CONFIG, IN_A_JOB, OUTPUT, STAGES, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from slurm.runner.finished import Diagnosis
    from slurm.tasks.settings import Settings
    from slurm.tools.declaration import Declaration
    from slurm.tools.stage import Stage

DRIVER = "run-all"
"""The script that runs the stages. No stage can have this name."""
_LARGEST: Mapping[str, Callable[[str], float]] = {
    **dict.fromkeys(("mem", "mem_per_cpu", "mem_per_gpu", "tmp"), kinds.megabytes),
    **dict.fromkeys(
        ("cpus_per_task", "cpus_per_gpu", "gpus", "gpus_per_node", "gpus_per_task", "nodes", "ntasks"), int
    ),
}
_START = f"""\
#!/bin/sh
# The stages of a point, in order, each in {OUTPUT}/<stage>. Run it in the directory of the point.
set -eu
run=$PWD
begin() {{
  stage=$1
  echo "==> stage $stage" >&2
  mkdir -p "$run/{OUTPUT}/$stage"
  cd "$run/{OUTPUT}/$stage"
  [ ! -e "$run/{CONFIG}" ] || ln -sfn ../../{CONFIG} {CONFIG}
}}
ended() {{
  [ "$1" != 0 ] || return 0
  [ ! -e .world ] || echo "==> worlds of MPI have another size, and so many processes were started: $(cat .world)" >&2
  echo "==> stage $stage ended with status $1" >&2
  exit "$1"
}}
wrote() {{ [ -e "$2" ] || {{ echo "==> stage $stage did not write $1" >&2; exit 1; }}; }}
"""


def chosen(tool: type[Declaration], last: str | None) -> list[str]:
    """Return the stages that a point runs, in order: all, or with `last` only this stage and the stages it needs."""
    if last is None:
        return list(tool.order)
    needed, left = set[str](), [last]
    while left:
        name = left.pop()
        needed.add(name)
        left += [each for each in tool.stages[name].upstreams(tool.stages) if each not in needed]
    return [name for name in tool.order if name in needed]


def driver(tool: type[Declaration], stages: Sequence[str], settings: Mapping[str, Settings]) -> str:
    """Return the text of the script that runs the stages. It stops at the first stage that fails or lacks a product."""
    most = max((ntasks(each.options.get) for each in settings.values() if _is_mpi(each)), default=0)
    return _START + "".join(
        line
        for name in stages
        for line in _lines(tool.stages[name], tool.stages, settings[name].options, most_ranks=most)
    )


def _is_mpi(settings: Settings) -> bool:
    return settings.options.get("launch") == "mpi"


def _lines(stage: Stage, stages: Mapping[str, Stage], options: Options, *, most_ranks: int) -> Iterator[str]:
    env, ranks = options.env, ntasks(options.get)
    exports = [
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}" for name, value in env.items()
    ]
    exports += [f'export {name}="$run/{OUTPUT}/{name}"' for name in stage.used(stages)]
    exports.append(f"export {IN_A_JOB}={stage.name}")
    yield f"\nbegin {stage.name}\nstatus=0\n"
    # 0 means as many ranks as the job has: the options of the job may be changed later.
    launcher = f'"$run/{RANKS}" {0 if ranks == most_ranks else ranks} sh ' if options.get("launch") == "mpi" else ""
    yield f'( {"; ".join(exports)}; exec sh {launcher}"$run/{STAGES}/{stage.name}.sh" ) || status=$?\nended "$status"\n'
    for pattern in stage.pattern_list:
        if "**" not in pattern:  # sh does not know "**": the end of the job checks such products
            yield f"wrote {shlex.quote(pattern)} {_glob(pattern)}\n"
    if isinstance(stage.check, str):
        words = Template.parse(stage.check).words
        command = " ".join(quoted(word, {}, {"product": stage}) for word in words)
        paths = " ".join(map(_glob, stage.pattern_list))
        yield f'for product in {paths}; do {command} || ended "$?"; done\n'


def _glob(pattern: str) -> str:
    """Quote a pattern of files for sh, so that only `*`, `?` and brackets are special."""
    return "".join(each if each in "*?[]" else shlex.quote(each) for each in re.split(r"([*?\[\]])", pattern) if each)


def products(tool: type[Declaration], stages: Sequence[str]) -> list[str]:
    """Return the products of all stages, as paths in the directory of the point."""
    return [f"{OUTPUT}/{name}/{pattern}" for name in stages for pattern in tool.stages[name].pattern_list]


def check(tool: type[Declaration], stages: Sequence[str]) -> Callable[[Path], object] | None:
    """Return a function that checks a product with the function of its stage. Checks that are commands are part of the
    script.
    """
    found = {name: tool.stages[name].check for name in stages if callable(tool.stages[name].check)}
    return partial(check_of_stage, found) if found else None


def diagnose(tool: type[Declaration], stages: Sequence[str]) -> Callable[[str, int], Diagnosis | None] | None:
    """Return a function that names a failure with the `diagnose` function of the failed stage."""
    found = {name: tool.stages[name].diagnose for name in stages if tool.stages[name].diagnose}
    return partial(diagnose_by_stage, found) if found else None


def together(tool: type[Declaration], settings: Mapping[str, Settings]) -> Settings:
    """Return the settings of one job for all stages. Raises ToolError if one job cannot serve all stages.

    The time is the sum of the times; memory and numbers are the largest. Any other option is taken from the last stage
    that has it.
    """
    mpi = {name: str(each.options.get("mpi") or "") for name, each in settings.items() if _is_mpi(each)}
    if len({*mpi.values()}) > 1:
        shown = ", ".join(f"{name} ({kind or 'the default'})" for name, kind in mpi.items())
        raise ToolError(
            f"the stages {shown} of {tool.name} start ranks by different kinds of MPI, and a point is one job: give "
            "them the same mpi=, or prepare and submit a run for each point"
        )
    first, *others = settings.values()
    if any(repr(each.environment or ()) != repr(first.environment or ()) for each in others):
        raise ToolError(
            f"the stages {', '.join(settings)} of {tool.name} have different environments, and a point is one job: "
            "prepare and submit a run for each point"
        )
    found = first
    for each in others:
        found = found.merged(each)
    several = [each.options for each in settings.values()]
    launched = {"launch": "mpi", "mpi": next(iter(mpi.values())) or None} if mpi else {}
    options = found.options.with_env({}).merged(Options.parse({**dict(_numbers(found.options, several)), **launched}))
    return found.replace(options=options)


def _numbers(last: Options, several: Sequence[Options]) -> Iterator[tuple[str, Any]]:
    """Yield the options of the job that are computed: the sum of the times, and the largest of each numeric option."""
    times = [kinds.seconds(text) for each in several if isinstance(text := each.get("time"), str)]
    limited = [time for time in times if time]
    if len(times) < len(several):  # a stage has the limit of the cluster, which is not known here
        yield "time", None
    else:
        yield "time", kinds.clock(sum(limited)) if len(limited) == len(times) else "0"
    for name, size in _LARGEST.items():
        given = [value for each in several if isinstance(value := each.get(name), str)]
        if last.get(name) and (name not in ("gpus", "nodes") or all(map(str.isdecimal, given))):
            yield name, max(given, key=size)
