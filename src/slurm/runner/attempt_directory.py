"""AttemptDirectory: the directory that a program runs in, and the check of the files that it wrote there.

Nothing is moved: the outcome names the directory and its products, and so makes them the output of the call.
"""

from __future__ import annotations

import os
import sys

from slurm.protocol import ATTEMPTS, STOPPED, WORK, attempt_name, freshness
from slurm.protocol.digests import directory_digest, file_digest
from slurm.protocol.directories import make_private
from slurm.protocol.files import open_own
from slurm.protocol.outcomes import Outcome, Product
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from slurm.protocol.outcomes import Output
    from slurm.runner.job_context import JobContext

STDOUT, STDERR, OUTPUT = "stdout.log", "stderr.log", "output"
LOGS_OF_PROGRAM = (STDOUT, STDERR)
_RESERVED_BYTES = 1 << 16
_TAIL_BYTES, _TAIL_LINES = 4096, 20


class AttemptDirectory:
    """A new, empty directory `work/<i>/attempt-<n>/` of one call."""

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self._parent = f"{job.directory}/{WORK}/{job.index}"
        make_private(self._parent)
        self.name = f"attempt-{job.attempt}"
        try:
            os.mkdir(f"{self._parent}/{self.name}", 0o700)
        except FileExistsError:  # the same attempt was started twice: both may be running
            self.name = f"{self.name}-{os.urandom(4).hex()}"
            os.mkdir(f"{self._parent}/{self.name}", 0o700)
        self.path = f"{self._parent}/{self.name}"

    def find(self, patterns: Sequence[str], given: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the paths of the products that match the patterns, each once, and the patterns that match nothing.

        Files that were `given` to the program are not products. A log is a product only if a pattern is its exact name.
        """
        found: dict[str, None] = {}
        missing = []
        for pattern in patterns:
            paths = [path for path in self._matches(pattern) if path not in given]
            if not paths:
                missing.append(pattern)
            found.update(dict.fromkeys(paths))
        return list(found), missing

    def _matches(self, pattern: str) -> Iterator[str]:
        if not any(wildcard in pattern for wildcard in "*?["):
            yield from [pattern] if os.access(f"{self.path}/{pattern}", os.F_OK) else []
            return
        from glob import glob  # noqa: PLC0415 - few patterns have wildcards, and it imports `re`

        here = "".join(f"[{character}]" if character in "*?[" else character for character in self.path)
        for path in sorted(glob(f"{here}/{pattern}", recursive=True)):
            relative = path[len(self.path) + 1 :].rstrip("/")
            if relative and relative not in LOGS_OF_PROGRAM:
                yield relative

    def product(self, path: str) -> Product:
        """Return the record of a product. Raises OSError, and ValueError for a link out of the directory."""
        full = f"{self.path}/{path}"
        real, home = os.path.realpath(full), os.path.realpath(self.path)
        if not f"{real}/".startswith(f"{home}/") or real == home:
            raise ValueError(f"product {path} is a link to {real}, outside of the directory of the program")
        size, digest = directory_digest(full) if os.path.isdir(full) else file_digest(full)
        return Product(path=path, bytes=size, sha256=digest)

    def reserve(self) -> int:
        """Reserve room on the disk until the returned descriptor is closed. Raises OSError.

        A program may fill the disk, and the outcome that reports this needs some room.
        """
        hidden = f"{self.path}/.reserve"
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(hidden)
        os.write(descriptor, bytes(_RESERVED_BYTES))
        return descriptor

    def is_full(self) -> bool:
        """Whether the file system of the directory has no room left."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize < _RESERVED_BYTES

    def tail(self, name: str, most: int = _TAIL_BYTES, lines: int = _TAIL_LINES) -> str:
        """Return the last `lines` lines of a log, from at most the last `most` bytes; "" if it cannot be read."""
        try:
            with open(f"{self.path}/{name}", "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - most))
                found = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(found[1 if size > most else 0 :][-lines:])

    def remove_empty_logs(self, kept: Sequence[str]) -> None:
        """Remove the logs that the program wrote nothing to, unless they are products."""
        for name in LOGS_OF_PROGRAM:
            path = f"{self.path}/{name}"
            if name not in kept and os.path.getsize(path) == 0:
                os.unlink(path)

    def remove_failed(self) -> None:
        """Remove the directories of those earlier attempts of the call whose failure was recorded on the node.

        An attempt that a client has given up because its node was lost may still run and succeed. So may one of two
        processes of the same attempt. An attempt that was stopped may have left its state in its directory. Errors are
        only printed.
        """
        from slurm.errors import SlurmError  # noqa: PLC0415 - imports concurrent.futures

        job = self._job
        try:
            submission, names = job.submission(), freshness.list_names(self._parent)
            for attempt in range(1, 1 if submission.options.get("keep") else job.attempt):
                name = f"attempt-{attempt}"
                record = f"{job.directory}/{ATTEMPTS}/{attempt_name(job.index // submission.chunk, attempt)}"
                if [each for each in names if f"{each}-".startswith(f"{name}-")] == [name] and _has_failed(record):
                    remove_tree(f"{self._parent}/{name}")
        except (OSError, SlurmError) as error:
            print(f"{self._parent}: {error}", file=sys.stderr)


def _has_failed(path: str) -> bool:
    """Whether an attempt's record says that the attempt has failed, and was written on its node when it ended."""
    if not freshness.exists(path):
        return False
    with open_own(path) as file:
        record = Outcome.loads(file.read(), where=path)
    return record.state is None and record.phase != STOPPED


def keep_only(parent: str, output: Output, *, every: Callable[[], bool]) -> None:
    """Link `output` to the directory of the outcome, and remove the directories of other attempts, unless `every()`.

    `parent` holds the directories of a call, and `output` is the record in the element's outcome. The link is for
    people: no program reads it. Errors are only printed, because the outcome has been written.
    """
    try:
        hidden = f"{parent}/.{OUTPUT}.{os.urandom(4).hex()}"
        os.symlink(output.directory, hidden)
        os.replace(hidden, f"{parent}/{OUTPUT}")
        others = [name for name in os.listdir(parent) if name.startswith("attempt-") and name != output.directory]
        for name in () if not others or every() else others:
            remove_tree(f"{parent}/{name}")
    except OSError as error:
        print(f"{parent}: {error}", file=sys.stderr)


def remove_tree(path: str) -> None:
    """Remove a directory and everything in it, also directories without write permission. Raises OSError."""
    os.chmod(path, 0o700)
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)
    os.rmdir(path)
