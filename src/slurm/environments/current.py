"""Current and Python: environments that use an existing interpreter."""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from slurm.environments.base import Environment, planned_by_prepare
from slurm.environments.setup import render_steps
from slurm.errors import PythonNotFound
from slurm.protocol import ResolvedEnvironment
from slurm.protocol.shell import program
from slurm.runner import distributions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.base import BuildTarget, Interpreter
    from slurm.transports.base import Completed

TAG = "{}.{}".format(*sys.version_info[:2])
"""The minor version of the client's Python. Pickles of functions can only be loaded by the same version."""


class Current(Environment):
    """The cluster's Python: the interpreter of this program if the cluster has it, too, else the first one on PATH
    with the same minor version.
    """

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        """Find the interpreter. Nothing is built or stored. Raises PythonNotFound."""
        return find(target)

    planned = planned_by_prepare

    def before(self, target: BuildTarget) -> BuildTarget:
        """Return the target unchanged."""
        return target


class Python(Environment):
    """An interpreter of the cluster, by its path (absolute, or `~/…`) or by the name of a command."""

    def __init__(self, python: str) -> None:
        self.python = python

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        """Find the interpreter. Raises PythonNotFound."""
        return find(self.before(target))

    planned = planned_by_prepare

    def before(self, target: BuildTarget) -> BuildTarget:
        """Return the target with this interpreter."""
        return replace(target, interpreter=target.interpreter._replace(python=self.python))

    def __repr__(self) -> str:
        return f"Python({self.python!r})"


def find(target: BuildTarget) -> ResolvedEnvironment:
    """Find the interpreter of a target, unless it is known already. Raises PythonNotFound."""
    known = target.known.get(target.interpreter)
    if known is not None:
        return known()
    return found(target.interpreter, target.access.ask(probe(target.interpreter)))


def probe(requested: Interpreter) -> Sequence[str]:
    """Build the command that finds an interpreter after the setup steps.

    A step that fails on this machine is ignored, because nodes may have what this machine lacks. It is not ignored if
    the steps provide the interpreter.
    """
    candidates = [requested.python] if requested.python else [sys.executable, f"python{TAG}", "python3", "python"]
    script = "\n".join(
        [
            "{",
            *render_steps(requested.setup),
            "} >&2",
            *(['[ -z "$step" ] || exit 1'] if requested.from_setup else []),
            program(__name__, "find_python.sh"),
        ]
    )
    return ["bash" if requested.setup else "sh", "-c", script, "sh", TAG, *candidates]


def installed(requested: Interpreter) -> Sequence[str]:
    """Build the command that prints the digest of the distributions of an interpreter, after the setup steps."""
    source = inspect.getsource(distributions)
    script = 'code=$1; shift; python=$("$@" | tail -n 1) && [ -n "$python" ] && exec "$python" -c "$code"'
    return ["sh", "-c", script, "sh", f"{source}\nprint(distributions_digest())", *probe(requested)]


def found(requested: Interpreter, done: Completed) -> ResolvedEnvironment:
    """Parse the output of the command that `probe` builds. Raises PythonNotFound."""
    if done.status != 0:
        seen = "; ".join(done.stderr.strip().splitlines())
        raise PythonNotFound(
            f"no Python {TAG} there; this program runs on Python {TAG} and needs the same version there ({seen}). "
            f"Name one: Cluster(…, python='/path/to/python{TAG}'), or run this program with a version found there"
        )
    python = done.stdout.strip().splitlines()[-1]
    return ResolvedEnvironment(key=f"current-{python}", python=python, tag=TAG, setup=requested.setup)
