"""What can go wrong with a testbed."""

from __future__ import annotations

import subprocess


class SlurmTestbedError(RuntimeError):
    """The cluster or a daemon of it did not do what was asked; the text ends with what their logs say."""


class CommandError(subprocess.CalledProcessError):
    """A command run in a testbed failed; unlike its base it shows what the command printed."""

    def __str__(self) -> str:
        return "\n".join(part for part in (super().__str__(), self.stdout, self.stderr) if part)
