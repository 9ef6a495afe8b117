"""Imports go downwards only, and what runs on a node stays small."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from architecture.sources import modules
from slurm import command
from slurm.environments.current import TAG
from slurm.protocol import SUCCEEDED
from slurm.protocol.boot import BOOT
from slurm.storage.runner_zip import bundle
from unit.job_directories import Directory, pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A module imports its own layer and lower ones. `runner.*` stands for all of a package.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "version", "url", "plugins", "tracebacks", "sanitize.*"),
    ("protocol.*",),
    ("options.*", "client_cache"),
    ("usage",),
    ("spaces.*",),
    ("callbacks.*",),
    ("runner.*",),
    ("transports.*", "environments.*", "schedulers.*"),
    ("serialization.*", "storage.*"),
    ("submission.*",),
    ("notifications.*",),
    ("tracking.*",),
    ("places.*",),
    ("views.*",),
    ("tasks.*",),
    ("reuse.*",),
    ("jobs.*",),
    ("slurmfile.*",),
    ("pools.*",),
    ("clusters.*",),
    ("tools.*",),
    ("procedures.*",),
    ("sweeps.*",),
    ("compat.*",),
    ("server.*",),
    ("doctor.*",),
    ("cli.*", "__main__"),
    ("former.*", "testing.*"),
    ("",),  # the package itself, lazily
)

SEAMS = ("transports", "schedulers", "environments")

# What is started on a node, or wherever a transport's commands run, from the zip alone.
ON_THE_NODE = ("runner", "schedulers.local_queue")

NEVER_IN_THE_RUNNER = {
    *("paramiko", "rich", "click", "yaml", "asyncio", "ssl", "json", "typing", "inspect", "re"),
    *("dataclasses", "enum", "subprocess", "threading", "tempfile", "logging", "hashlib"),
}


def layer(module: str) -> int:
    """The number of the layer of a module; KeyError if the table doesn't have it."""
    for number, names in enumerate(LAYERS):
        if module in names or (module and f"{module.partition('.')[0]}.*" in names):
            return number
    raise KeyError(module)


def imported(tree: ast.AST, *, types: bool = False) -> Iterator[str]:
    """The full names of what a module imports, anywhere in it; what only type checkers import too, if `types`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            for other in node.orelse:
                yield from imported(ast.Module([other], []), types=types)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            if node.module == "slurm":  # a module, or a name of the package itself
                yield from (f"slurm.{alias.name}" if alias.name in modules() else "slurm" for alias in node.names)
            else:
                full = (f"{node.module}.{alias.name}" for alias in node.names)
                yield from (name if name.removeprefix("slurm.") in modules() else node.module for name in full)
        else:
            yield from imported(node, types=types)


def ours(names: Iterator[str]) -> set[str]:
    """Of full names those of this package, by their names in it."""
    return {name.removeprefix("slurm").lstrip(".") for name in names if name.partition(".")[0] == "slurm"}


def test_every_module_has_its_layer_and_the_table_names_nothing_else() -> None:
    assert {name for name in modules() if not _has_layer(name)} == set()
    named = {name for names in LAYERS for name in names}
    packages = {f"{name.partition('.')[0]}.*" for name in modules() if "." in name}
    assert named == {name for name in named if name in modules() or name in packages}


def _has_layer(name: str) -> bool:
    try:
        return layer(name) >= 0
    except KeyError:
        return False


def test_imports_go_downwards_only() -> None:
    assert _wrong(lambda name, tree: {other for other in ours(imported(tree)) if layer(other) > layer(name)}) == {}


def _wrong(imports: Callable[[str, ast.Module], set[str]]) -> dict[str, set[str]]:
    """The modules that import what they may not, and what that is."""
    found = {name: imports(name, tree) for name, tree in modules().items()}
    return {name: others for name, others in found.items() if others}


def test_no_part_knows_the_place_that_composes_it() -> None:
    def above(name: str, tree: ast.Module) -> set[str]:
        if layer(name) >= layer("places.place"):
            return set()
        return {other for other in ours(imported(tree, types=True)) if other.startswith("places.")}

    assert _wrong(above) == {}


def test_only_the_types_of_tasks_jobs_and_clusters_refer_to_each_other() -> None:
    """Imports for type checkers included, no other modules import each other in a ring."""
    uses = {
        name: {other for other in ours(imported(tree, types=True)) if other in modules()}
        for name, tree in modules().items()
        if name
    }
    reached = {name: set(others) for name, others in uses.items()}
    for middle in uses:
        for name, others in reached.items():
            if middle in others:
                reached[name] = others | reached[middle]
    in_rings = {name for name, others in reached.items() if name in others}
    assert {name for name in in_rings if name.partition(".")[0] not in {"tasks", "jobs", "clusters"}} == {
        "runner.workflow_context_builder"
    }


def test_no_module_imports_the_support_for_tests() -> None:
    others = [name for name in modules() if name.partition(".")[0] != "testing"]
    assert [name for name in others if any(o.startswith("testing") for o in ours(imported(modules()[name])))] == []


def test_the_random_state_of_the_users_program_is_left_alone() -> None:
    """A program that seeds `random` gets the same numbers with and without calls."""
    found = [node for tree in modules().values() for node in ast.walk(tree)]
    attributes = [node for node in found if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "random"]
    names = [node.names for node in found if isinstance(node, ast.ImportFrom) and node.module == "random"]
    used = {node.attr for node in attributes} | {alias.name for some in names for alias in some}
    assert used == {"Random", "SystemRandom"}


def test_a_seam_knows_of_the_others_their_protocols_only() -> None:
    def of_others(name: str, tree: ast.Module) -> set[str]:
        seams = {seam for seam in SEAMS if seam != name.partition(".")[0]}
        if len(seams) == len(SEAMS):
            return set()
        others = {other for other in ours(imported(tree, types=True)) if other.partition(".")[0] in seams}
        return others - {f"{seam}.base" for seam in SEAMS}

    assert _wrong(of_others) == {}


def test_what_runs_on_a_node_imports_the_standard_library_and_cloudpickle() -> None:
    def beyond(name: str, tree: ast.Module) -> set[str]:
        if not any(name == package or name.startswith(f"{package}.") for package in ON_THE_NODE):
            return set()
        names = set(imported(tree))
        foreign = {other for other in names if other.partition(".")[0] not in {*sys.stdlib_module_names, "slurm"}}
        foreign -= {"debugpy"} if name == "runner.debugger" else set()  # in a function, where a user asks for it
        foreign -= {"cloudpickle"} if name.startswith("runner") else set()
        above = {other for other in ours(iter(names)) if layer(other) > layer("runner.main")}
        above = {other for other in above if not other.startswith("schedulers.local_queue")}
        return foreign | above - ({"schedulers.base", "schedulers.marks"} if name.startswith("schedulers") else set())

    assert _wrong(beyond) == {}


LISTING = BOOT.replace(
    "sys.exit(boot(*sys.argv[1:]))", "status = boot(*sys.argv[1:]); print(*sys.modules); sys.exit(status)"
)
RUNNER = "slurm.runner.main"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The runner's zip, as it lies on a node."""
    path = tmp_path / bundle().name
    path.write_bytes(bundle().data)
    return path


