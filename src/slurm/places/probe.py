"""Probe: find out what is at a place when it is first used, by one command, because each round trip may be slow."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from slurm.errors import TransportError
from slurm.protocol.ownership import check_output
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.transports.base import Completed, Transport

DEFAULT_ROOT = "${SCRATCH:-${WORK:-$HOME}}/slurm-jobs"
"""The default root as `default_root.sh` has it, to show to users."""

_SECONDS = 120.0
_DIGEST = 64
"""Hexadecimal digits of a SHA-256."""


class SiteProbe:
    """The root, a blob in it, the Python and the scheduler's limits. Queried together when the first is needed.

    `root` is a path on the cluster, a path that begins with `~`, or None for the default; `blob` is a name that begins
    with the SHA-256 of the blob; `python` and `limits` are commands. Each query raises UntrustedFile if other users
    could have written to the blob, or to the directories that this library keeps under the root.
    """

    def __init__(
        self, transport: Transport, root: str | None, blob: str, *, python: Sequence[str], limits: Sequence[str]
    ) -> None:
        self._transport = transport
        self._given = root or "~"
        self._blob = blob
        self._questions = (["sh", "-c", program(__name__, "probe.sh"), "sh", self._given, blob], python, limits)
        self._answers: Sequence[Completed] = ()
        self.after_fork()

    def after_fork(self) -> None:
        """Replace the lock: in the child of a fork, no thread makes a query."""
        self._lock = threading.Lock()

    @property
    def root(self) -> str:
        """The path of the root. Makes a query only if the path depends on the user there. Raises TransportError."""
        if not self._given.startswith("~"):
            return self._given
        done = self._found()[0]
        root, _, _ = done.stdout.partition("\n")
        if done.status != 0 or not root.startswith("/"):
            raise TransportError(f"cannot determine the root directory {self._given}: {done.words}")
        return root

    @property
    def blob_is_there(self) -> bool:
        """Whether the blob exists, byte for byte. A truncated or changed blob is sent again."""
        digest = self._found()[0].stdout.rstrip("\n").rpartition("\n")[2]
        return len(digest) == _DIGEST and self._blob.startswith(digest)

    @property
    def python(self) -> Completed:
        """The output of the command that looks for the Python."""
        return self._found()[1]

    @property
    def limits(self) -> Completed:
        """The output of the command that prints the limits."""
        return self._found()[2]

    def ask(self, argv: Sequence[str]) -> Completed:
        """Run a short command, with the root in SLURMTASKS_ROOT, together with the probe if it is not made yet."""
        command = ["sh", "-c", program(__name__, "run_with_root.sh"), "sh", self._given, *argv]
        with self._lock:
            if not self._answers:
                *answers, done = self._transport.run_together([*self._questions, command], timeout=_SECONDS)
                self._answers = _trusted(answers)
                return done
        return self._transport.run(command, timeout=_SECONDS)

    def _found(self) -> Sequence[Completed]:
        with self._lock:
            if not self._answers:
                self._answers = _trusted(self._transport.run_together(self._questions, timeout=_SECONDS))
            return self._answers


def _trusted(answers: Sequence[Completed]) -> Sequence[Completed]:
    """Return the answers. Raises UntrustedFile: then the answers are not stored, and the next query checks again."""
    check_output(answers[0].stdout)
    return answers
