"""`slurm sweep init`: write a first sweep.yaml, with the parameters of the function."""

from __future__ import annotations

import ast
import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.errors import ConfigurationError
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEMPLATE = """\
# A parameter sweep: slurm sweep validate {file}; slurm sweep run {file} --on local:2
sweep:
  grid:                        # each combination of these values{yours}
{axes}
  # paired:                    # lists of the same length that go together
  #   - data: {{path: [a.csv, b.csv], rows: [10, 20]}}
  # where: {where}
  # sample: {{n: 20, seed: 1}}
{defaults}
{unit}
# options: {{time: "1:00:00", mem: 4G}}
"""
_EXAMPLE = {"lr": "[1e-3, 1e-2]", "depth": "[2, 3, 4]"}
_VALUES = {
    "bool": "[false, true]",
    "dict": "{name: [1, 2]}",
    "float": "[0.1, 0.2]",
    "int": "[1, 2]",
    "list": "[[1, 2], [3]]",
    "str": "[a, b]",
}
"""The values that a new file has for a parameter, by its annotation."""
_ANY = "[1, 2]"


@click.command()
@click.argument("file", default="sweep.yaml")
@click.option("--task", metavar="FILE.py:FUNCTION", help="The function to call; the default is a command.")
def init(file: str, task: str | None) -> None:
    """Write a commented FILE of a sweep. An existing file is not changed.

    With --task, the file has the parameters of the function. FILE.py is read, and not imported.
    """
    text = _text(file, task)
    try:
        with open(file, "x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{file} exists and is not changed. Edit it, or name another file") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from error
    output.show(f"{file} is written. Edit it, then run: slurm sweep validate {shlex.quote(file)}")


def _text(file: str, task: str | None) -> str:
    """The text of a new file for a function, or for a command."""
    function = _function(task) if task else None
    axes, defaults = _parameters(function) if function else (_EXAMPLE, {})
    if not axes:
        axes, defaults = dict(list(defaults.items())[:1]) or _EXAMPLE, dict(list(defaults.items())[1:])
        axes = {name: value if value.startswith("[") else f"[{value}]" for name, value in axes.items()}
    first = next(iter(axes))
    return _TEMPLATE.format(
        file=shlex.quote(file),
        yours=": write yours" if function else "",
        axes="\n".join(f"    {name}: {values}" for name, values in axes.items()),
        where=f"{first} != 2" if function else "lr < 0.01 or depth == 2",
        defaults="\n".join(_default_lines(defaults)),
        unit=f"task: {task}" if task else "command: python train.py {overrides}    # lr=0.001 depth=2",
    )


def _default_lines(defaults: Mapping[str, str]) -> list[str]:
    if not defaults:
        return ["# defaults: {seed: 0}          # parameters that all points have"]
    return [
        "# defaults:                    # parameters that all points have",
        *(f"#   {n}: {v}" for n, v in defaults.items()),
    ]


def _function(task: str) -> ast.FunctionDef | None:
    """The definition of a function; None if its file is not here. Raises ConfigurationError if the file lacks it."""
    where, _, name = task.rpartition(":")
    path = where if where.endswith(".py") else f"{where.replace('.', '/')}.py"
    try:
        with open(path, encoding="utf-8") as source:
            body = ast.parse(source.read()).body
    except OSError:
        return None
    except (SyntaxError, ValueError) as error:
        raise ConfigurationError(f"{path} is not valid Python: {error}") from error
    found = {each.name: each for each in body if isinstance(each, ast.FunctionDef)}
    if name not in found and name.isidentifier() and not _defines(body, name):
        raise ConfigurationError(f"{path} has no function {name!r}{near(name, found)}")
    return found.get(name)


def _defines(body: list[ast.stmt], name: str) -> bool:
    """Whether the file may get the name in another way, such as an import or an assignment."""
    return any(
        (isinstance(node, ast.Name) and node.id == name)
        or (isinstance(node, ast.alias) and name in (node.name, node.asname, "*"))
        for each in body
        for node in ast.walk(each)
    )


def _parameters(function: ast.FunctionDef) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters of a function with values to start with: those that every call needs, and the others."""
    own = function.args
    positional = [*own.posonlyargs, *own.args]
    values: list[ast.expr | None] = [*[None] * (len(positional) - len(own.defaults)), *own.defaults, *own.kw_defaults]
    axes, defaults = {}, {}
    for parameter, default in zip([*positional, *own.kwonlyargs], values, strict=True):
        kind = parameter.annotation
        kind = kind.value if isinstance(kind, ast.Subscript) else kind
        some = _VALUES.get(kind.id, _ANY) if isinstance(kind, ast.Name) else _ANY
        if default is None:
            axes[parameter.arg] = some
        else:
            defaults[parameter.arg] = _literal(default) or some
    return axes, defaults


def _literal(value: ast.expr) -> str:
    """A default value as YAML; empty if it is not a plain value."""
    try:
        found: Any = ast.literal_eval(value)
        return json.dumps(found, allow_nan=False)
    except (ValueError, TypeError):
        return ""
