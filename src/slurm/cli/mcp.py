"""`slurm mcp`: serve jobs as tools for agents, over standard input and output."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from slurm.cli.cluster_argument import cluster_of, on_option
from slurm.cli.mcp_tools import CONFIRMING, PLANNING, READING, Tools
from slurm.errors import SlurmError
from slurm.sanitize.redaction import redacted
from slurm.tasks.task import Task
from slurm.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_INSTRUCTIONS = (
    "Jobs that the Python library slurm-tasks has submitted to a Slurm cluster or to this machine. Read them with "
    "jobs, show, logs and explain. submit and retry only plan: show the plan to the user, and call confirm if they "
    "agree."
)


@click.command()
@click.option("--module", "modules", multiple=True, help="Import this module; its tasks may be submitted. Repeatable.")
@on_option
def mcp(modules: tuple[str, ...], cluster: str | None) -> None:
    """Serve jobs as tools for agents, by the Model Context Protocol over standard input and output.

    Agents may list and explain jobs and read logs. They may plan a submission of a task of a --module, or a retry. Each
    plan has a confirmation; a second call with this confirmation submits the plan. Needs the extra:
    pip install "slurm-tasks[mcp]".
    """
    try:
        from mcp.server import MCPServer  # noqa: PLC0415 - slow to import, and an extra
        from mcp.server.mcpserver.exceptions import ToolError  # noqa: PLC0415 - as above
        from mcp.types import ToolAnnotations  # noqa: PLC0415 - as above
    except ImportError as error:
        raise click.ClickException(
            f"the package mcp is missing ({error}): install it with: pip install 'slurm-tasks[mcp]'"
        ) from None
    cluster_of(cluster)  # so that a wrong name is an error now
    with redirect_stdout(sys.stderr):  # the standard output belongs to the protocol
        tools = Tools(cluster, _tasks(modules))
    server = MCPServer("slurm-tasks", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING")
    for names, read_only, destructive in ((READING, True, False), (PLANNING, True, False), (CONFIRMING, False, True)):
        hints = ToolAnnotations(read_only_hint=read_only, destructive_hint=destructive)
        for name in names:
            server.tool(name=name, annotations=hints)(_reporting(getattr(tools, name), ToolError))
    server.run("stdio")


def _tasks(modules: Iterable[str]) -> dict[str, Task[..., Any]]:
    """The tasks of modules. The modules are also searched for in the working directory. Raises ClickException."""
    sys.path.insert(0, os.getcwd())
    found: dict[str, Task[..., Any]] = {}
    for name in modules:
        try:
            module = import_module(name)
        except ImportError as error:
            raise click.ClickException(f"cannot import {name}: {error}") from error
        own = {f"{name}:{attribute}": each for attribute, each in vars(module).items() if isinstance(each, Task)}
        if not own:
            raise click.ClickException(f"the module {name} has no task: decorate a function with @task")
        found |= own
    return found


def _reporting(tool: Callable[..., Any], error_class: type[Exception]) -> Callable[..., Any]:
    """Make a tool report errors of its arguments, of jobs and of clusters as text that an agent can use."""

    @functools.wraps(tool)
    def reporting(*args: Any, **kwargs: Any) -> Any:
        try:
            return tool(*args, **kwargs)
        except click.ClickException as error:
            raise error_class(redacted(error.format_message())) from error
        except (SlurmError, TypeError, ValueError) as error:
            raise error_class(redacted(str(error))) from error

    return reporting
