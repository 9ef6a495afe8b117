"""Current: the Python that is already there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from slurm.environments.setup import take
from slurm.errors import PythonNotFound
from slurm.protocol import Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.transports.base import Completed, Transport

TAG = "{}.{}".format(*sys.version_info[:2])
"""The client's minor version: what is pickled here must be unpickled by the same."""

_PROBE = """\
for python in "$@"; do
    case $python in "~/"*) python=$HOME/${python#"~/"} ;; esac
    found=$(command -v "$python") || { echo "$python: not found" >&2; continue; }
    version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || continue
    echo "$found is Python $version" >&2
    [ "$version" != "$0" ] || { echo "$found"; exit 0; }
done
exit 1
"""


class Current:
    """The interpreter of this very program if it is there too (one file system), else the first fitting one on PATH.

    `python` names another one: a path there, or a command's name. It is looked up after the steps of `setup`, which may
    bring it; one that fails here is passed over, for the nodes may have what isn't here.
    """

    def __init__(self, python: str | None = None, *, setup: Sequence[str] = ()) -> None:
        self.python = python
        self.setup = tuple(setup)

    def prepare(self, transport: Transport, root: str) -> Prepared:
        """Find it. Nothing is made, so nothing is kept under the root."""
        del root
        return self.found(transport.run(self.probe(), timeout=60))

    def probe(self) -> Sequence[str]:
        """The command that looks for it."""
        candidates = [self.python] if self.python else [sys.executable, f"python{TAG}", "python3", "python"]
        probe = "\n".join(["{", *take(self.setup), "} >&2", _PROBE])
        return ["bash" if self.setup else "sh", "-c", probe, TAG, *candidates]

    def found(self, done: Completed) -> Prepared:
        """What the command has found. Raises PythonNotFound."""
        if done.status != 0:
            seen = "; ".join(done.stderr.strip().splitlines())
            message = (
                f"no Python {TAG} there, which is what this program runs and pickles by ({seen}). "
                f"Name one: Cluster(…, python='/path/to/python{TAG}'), or run this program by the Python that is there"
            )
            raise PythonNotFound(message)
        python = done.stdout.strip().splitlines()[-1]
        return Prepared(key=f"current-{python}", python=python, tag=TAG, setup=self.setup)

    def __repr__(self) -> str:
        return f"Current({self.python!r})" if self.python else "Current()"
