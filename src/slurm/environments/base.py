"""The environment seam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from slurm.protocol import Prepared
    from slurm.transports.base import Transport


class Environment(Protocol):
    """A Python, and what is installed with it, for tasks to run in. Constructors do no I/O."""

    def prepare(self, transport: Transport, root: str) -> Prepared:
        """Make it ready there, under `root` if it needs a place, and say how to start it.

        Raises PythonNotFound if there is no Python of the client's minor version.
        """
