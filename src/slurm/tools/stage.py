"""Stage: one program of a tool, and the script that runs it, in a job or by hand."""

from __future__ import annotations

import re
import shlex
from string import Formatter
from typing import TYPE_CHECKING, Any

from slurm.options import Options
from slurm.runner.template import Template
from slurm.schedulers.directives import arguments
from slurm.tools.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slurm.runner.finished import Diagnosis

STAGES, CONFIG, OUTPUT = "stages", "config", "output"
IN_A_JOB = "TOOL_STAGE"
"""The variable that says that a job runs the script: then the job has started the ranks."""

_NAME = re.compile(r"[a-z_][a-z0-9_]*")


class Stage:
    """One program of a tool: `simulate = Stage("run_pyuvsim --param {config}", products=["*.uvh5"], mem="8G")`.

    The fields of the template are `{config}` (the path of the tool's configuration file), `{run_id}`, the names of the
    taxonomy, and the names of other stages (their output directory; the stage then runs after them). `after` names more
    stages to run after. A `resumable` program continues from the files that an earlier attempt left in its directory.
    `products`, `check`, `diagnose`, `launch` and the other options are those of `slurm.command`.
    """

    name: str = ""

    def __init__(
        self,
        command: str,
        *,
        products: str | Sequence[str] = (),
        check: str | Callable[[Path], object] | None = None,
        diagnose: Callable[[str, int], Diagnosis | None] | None = None,
        after: str | Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
        resumable: bool = False,
        **options: Any,
    ) -> None:
        """Raises ValueError for an invalid template; OptionError for options that a command does not have."""
        self.template = Template.parse(command)
        self.command, self.products, self.check, self.diagnose = command, products, check, diagnose
        self.after = (after,) if isinstance(after, str) else tuple(after)
        self.env, self.resumable = dict(env or {}), resumable
        self.options = options
        Options.parse({name: value for name, value in options.items() if name not in ("environment", "callbacks")})

    def __set_name__(self, owner: type, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ToolError(f"{owner.__name__}.{name}: the name of a stage has small letters, digits and _")
        self.name = name

    def with_options(self, **options: Any) -> Stage:
        """A copy with other options of the job."""
        return Stage(
            self.command,
            products=self.products,
            check=self.check,
            diagnose=self.diagnose,
            after=self.after,
            env=self.env,
            resumable=self.resumable,
            **{**self.options, **options},
        )

    def upstreams(self, stages: Mapping[str, Stage]) -> tuple[str, ...]:
        """The names of the stages that it runs after. Raises ToolError for an unknown one."""
        for name in self.after:
            if name not in stages or name == self.name:
                raise ToolError(f"stage {self.name}: after={name!r} is not another stage of the tool")
        return tuple(dict.fromkeys((*self.used(stages), *self.after)))

    def used(self, stages: Mapping[str, Stage]) -> tuple[str, ...]:
        """The names of the stages whose directories its command names."""
        return tuple(name for name in self.template.fields if name in stages and name != self.name)

    def script(
        self,
        stages: Mapping[str, Stage],
        values: Mapping[str, str],
        *,
        title: str,
        options: Options,
        launch: Sequence[str],
    ) -> str:
        """The text of `stages/<name>.sh`. `values` are those of the fields.

        `options` and `launch`, which starts the ranks of MPI, are for a script without a job: a job has its own.
        """
        try:
            words = " ".join(_quoted(word, values, stages) for word in self.template.words)
        except KeyError as error:
            known = ", ".join(f"{{{name}}}" for name in (*values, *stages))
            raise ToolError(f"stage {self.name}: there is no field {{{error.args[0]}}}; there are {known}") from None
        directives = [f"#SBATCH {line}" for line in arguments(options, tag="") if not line.startswith("--comment=")]
        used = [f'{name}="${{{name}:-$run/{OUTPUT}/{name}}}"' for name in self.used(stages)]
        exported = [
            f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"
            for name, value in options.env.items()
        ]
        by_hand = [*exported, *([f"launch={shlex.quote(shlex.join(launch))}"] if launch else [])]
        alone = [f'if [ -z "${{{IN_A_JOB}:-}}" ]; then', *(f"    {line}" for line in by_hand), "fi"] if by_hand else []
        return "\n".join([
            "#!/bin/bash",
            f"# {title}. It writes to the working directory. Without a job: run it by bash in an empty directory.",
            *directives,
            "set -euo pipefail",
            'run="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"',
            f'[ -e {CONFIG} ] || [ ! -e "$run/{CONFIG}" ] || ln -s "$run/{CONFIG}" {CONFIG}',
            *used,
            *(["launch="] if launch else []),
            *alone,
            f"exec {'$launch ' if launch else ''}{words}",
            "",
        ])  # fmt: skip


def _quoted(word: str, values: Mapping[str, str], stages: Mapping[str, Stage]) -> str:
    """A word of a template for bash. Values are quoted; the directories of stages are variables."""
    parts = []
    for literal, field, _, _ in Formatter().parse(word):
        if literal:
            parts.append(shlex.quote(literal))
        if field is not None and field in stages:
            parts.append(f'"${field}"')
        elif field is not None:
            parts.append(shlex.quote(values[field]))
    return "".join(parts) or "''"
