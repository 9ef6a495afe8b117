"""Stage: one program of a tool, and the script that runs the program, in a job or by hand."""

from __future__ import annotations

import re
import shlex
from string import Formatter
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ConfigurationError
from slurm.options import Options
from slurm.runner.template import Template
from slurm.tools.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slurm.environments.base import Environment
    from slurm.runner.finished import Diagnosis

STAGES, CONFIG, OUTPUT = "stages", "config", "output"
LAST = "last"
"""Part of the name of a stage's script for the cluster to which the run was last moved."""
IN_A_JOB = "TOOL_STAGE"
"""The variable that is set if a job runs the script. The job has then started the ranks already."""

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_PROGRAM = 'program() { exec "$@" '
"""The first characters of the line of a script that has the words of the program."""


class Stage:
    """One program of a tool: `simulate = Stage("run_pyuvsim --param {config}", products=["*.uvh5"], mem="8G")`.

    The fields of the template are `{config}` (the path of the tool's configuration file), `{run_id}`, the names of the
    taxonomy, and the names of other stages (their output directory; the stage then waits for them). `after` names more
    stages to wait for. A `resumable` program continues from the files that an earlier attempt left in its directory.
    `products`, `check`, `diagnose`, `launch` and the other options are as for `slurm.command`.
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
        """Declare a stage. Raises ValueError for an invalid template, OptionError for an unknown option."""
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

    @property
    def pattern_list(self) -> list[str]:
        """The patterns of the stage's products."""
        return [self.products] if isinstance(self.products, str) else list(self.products)

    def with_options(self, **options: Any) -> Stage:
        """Return a copy of the stage with other options of the job."""
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
        """Return the names of the stages that this stage waits for. Raises ToolError for an unknown name in `after`."""
        for name in self.after:
            if name not in stages or name == self.name:
                raise ToolError(f"stage {self.name}: after={name!r} is not another stage of the tool")
        return tuple(dict.fromkeys((*self.used(stages), *self.after)))

    def used(self, stages: Mapping[str, Stage]) -> tuple[str, ...]:
        """Return the names of the stages whose directories the command uses."""
        return tuple(name for name in self.template.fields if name in stages and name != self.name)

    def script(
        self,
        stages: Mapping[str, Stage],
        values: Mapping[str, str],
        *,
        title: str,
        directory: Path,
        alone: Alone,
        moved: bool = False,
    ) -> str:
        """Return the text of `stages/<name>.sh`: the program, and how it is started without a job.

        `values` are the values of the fields, `directory` is the run directory. A job starts the script with sh, within
        its environment, which may be an image. If the run was moved later, the script without a job runs the script
        for the last cluster instead; `moved` makes the text of that script. Raises ToolError for an unknown field.
        """
        from slurm.schedulers.directives import user_lines  # noqa: PLC0415 - only `prepare` writes scripts
        from slurm.tools.run_directory import MANIFEST  # noqa: PLC0415

        try:
            words = " ".join(quoted(word, values, stages) for word in self.template.words)
        except KeyError as error:
            known = ", ".join(f"{{{name}}}" for name in (*values, *stages))
            raise ToolError(f"stage {self.name}: there is no field {{{error.args[0]}}}; there are {known}") from None
        used = self.used(stages)
        later = [
            f'last="$run/{STAGES}/{self.name}.{LAST}.sh"  # of the last cluster, if the run was moved there',
            '[ ! -e "$last" ] || exec bash "$last"',
        ]
        return "\n".join([
            "#!/bin/bash",
            f"# {title}. It writes to the working directory. Without a job: run it by bash in an empty directory.",
            *user_lines(alone.options),
            "set -eu",
            f"{_PROGRAM}{words}; }}",
            f'if [ "${{{IN_A_JOB}:-}}" ]; then program; fi',
            "# Without a job:",
            'run="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"',
            f'[ -e "$run/{MANIFEST}" ] || run={shlex.quote(str(directory))}  # sbatch runs a copy of this file',
            *([] if moved else later),
            f'[ -e {CONFIG} ] || [ ! -e "$run/{CONFIG}" ] || ln -s "$run/{CONFIG}" {CONFIG}',
            *(f'{name}="${{{name}:-$run/{OUTPUT}/{name}}}"' for name in used),
            *alone.lines(('"$PWD"', '"$run"', *(f'"${name}"' for name in used))),
            "",
        ])  # fmt: skip


def program_of(script: str) -> str:
    """Return the words of the program, for bash, from the text of a stage's script; empty if this line was edited."""
    lines = [line for line in script.splitlines() if line.startswith(_PROGRAM)]
    return lines[0].removeprefix(_PROGRAM).removesuffix("; }") if len(lines) == 1 else ""


class Alone(NamedTuple):
    """The settings with which the script of a stage starts its program without a job."""

    options: Options
    setup: Sequence[str] = ()
    """The setup steps that each job of the cluster runs first."""
    environments: Sequence[Environment] = ()
    launch: Sequence[str] = ()
    """The words of the command that starts the ranks of MPI."""

    def lines(self, directories: Sequence[str]) -> list[str]:
        """Return lines of bash. The last line starts the program."""
        from slurm.tools.launchers import before  # noqa: PLC0415 - it imports containers

        exported = [
            f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"
            for name, value in self.options.env.items()
        ]
        env = {name: value for name, value in self.options.env.items() if value is not None}
        try:
            steps, prefix = before(self.environments, directories, env)
        except ConfigurationError as error:
            return [f"echo {shlex.quote(f'{error}')} >&2; exit 1"]
        steps = [*self.setup, *steps]
        # The scripts of modules and conda use unset variables and failing commands: `set -eu` would stop them.
        activated = ["set +u", *(f"{{ {step}\n}} || exit" for step in steps), "set -u"] if steps else []
        return [*activated, *exported, " ".join(filter(None, ["program", shlex.join(self.launch), prefix]))]


def quoted(word: str, values: Mapping[str, str], stages: Mapping[str, Stage]) -> str:
    """Return a word of a template for bash. Values are quoted; the directories of stages are variables."""
    parts = []
    for literal, field, _, _ in Formatter().parse(word):
        if literal:
            parts.append(shlex.quote(literal))
        if field is not None and field in stages:
            parts.append(f'"${field}"')
        elif field is not None:
            parts.append(shlex.quote(values[field]))
    return "".join(parts) or "''"