@pytest.mark.parametrize(
    ("function", "most"),
    [(os.getpid, 70), (command("sh -c 'echo > out; echo said; echo no >&2'", products=["out"]).unwrapped, 80)],
    ids=["function", "command"],
)
def test_an_element_loads_few_modules_and_none_that_is_slow_to_load(
    tmp_path: Path, archive: Path, function: Callable[[], object], most: int
) -> None:
    directory = Directory(str(tmp_path / "root")).create(pickled(function, ()))
    argv = [sys.executable, "-S", "-E", "-c", LISTING, str(archive), RUNNER, directory.root, directory.key, "0", TAG]
    loaded = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert directory.outcome().status == SUCCEEDED
    assert "slurm.runner.result_saver" in loaded
    assert NEVER_IN_THE_RUNNER.isdisjoint(loaded)
    assert len(loaded) <= most, sorted(loaded)  # the budget in docs/benchmarks.md is 120


def test_a_bare_python_runs_calls_by_value_and_tasks_too(tmp_path: Path, archive: Path) -> None:
    from slurm import task

    @task(mem="1G")
    def double(x: int) -> int:
        return 2 * x

    directory = Directory(str(tmp_path / "root")).create(pickled(lambda f, x: f.unwrapped(x), (double, 21)))
    argv = [sys.executable, "-S", "-E", "-c", LISTING, str(archive), RUNNER, directory.root, directory.key, "0", TAG]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, directory.result()) == (0, "", 42)
    assert not any(name.partition(".")[0] in {"paramiko", "yaml", "click"} for name in done.stdout.split())


@pytest.mark.parametrize("name", ["commands", "supervisor"])
def test_the_local_scheduler_starts_from_the_zip_alone(archive: Path, name: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, sys.argv[1]); import slurm.schedulers.local_queue.{name}; print(*sys.modules)"
    )
    argv = [sys.executable, "-S", "-E", "-c", code, str(archive)]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    foreign = {found.partition(".")[0] for found in loaded} - {*sys.stdlib_module_names, "slurm"}
    assert {found for found in foreign if not found.startswith("__")} == set()
