"""Current and Python: an interpreter that is already there."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from slurm.environments.base import Environment
from slurm.environments.setup import take
from slurm.errors import PythonNotFound
from slurm.protocol import ResolvedEnvironment
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.base import Interpreter, Place
    from slurm.transports.base import Completed

TAG = "{}.{}".format(*sys.version_info[:2])
"""The client's minor version: what is pickled here must be unpickled by the same."""


class Current(Environment):
    """What is there: the cluster's Python, which is the one of this very program if it is there too (one file system),
    else the first of its minor version on PATH.
    """

    def prepare(self, place: Place) -> ResolvedEnvironment:
        """Find it. Nothing is made, so nothing is kept under the root. Raises PythonNotFound."""
        return find(place)

    def before(self, place: Place) -> Place:
        """The place as it is."""
        return place


class Python(Environment):
    """Another interpreter there, by its path (absolute, or from `~/`) or a command's name."""

    def __init__(self, python: str) -> None:
        self.python = python

    def prepare(self, place: Place) -> ResolvedEnvironment:
        """Find it. Raises PythonNotFound."""
        return find(self.before(place))

    def before(self, place: Place) -> Place:
        """The place with this interpreter."""
        return replace(place, interpreter=place.interpreter._replace(python=self.python))

    def __repr__(self) -> str:
        return f"Python({self.python!r})"


def find(place: Place) -> ResolvedEnvironment:
    """The place's interpreter, which may have been looked for before. Raises PythonNotFound."""
    known = place.known.get(place.interpreter)
    if known is not None:
        return known()
    return found(place.interpreter, place.ground.ask(probe(place.interpreter)))


def probe(asked: Interpreter) -> Sequence[str]:
    """The command that looks for an interpreter.

    It is looked for after the steps. One that fails here is passed over, for the nodes may have what isn't here, unless
    the steps bring the interpreter.
    """
    candidates = [asked.python] if asked.python else [sys.executable, f"python{TAG}", "python3", "python"]
    script = "\n".join(
        [
            "{",
            *take(asked.setup),
            "} >&2",
            *(['[ -z "$step" ] || exit 1'] if asked.from_setup else []),
            program(__name__, "find_python.sh"),
        ]
    )
    return ["bash" if asked.setup else "sh", "-c", script, "sh", TAG, *candidates]


def found(asked: Interpreter, done: Completed) -> ResolvedEnvironment:
    """What that command has found. Raises PythonNotFound."""
    if done.status != 0:
        seen = "; ".join(done.stderr.strip().splitlines())
        message = (
            f"no Python {TAG} there, which is what this program runs and pickles by ({seen}). "
            f"Name one: Cluster(…, python='/path/to/python{TAG}'), or run this program by the Python that is there"
        )
        raise PythonNotFound(message)
    python = done.stdout.strip().splitlines()[-1]
    return ResolvedEnvironment(key=f"current-{python}", python=python, tag=TAG, setup=asked.setup)
