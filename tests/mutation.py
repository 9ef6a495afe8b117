"""Mutation testing: change one operator, condition, constant or statement at a time, and see whether tests notice.

    python tests/mutation.py [--sample 40] [--seed 1] [--jobs 2] [path under src/slurm …]

Prints each mutant with its end, then killed/all. Exits with 1 if fewer than 80 % are killed. Each mutant is a copy of
the package, so several run at a time. Sampled and seeded: the same seed gives the same mutants of the same sources.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"
ENOUGH = 0.8
SECONDS = 600.0
"""A mutant may make tests hang: then it counts as killed."""
FIRST = (
    "tracker",
    "status_poller",
    "dependencies",
    "result_reader",
    "script",
    "scheduler_commands",
    "submitting",
    "submission_state",
    "exceptions",
    "shared_outcomes",
    "journal",
    "resubmit",
    "deferred",
    "workflow_journal",
    "external_jobs",
    "gathering",
    "life",
    "life_machine",
)
"""The unit tests that most mutants die of; the others come after them."""
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change to one file, as text before and after."""

    path: Path
    line: int
    before: str
    after: str
    source: str


def places(path: Path) -> list[tuple[Path, int]]:
    """What can be changed in a module, as numbers of its nodes."""
    return [(path, number) for number, node in enumerate(list(_code(ast.parse(path.read_text())))) if _change(node)]


def mutant(path: Path, number: int) -> Mutant:
    """The module with that node changed."""
    tree = ast.parse(path.read_text())
    node = list(_code(tree))[number]
    line, before = getattr(node, "lineno", 0), ast.unparse(node)
    _change(node)
    return Mutant(path, line, before.split("\n")[0], ast.unparse(node).split("\n")[0], ast.unparse(tree))


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that may be changed: no annotations, type checkers' imports, log calls and texts of messages.

    Nor `strict=True`: it asserts what holds anyway.
    """
    for child in ast.iter_child_nodes(node):
        text = ast.unparse(child) if isinstance(child, (ast.Expr, ast.If)) else ""
        if child in _annotations(node) or isinstance(child, (ast.arguments, ast.JoinedStr, ast.Raise)):
            continue
        if isinstance(child, ast.keyword) and child.arg == "strict":
            continue
        if isinstance(child, ast.ClassDef):
            yield from (found for statement in child.body for found in _code(statement))
        elif not text.startswith(("_log.", "if TYPE_CHECKING", "'", '"')):
            yield child
            yield from _code(child)


def _annotations(node: ast.AST) -> list[ast.AST | None]:
    return [getattr(node, "returns", None), getattr(node, "annotation", None)]


def _change(node: ast.AST) -> bool:
    """Change a node in place; False if it is of no kind that is changed."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        node.ops[0] = SWAPPED[type(node.ops[0])]()  # type: ignore[call-overload]
    elif isinstance(node, (ast.BoolOp, ast.BinOp)) and type(node.op) in SWAPPED:
        node.op = SWAPPED[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int)):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        node.value = ast.Constant(None)
    elif isinstance(node, (ast.Expr, ast.AugAssign)):
        node.__class__, node.__dict__ = ast.Pass, {"lineno": node.lineno, "col_offset": node.col_offset}  # type: ignore[assignment]
    else:
        return False
    return True


def _rank(test: Path, one: Mutant) -> tuple[bool, bool, str]:
    """The order of tests: those that import the module, then `FIRST`, then the others."""
    imports = f"import {one.path.stem}" in test.read_text() or f".{one.path.stem} import" in test.read_text()
    return not imports, test.stem.removeprefix("test_") not in FIRST, test.name


def survives(one: Mutant) -> bool:
    """Whether all tests pass with it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as made:
        shutil.copytree(SOURCES / "slurm", f"{made}/slurm", ignore=shutil.ignore_patterns("__pycache__"))
        Path(made, one.path.relative_to(SOURCES)).write_text(one.source)
        environ = {**os.environ, "PYTHONPATH": made, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": made}
        tests = sorted((ROOT / "tests/unit").glob("test_*.py"), key=lambda test: _rank(test, one))
        options = ["-x", "-q", "-n", "0", "--timeout=60"]
        argv = [sys.executable, "-m", "pytest", *options, *map(str, tests)]
        try:
            done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def main() -> int:
    """Run a sample; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", default=["tracking", "submission"])
    for name, default in (("sample", 40), ("seed", 1), ("jobs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    files = [f for path in asked.paths for f in sorted((SOURCES / "slurm" / path).rglob("*.py"))]
    every = [place for path in files for place in places(path)]
    chosen = random.Random(asked.seed).sample(every, min(asked.sample, len(every)))  # noqa: S311 - not a secret
    sample = [mutant(*place) for place in chosen]
    unchanged = Mutant(files[0], 0, "", "", files[0].read_text())
    if not survives(unchanged):
        print("the tests fail without a mutant")
        return 2
    print(f"{len(sample)} of {len(every)} mutants", flush=True)
    killed = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        tried = {pool.submit(survives, one): one for one in sample}
        for future in as_completed(tried):
            one, alive = tried[future], future.result()
            killed += not alive
            where = f"{one.path.relative_to(ROOT)}:{one.line}"
            print(f"{'SURVIVES' if alive else 'killed  '} {where}: {one.before}  ->  {one.after}", flush=True)
    print(f"{killed}/{len(sample)} killed")
    return 0 if killed >= ENOUGH * len(sample) else 1


if __name__ == "__main__":
    sys.exit(main())
