"""Run a shell or a command in a cluster of its own: `python tests/testbed [options] [-- command ...]`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

if not __package__:
    # Started by the directory's name: Python then searches that directory, not the one that holds the
    # package.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from testbed.caches import CachedFiles
from testbed.errors import SlurmTestbedError
from testbed.generations import GENERATIONS, activate
from testbed.programs import without_slurm
from testbed.slurm import SlurmTestbed


def main() -> int:
    """Run the command in a new cluster and return its exit status."""
    arguments = _parser().parse_args()
    with ExitStack() as running:
        try:
            files = running.enter_context(CachedFiles(arguments.caches)) if arguments.caches else None
            environment = _start(arguments, running, files)
        except SlurmTestbedError as error:
            print(error, file=sys.stderr)
            return 1
        if files and not arguments.command:
            print(
                f"Nodes and this shell see $SCRATCH, which is {files.directory},",
                f"through caches of {arguments.caches:g} s of their own.",
                file=sys.stderr,
            )
        if not arguments.command:
            print(
                f"A Slurm of {arguments.nodes} nodes is up, at SLURM_CONF={environment['SLURM_CONF']}; try sinfo.",
                "Leave this shell (exit, Ctrl-D) and the cluster is gone, with its jobs and files.",
                sep="\n",
                file=sys.stderr,
            )
        command = arguments.command or [os.environ.get("SHELL") or "/bin/sh"]
        return _run([*(files.on_client if files else ()), *command], environment)


def _start(arguments: argparse.Namespace, running: ExitStack, files: CachedFiles | None) -> dict[str, str]:
    """Start what was asked for and return the variables that tell a command where it is."""
    if arguments.slurm:
        activate(arguments.slurm)
    settings, second = dict(arguments.settings), arguments.second_cluster
    testbed = running.enter_context(
        SlurmTestbed(
            nodes=arguments.nodes,
            cpus=arguments.cpus,
            settings=settings,
            speedup=arguments.speedup,
            accounting=arguments.accounting or second,
            memory_limits=arguments.memory_limits,
            node_command=files.on_nodes if files else (),
        )
    )
    environment = {**testbed.env, **({"SCRATCH": str(files.directory)} if files else {})}
    if second:
        other = running.enter_context(testbed.second_cluster(settings=settings))
        environment["SECOND_SLURM_CONF"] = str(other.conf)
    return environment


def _run(command: list[str], environment: dict[str, str]) -> int:
    # Ctrl-C is for the command. A handler, unlike SIG_IGN, is not inherited by it.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        status = subprocess.run(command, env={**without_slurm(os.environ), **environment}, check=False).returncode
    except OSError as error:
        print(error, file=sys.stderr)
        return 127
    return status if status >= 0 else 128 - status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/testbed",
        description="Open a shell, or run a command, with a Slurm cluster of its own that ends with it.",
    )
    parser.add_argument(
        "--slurm", choices=GENERATIONS, help="which release of Slurm, downloaded at first use (default: the installed)"
    )
    parser.add_argument("--nodes", type=int, default=2, help="how many nodes (default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=4, help="CPUs that each node claims (default: %(default)s)")
    parser.add_argument(
        "--speedup", type=float, default=1, metavar="X", help="let slurmctld's clock run X times faster"
    )
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd, so that sacct answers")
    parser.add_argument(
        "--second-cluster",
        action="store_true",
        help="with accounting and a second cluster, `other`: use `-M other` or SLURM_CONF=$SECOND_SLURM_CONF",
    )
    parser.add_argument(
        "--memory-limits", action="store_true", help="kill jobs that use more than their --mem (as root only)"
    )
    parser.add_argument(
        "--caches",
        type=float,
        metavar="SECONDS",
        help="with $SCRATCH on a file system that remembers names and listings so long, as NFS does (as root only)",
    )
    parser.add_argument(
        *("--set", "-s"),
        dest="settings",
        action="append",
        default=[],
        type=_setting,
        metavar="KEY=VALUE",
        help="a line of slurm.conf, such as MaxArraySize=11 (may be given several times)",
    )
    parser.add_argument("command", nargs="*", help="what to run instead of $SHELL")
    return parser


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
