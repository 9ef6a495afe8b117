"""`slurm serve`: serve jobs over HTTP, with a page that shows them."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_of, on_option
from slurm.procedures.service import ScriptExecutionService

if TYPE_CHECKING:
    from slurm.server.guard import Access
    from slurm.server.serving import Address

_PORT = 8000
"""The port on a user's own machine from which a tunnel leads to a Unix socket."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 means a free port."
)
@click.option("--socket", "path", metavar="PATH", help="Listen on this Unix socket instead.")
@click.option(
    "--sweeps",
    default="sweeps/outputs",
    show_default=True,
    metavar="DIRECTORY",
    help="The directory that holds the sweeps.",
)
@click.option("--dir", "directory", metavar="DIR", help="The directory of the procedures. Default: the cluster's root.")
@click.option(
    "--allow-folder",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    metavar="DIR",
    help="Requests may prepare scripts in this directory of this machine. Repeatable.",
)
@click.option(
    "--allow-git",
    "repositories",
    multiple=True,
    metavar="PREFIX",
    help="Requests may prepare scripts of repositories below this URL. Repeatable.",
)
@click.option("--allow-text", is_flag=True, help="Requests may contain scripts.")
@on_option
def serve(  # noqa: PLR0913, PLR0917 - click's way
    host: str,
    port: int,
    path: str | None,
    sweeps: str,
    directory: str | None,
    folders: tuple[str, ...],
    repositories: tuple[str, ...],
    allow_text: bool,  # noqa: FBT001
    cluster: str | None,
) -> None:
    """Serve jobs and procedures over HTTP to this machine, with a page for browsers, until Ctrl-C.

    Prints the address of the page, with a token. Anyone who has this address can cancel and submit jobs as you. A
    second address only allows reading. Needs the extra: pip install "slurm-tasks[server]".
    """
    try:
        from slurm.server import serving  # noqa: PLC0415 - slow to import, and an extra
        from slurm.server.guard import Access  # noqa: PLC0415 - as above
        from slurm.server.scripts import ScriptRules  # noqa: PLC0415 - as above
    except ImportError as error:
        raise click.ClickException(
            f"a package is missing ({error}): install it with: pip install 'slurm-tasks[server]'"
        ) from None
    address = serving.Address(host, port, path)
    found = cluster_of(cluster)
    if directory is not None:
        found = ScriptExecutionService(directory, on=found).cluster
    token, reading_token = serving.tokens()
    listening = serving.listen(address)
    access = Access(token, reading_token, serving.hosts_of(address))
    for line in _greeting(address, access, listening):
        output.show(line)
    rules = ScriptRules(folders, repositories, allow_text)
    running = serving.server(found, access, everywhere=cluster is None, sweeps=Path(sweeps), rules=rules)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C, which uvicorn raises again after it has ended the server
        running.run(sockets=[listening])


def _greeting(address: Address, access: Access, listening: socket.socket) -> list[str]:
    """The addresses of the page, and the command for a tunnel to use them on another machine."""
    port = _PORT if address.socket else listening.getsockname()[1]
    host = f"[{address.host}]" if ":" in address.host else address.host
    base = f"http://{'127.0.0.1' if address.socket else host}:{port}/#"
    there = os.path.abspath(address.socket) if address.socket else f"{host}:{port}"
    login = f"{getpass.getuser()}@{socket.getfqdn()}"
    return [
        f"page:       {base}{access.token}",
        f"read only:  {base}{access.reading_token}",
        f"from another machine, first:  ssh -N -L {port}:{shlex.quote(there)} {shlex.quote(login)}",
    ]
