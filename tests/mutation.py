"""Mutation testing: change one operator, condition, constant or statement at a time, and see whether tests notice.

    python tests/mutation.py [--sample 40] [--seed 1] [--jobs 2] [--end-to-end] [path under src/slurm …]

Prints each mutant with the test that killed it, then killed/all. Exits with 1 if fewer than 80 % are killed. Each
mutant is a copy of the package, so several run at a time. Sampled and seeded: the same seed gives the same mutants of
the same sources. The unit tests run first. With --end-to-end, mutants that survive them meet end-to-end tests on this
machine: those in the files that name the mutant's module most often.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"
ENOUGH = 0.8
SECONDS = 600.0
"""A mutant may make unit tests hang: then it counts as killed."""
EVERY_URL = "SLURMTASKS_TEST_EVERY_URL"
LOCALLY = ("-n", "2", "-k", "not slurm and not box")
"""Options of the tests that need neither Slurm nor SSH."""
MOST_FILES = 20
"""How many files of end-to-end tests a mutant meets."""
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


def _rank(test: Path, one: Mutant) -> tuple[bool, bool, bool, str]:
    """The order of tests: those that import the module, then those of its package, then `FIRST`, then the others."""
    text, package = test.read_text(), one.path.parent.name
    imports = f"import {one.path.stem}" in text or f".{one.path.stem} import" in text
    related = f"slurm.{package}" in text or package.removesuffix("s") in test.stem
    return not imports, not related, test.stem.removeprefix("test_") not in FIRST, test.name


def _named(test: Path, one: Mutant) -> int:
    """How often a file of tests has the words of the path of a module."""
    words = re.split(r"\W|_", str(one.path.relative_to(SOURCES / "slurm").with_suffix("")))
    text, known = test.read_text(), {word.removesuffix("s") for word in words if len(word) > 3}
    return sum(min(text.count(word), 20) + 100 * (word in test.stem) for word in known)


def killer(one: Mutant, *, end_to_end: bool) -> str:
    """The name of the test that fails with it, or "a hanging test"; empty if all pass."""
    unit = sorted((ROOT / "tests/unit").glob("test_*.py"), key=lambda test: _rank(test, one))
    found = _failing(unit, ["-n", "0", "--timeout=60"], one, SECONDS)
    if found or not end_to_end:
        return found
    far = sorted((ROOT / "tests/end_to_end").glob("test_*.py"), key=lambda test: -_named(test, one))[:MOST_FILES]
    found = _failing(far, LOCALLY, one, 4 * SECONDS)
    again = [found] if "::" in found else far  # these tests are on a real machine: one may fail without a mutant, too
    return found if found and not _failing(again, LOCALLY, None, 4 * SECONDS) else ""


def _failing(tests: Sequence[str | Path], options: Sequence[str], one: Mutant | None, seconds: float) -> str:
    """The first test that fails with a mutant, or without one."""
    argv = [sys.executable, "-m", "pytest", "-x", "-q", *options, *map(str, tests)]
    with tempfile.TemporaryDirectory(prefix="mutant-") as made:
        shutil.copytree(SOURCES / "slurm", f"{made}/slurm", ignore=shutil.ignore_patterns("__pycache__"))
        if one:
            Path(made, one.path.relative_to(SOURCES)).write_text(one.source)
        ours = {"PYTHONPATH": made, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": made, EVERY_URL: "1"}
        env = {**os.environ, **ours}
        try:
            done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return "a hanging test"
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", done.stdout, flags=re.MULTILINE)
    return "" if done.returncode == 0 else next(iter(failed), f"pytest, with status {done.returncode}")


def main() -> int:
    """Run a sample; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", default=["tracking", "submission"])
    for name, default in (("sample", 40), ("seed", 1), ("jobs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--end-to-end", action="store_true")
    asked = parser.parse_args()
    files = [f for path in asked.paths for f in sorted((SOURCES / "slurm" / path).rglob("*.py"))]
    every = [place for path in files for place in places(path)]
    chosen = random.Random(asked.seed).sample(every, min(asked.sample, len(every)))  # noqa: S311 - not a secret
    sample = [mutant(*place) for place in chosen]
    unchanged = Mutant(files[0], 0, "", "", files[0].read_text())
    if failing := killer(unchanged, end_to_end=False):
        print(f"without a mutant, {failing} fails")
        return 2
    print(f"{len(sample)} of {len(every)} mutants", flush=True)
    killed = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        tried = {pool.submit(killer, one, end_to_end=asked.end_to_end): one for one in sample}
        for future in as_completed(tried):
            one, test = tried[future], future.result()
            killed += bool(test)
            where = f"{one.path.relative_to(ROOT)}:{one.line}"
            end = f"killed by {test}" if test else "SURVIVES"
            print(f"{where}: {one.before}  ->  {one.after}: {end}", flush=True)
    print(f"{killed}/{len(sample)} killed")
    return 0 if killed >= ENOUGH * len(sample) else 1


if __name__ == "__main__":
    sys.exit(main())
