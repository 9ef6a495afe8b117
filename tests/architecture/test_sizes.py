"""Modules and functions that a reader can hold, catch-alls that are counted, and seams that nobody looks behind."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from architecture.sources import nodes, sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LINES_OF_A_MODULE, LINES_OF_A_FUNCTION = 400, 50

# `except Exception` and wider stand where foreign code runs, where a loop must live, and where a file must not be left
# behind.
# A new one is a new number here, and its line says why.
CATCH_ALLS = {
    "sweeps/acting.py": 1,
    "compat/submitit/job.py": 2,
    "runner/debugger.py": 1,
    "runner/pools/worker.py": 1,
    "tracebacks.py": 1,
    "callbacks/webhook.py": 1,
    "cli/replay.py": 2,
    "cli/result.py": 1,
    "cli/signature.py": 1,
    "cli/target.py": 2,
    "storage/results.py": 1,
    "tools/recorded.py": 1,
    "tools/registry.py": 1,
    "environments/building.py": 1,
    "server/events.py": 1,
    "server/pool.py": 1,
    "jobs/arguments.py": 1,
    "jobs/executor.py": 1,
    "jobs/future.py": 1,
    "jobs/backlog.py": 1,
    "reuse/digests.py": 1,
    "runner/initializer.py": 1,
    "tracking/result_reader.py": 1,
    "tracking/tracker.py": 2,
    "tracking/exceptions.py": 1,
    "protocol/files.py": 2,
    "runner/callback_runner.py": 2,
    "runner/chunk.py": 1,
    "runner/command.py": 1,
    "runner/main.py": 2,
    "runner/metrics.py": 2,
    "runner/placeholder_resolver.py": 1,
    "runner/parallel_calls.py": 1,
    "runner/pools/workers.py": 1,
    "pools/answers.py": 1,
    "pools/growth.py": 1,
    "pools/pool_calls.py": 1,
    "runner/procedures/child.py": 2,
    "runner/procedures/script_process.py": 1,
    "runner/program.py": 1,
    "runner/pickling.py": 2,
    "runner/result_saver.py": 1,
    "runner/value_pickler.py": 2,
    "schedulers/local_queue/monitor.py": 1,
    "schedulers/local_queue/processes.py": 2,
    "schedulers/local_queue/supervisor.py": 2,
    "serialization/pickling.py": 2,
    "serialization/unpickling.py": 1,
    "slurmfile/callbacks.py": 1,
    "notifications/dispatcher.py": 2,
    "notifications/client_hooks.py": 1,
    "transports/paramiko_ssh.py": 2,
}

# Files of other machines are looked for by protocol/freshness.py. What these look for is this machine's own.
LOOKS = {
    "protocol/digests.py": 1,
    "storage/uploads.py": 5,
    "protocol/directories.py": 1,
    "protocol/files.py": 3,
    "protocol/freshness.py": 4,
    "runner/attempt_directory.py": 3,
    "runner/command_failure.py": 1,
    "runner/distributions.py": 1,
    "runner/pools/process.py": 1,  # /proc
    "runner/procedures/processes.py": 1,
    "runner/program.py": 3,
    "runner/ranks.py": 1,
}
LOOKING = {"listdir", "scandir", "exists", "lexists", "isfile", "isdir", "iterdir", "glob"}
AT_SHARED_FILES = ("protocol/", "runner/", "storage/", "tracking/", "notifications/", "transports/local.py")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def test_no_module_is_too_long() -> None:
    lines = {name: len(source.splitlines()) for name, source in sources().items()}
    assert {name: count for name, count in lines.items() if count > LINES_OF_A_MODULE} == {}


def test_no_function_is_too_long() -> None:
    functions = [(name, node) for name, found in nodes().items() for node in found if isinstance(node, FUNCTIONS)]
    lines = {(name, f.name): f.end_lineno - f.lineno + 1 for name, f in functions if f.end_lineno is not None}
    assert {f: count for f, count in lines.items() if count > LINES_OF_A_FUNCTION} == {}


def test_catch_alls_are_counted() -> None:
    found = {name: sum(1 for _ in _catch_alls(every)) for name, every in nodes().items()}
    assert {name: count for name, count in found.items() if count} == CATCH_ALLS


@pytest.mark.parametrize("name", CATCH_ALLS)
def test_each_catch_all_says_why(name: str) -> None:
    lines = sources()[name].splitlines()
    without = [
        lines[handler.lineno - 1] for handler in _catch_alls(nodes()[name]) if not _reason(lines[handler.lineno - 1])
    ]
    assert without == []


def _reason(line: str) -> str:
    """The comment of a line, without the codes of `noqa`."""
    return re.sub(r"^\s*noqa: [A-Z0-9, ]+(- )?", "", line.partition("#")[2]).strip()


def test_looks_past_the_seam_for_shared_files_are_counted() -> None:
    found = {
        name: sum(_is_look(node) for node in every)
        for name, every in nodes().items()
        if name.startswith(AT_SHARED_FILES)
    }
    assert {name: count for name, count in found.items() if count} == LOOKS


def _is_look(node: ast.AST) -> bool:
    """Whether a node asks the operating system what is there."""
    return isinstance(node, ast.Attribute) and node.attr in LOOKING and "os" in _names(node)


def _catch_alls(every: Iterable[ast.AST]) -> Iterator[ast.ExceptHandler]:
    for node in every:
        if isinstance(node, ast.ExceptHandler) and (
            node.type is None or {"Exception", "BaseException"} & _names(node.type)
        ):
            yield node
        if isinstance(node, ast.Call) and "suppress" in _names(node.func):
            assert not {"Exception", "BaseException"} & {name for argument in node.args for name in _names(argument)}


def test_nobody_asks_which_transport_scheduler_or_environment_it_holds() -> None:
    every = [(name, node) for name, found in nodes().items() for node in found]
    classes = {
        node.name
        for _, node in every
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Transport", "Scheduler", "Environment", "Current"))
    }
    assert classes > {"LocalTransport", "SlurmScheduler", "LocalScheduler", "Current"}
    assert [f"{name}: {ast.unparse(node)}" for name, node in every if _asks_what_it_holds(node, classes)] == []


def _asks_what_it_holds(node: ast.AST, classes: set[str]) -> bool:
    if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
        return ast.unparse(node.left) in {"url.transport", "url.scheduler", "scheduler.name"}
    if not isinstance(node, ast.Call):
        return False
    called = _names(node.func)
    if called & {"isinstance", "issubclass", "type"} and any(_names(argument) & classes for argument in node.args):
        return True
    held = {"transport", "_transport", "scheduler", "_scheduler"}
    return bool(called & {"isinstance", "hasattr", "type"} and node.args and _names(node.args[0]) & held)


def _names(node: ast.AST) -> set[str]:
    """All names and attributes in an expression."""
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
