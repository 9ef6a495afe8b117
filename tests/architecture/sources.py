"""The sources of the package, parsed once in a process, and only in one that needs them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "slurm"


@cache
def sources() -> dict[str, str]:
    """The text of each file, by its path in the package."""
    return {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax tree of each file."""
    return {name: ast.parse(source) for name, source in sources().items()}


@cache
def nodes() -> dict[str, list[ast.AST]]:
    """All nodes of each file."""
    return {name: list(ast.walk(tree)) for name, tree in trees().items()}


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of each module, by its name in the package."""
    return {
        name.removesuffix(".py").removesuffix("__init__").rstrip("/").replace("/", "."): tree
        for name, tree in trees().items()
    }
