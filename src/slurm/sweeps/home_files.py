"""Home files: read the logs and output files of points from `collected/<n>.tar`."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from slurm.errors import ProtocolError, TransportError
from slurm.protocol import WORK, stderr_log
from slurm.storage.download import target
from slurm.storage.patterns import Pattern
from slurm.storage.program_logs import output_paths
from slurm.storage.work_files import WorkFile
from slurm.sweeps.directory import COLLECTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.sweeps.records import Collected


class HomeFiles:
    """The tar files of one sweep, each listed once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / COLLECTED
        self._members: dict[int, Mapping[str, tarfile.TarInfo]] = {}

    def files(self, number: int, line: Collected) -> list[WorkFile]:
        """Return the output files of a call, sorted by name.

        The `path` of each is the path of the tar file, and its `identity` is the name in the tar file.
        """
        top, path = f"{line.shard}/{WORK}/{line.call}/", str(self._path(number))
        found = ((name, info.size) for name, info in self._listed(number).items() if name.startswith(top))
        return [WorkFile(name.removeprefix(top), size, path, name) for name, size in sorted(found)]

    def log(self, number: int, line: Collected, rank: int = 0, *, stderr: bool = False) -> str:
        """Return the log of a call, with the output of its program; empty if the call has no log."""
        log = line.log or ""
        own = f"{log.removesuffix('.log')}.{rank}.log" if rank else log
        text = self._text(number, f"{line.shard}/{stderr_log(own) if stderr else own}")
        outputs = output_paths(line.call, text)
        return text + "".join(self._text(number, f"{line.shard}/{path}") for path in outputs)

    def copy(self, number: int, line: Collected, patterns: Sequence[str], to: str | os.PathLike[str]) -> list[Path]:
        """Copy the output files that match any of `patterns`, or all without patterns, to a directory; return their new
        paths.

        Raises TransportError if a pattern matches no file.
        """
        files, chosen = self.files(number, line), dict[str, WorkFile]()
        for pattern in map(Pattern, patterns):
            matching = {file.name: file for file in files if pattern.matches(file.name)}
            if not matching:
                raise TransportError(f"point {line.point} has {pattern.no_match(file.name for file in files)}")
            chosen |= matching
        paths = []
        for file in chosen.values() if patterns else files:
            path = Path(target(os.path.abspath(to), file.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            hidden = path.parent / f".slurm-{os.urandom(6).hex()}"
            hidden.write_bytes(self._read(number, file.identity))
            paths.append(hidden.replace(path))
        return paths

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.tar"

    def _listed(self, number: int) -> Mapping[str, tarfile.TarInfo]:
        if number not in self._members:
            path = self._path(number)
            try:
                with tarfile.open(path) as tar:
                    self._members[number] = {info.name: info for info in tar}
            except FileNotFoundError:
                self._members[number] = {}  # the calls of this collection have left no files
            except (OSError, tarfile.TarError) as error:
                raise ProtocolError(f"cannot read {path}: {error}") from error
        return self._members[number]

    def _read(self, number: int, name: str) -> bytes:
        info = self._listed(number).get(name)
        if info is None:
            return b""
        with self._path(number).open("rb") as file:
            file.seek(info.offset_data)
            data = file.read(info.size)
        if len(data) != info.size:
            raise ProtocolError(f"{self._path(number)} is cut off")
        return data

    def _text(self, number: int, name: str) -> str:
        return self._read(number, name).decode(errors="replace")
