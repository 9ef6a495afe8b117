"""#SBATCH lines for Slurm and for the local scheduler, which reads the same script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.options import OURS
from slurm.schedulers.base import ranges

if TYPE_CHECKING:
    from slurm.options import Options
    from slurm.protocol import Block
    from slurm.schedulers.base import Request

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./%@*[]|&!~^")


def array(block: Block, options: Options) -> list[str]:
    """Return the argument that makes a block an array; none for a plain job."""
    if block.array is False:
        return []
    most = options.get("max_concurrent")
    tasks = f"0-{block.count - 1}" if block.tasks is None else ranges(block.tasks)
    return [f"--array={tasks}%{most}" if most else f"--array={tasks}"]


def comment(options: Options, tag: str) -> str:
    """Return a job's comment: the tag that identifies it, then the user's own comment."""
    own = options.get("comment")
    return f"{tag} {own}" if own else tag


def arguments(options: Options, *, tag: str) -> list[str]:
    """Return the options as arguments of sbatch."""
    found = [_argument(f"--{name.replace('_', '-')}", value) for name, value in options.set() if name not in _SEPARATE]
    found += [_argument(name, value) for name, value in sorted(options.sbatch.items()) if value not in (None, False)]
    return [*found, f"--comment={comment(options, tag)}"]


def overrides(request: Request) -> list[str]:
    """Return arguments that override those in a script that was written for another block."""
    if request.block.name:
        return arguments(request.options, tag=request.comment)
    return [f"--comment={comment(request.options, request.comment)}"] if request.block.first else []


def lines(options: Options, *, tag: str, log: str, block: Block) -> list[str]:
    """Return the script's #SBATCH lines."""
    ours = [*array(block, options), f"--output={log}", "--open-mode=append"]
    given = arguments(options, tag=tag)
    names = tuple(argument.partition("=")[0] + "=" for argument in given)
    defaults = [argument for argument in ours if not argument.startswith(names)]
    return [f"#SBATCH {_quoted(argument)}" for argument in [*given, *defaults]]


def user_lines(options: Options) -> list[str]:
    """Return the #SBATCH lines of a script that the user submits: without the tag and the log of our jobs."""
    own = options.get("comment")
    *given, _ = arguments(options, tag="")
    return [f"#SBATCH {_quoted(argument)}" for argument in [*given, *([f"--comment={own}"] if own else [])]]


_SEPARATE = frozenset({"comment", *OURS})
"""Options that are not arguments of sbatch, or that are combined with other options."""


def _argument(name: str, value: str | bool | None) -> str:  # noqa: FBT001 - True is the bare flag
    return name if value is True else f"{name}={value}"


def _quoted(argument: str) -> str:
    """Quote an argument for an #SBATCH line: in double quotes, with double quotes and backslashes escaped."""
    if set(argument) <= _SAFE:
        return argument
    name, equals, value = argument.partition("=")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}{equals}"{escaped}"'
