"""Target: the function that a command names, as MODULE:FUNCTION or FILE.py:FUNCTION."""

from __future__ import annotations

import ast
import glob
import importlib
import os
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click

from slurm.usage import near

if TYPE_CHECKING:
    from types import ModuleType


def load(target: str) -> Any:
    """Import the module, and return its function. Raises UsageError for a wrong target, ClickException if it fails."""
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        file = target.removesuffix(":")
        raise click.UsageError(f"{target!r} names no function: write MODULE:FUNCTION, such as {file}:main")
    module = _of_file(where) if where.endswith(".py") or os.sep in where else _of_name(where)
    try:
        return attrgetter(name)(module)
    except AttributeError:
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise click.UsageError(f"{where} has no function {name!r}{near(name, known)}") from None


def _of_name(name: str) -> ModuleType:
    _search_first(os.getcwd())  # as `python -m`
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):  # a module that the named module imports
            raise _failed(name, error) from None
        raise click.UsageError(f"no module named {error.name!r}; for a file, write PATH.py:FUNCTION") from None
    except Exception as error:  # noqa: BLE001 - the user's own module
        raise _failed(name, error) from None


def _of_file(path: str) -> ModuleType:
    """Import a file under its own name, as another file in its directory would import it."""
    if not os.path.isfile(path):
        raise click.UsageError(f"there is no file {path}")
    directory, name = os.path.split(os.path.abspath(path.removesuffix(".py")))
    _search_first(directory)  # as `python FILE.py`
    spec = spec_from_file_location(name, os.path.abspath(path))
    if spec is None or spec.loader is None:
        raise click.UsageError(f"{path} is no Python file: its name does not end in .py")
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == spec.origin:
        return known
    if known is not None:
        raise click.UsageError(f"{path} has the name of the module {known.__name__!r}: rename the file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - the user's own file
        raise _failed(path, error) from None
    return module


def _search_first(directory: str) -> None:
    if directory not in sys.path:
        sys.path.insert(0, directory)


def _failed(name: str, error: Exception) -> click.ClickException:
    """The error of a module, without the frames of the import system."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename]
    text = "".join([*traceback.format_list(frames[1:]), *traceback.format_exception_only(error)])
    return click.ClickException(f"cannot import {name}:\n{text.rstrip()}")


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The Python files whose names begin with `incomplete`, or the functions of a file. Imports nothing."""
    del ctx, param
    file, colon, begun = incomplete.partition(":")
    if not colon:
        found = sorted(glob.glob(f"{glob.escape(file)}*"))
        return [
            f"{each}/" if os.path.isdir(each) else each for each in found if each.endswith(".py") or os.path.isdir(each)
        ]
    path = file if file.endswith(".py") else f"{file.replace('.', '/')}.py"
    try:
        with open(path, encoding="utf-8") as source:
            body = ast.parse(source.read()).body
    except (OSError, SyntaxError, ValueError):
        return []
    names = [each.name for each in body if isinstance(each, ast.FunctionDef)]
    return [f"{file}:{name}" for name in names if name.startswith(begun)]
