"""SweepDirectory: the files of one sweep on this machine. Each file appears complete, and never changes.

Only the records of holds are removed later.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError, ProtocolError
from slurm.protocol.ranges import bounds
from slurm.sweeps.records import Collected, Hold, Shard, SweepRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

OUTPUTS = Path("sweeps/outputs")
"""The directory that holds the directories of sweeps, relative to the working directory."""
SWEEP, CONFIG, POINTS = "sweep.json", "sweep_config.yaml", "points.jsonl"
EXTENSIONS, SHARDS, CODE, COLLECTED, HOLDS = "extensions", "shards", "code", "collected", "holds"


def write_once(path: Path, data: bytes) -> bool:
    """Write a file with link(2), so that it never appears half-written; returns False if it exists.

    Raises ConfigurationError if the file cannot be written.
    """
    hidden = path.parent / f".{os.urandom(6).hex()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(hidden, path)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            return False
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()
    return True


def _read(path: Path) -> bytes:
    """Read a file of a sweep. Raises ConfigurationError if the sweep was never run, ProtocolError if it is damaged."""
    try:
        return path.read_bytes()
    except OSError as error:
        if not path.parent.exists():
            raise ConfigurationError(
                f"the sweep {path.parent.name!r} has no points yet: run(on=…) writes them"
            ) from error
        raise ProtocolError(f"cannot read {path}: {error.strerror}: the sweep is damaged") from error


class SweepDirectory:
    """The files of a sweep; each file is read once. `path` is the directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._points: list[Mapping[str, Any]] = []
        self._numbered: dict[str, dict[int, Any]] = {}

    @classmethod
    def create(
        cls, path: Path, record: SweepRecord, points: Iterable[Mapping[str, Any]], config: str | None = None
    ) -> SweepDirectory | None:
        """Write a new sweep; returns None if a sweep of this name exists. The directory appears with all of its files.

        Raises ConfigurationError if it cannot be written.
        """
        hidden = path.parent / f".{path.name}.{os.urandom(4).hex()}"
        try:
            hidden.mkdir(parents=True)
            (hidden / POINTS).write_bytes(_lines(points))
            (hidden / SWEEP).write_bytes(record.dumps())
            if config is not None:
                (hidden / CONFIG).write_text(config, encoding="utf-8")
            for name in (SHARDS, CODE, COLLECTED):
                (hidden / name).mkdir()
            try:
                hidden.rename(path)  # fails if the other directory has files
            except OSError:
                if not (path / SWEEP).exists():
                    raise
                return None
        except OSError as error:
            raise ConfigurationError(f"cannot write the sweep {path}: {error.strerror}") from error
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> SweepDirectory:
        """Open the sweep in a directory. Raises ConfigurationError if there is none, ProtocolError if it is damaged."""
        found = cls(path)
        _ = found.record
        return found

    @property
    def record(self) -> SweepRecord:
        """The record of the sweep, from `sweep.json`."""
        path = self.path / SWEEP
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            known = ", ".join(sorted(names(self.path.parent))[:5])
            raise ConfigurationError(
                f"there is no sweep {self.path.name!r} in {self.path.parent}{f'; there are {known}' if known else ''}"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
        return SweepRecord.loads(data, where=str(path))

    def points(self) -> Sequence[Mapping[str, Any]]:
        """Return the parameters of each point, by number: the first points, then the points of each extension.

        Raises ProtocolError if points are missing.
        """
        if not self._points:
            self._points.extend(_parsed(self.path / POINTS, dict))
            if len(self._points) != (count := self.record.count):
                raise ProtocolError(f"{self.path / POINTS} has {len(self._points)} points, and {SWEEP} says {count}")
        for number in self._new(EXTENSIONS, ".jsonl"):
            some = list(_parsed(self.path / EXTENSIONS / f"{number}.jsonl", dict))
            self._numbered[EXTENSIONS][number] = some
            self._points.extend(some)
        return self._points

    def extend(self, number: int, points: Iterable[Mapping[str, Any]]) -> bool:
        """Write extension `number`; returns False if another process has written it."""
        return write_once(self.path / EXTENSIONS / f"{number}.jsonl", _lines(points))

    @property
    def extensions(self) -> int:
        """The number of extensions that were read."""
        return len(self._numbered.get(EXTENSIONS, {}))

    def shards(self) -> Mapping[int, Shard]:
        """Return the shards, by number from 1."""
        for number in self._new(SHARDS, ".json"):
            path = self.path / SHARDS / f"{number}.json"
            self._numbered[SHARDS][number] = Shard.loads(_read(path), where=str(path))
        return self._numbered[SHARDS]

    def claim(self, number: int, shard: Shard) -> bool:
        """Write the record of a shard; returns False if another process has written a shard with this number."""
        return write_once(self.path / SHARDS / f"{number}.json", shard.dumps())

    def collected(self) -> Mapping[int, Sequence[Collected]]:
        """Return the collected outcomes, by the numbers of the files."""
        for number in self._new(COLLECTED, ".jsonl"):
            some = list(_parsed(self.path / COLLECTED / f"{number}.jsonl", Collected.from_json))
            self._numbered[COLLECTED][number] = some
        return self._numbered[COLLECTED]

    def collect(self, some: Iterable[Collected], tar: bytes = b"") -> int:
        """Write outcomes under the next number, after the files of their calls; returns the number."""
        data = _lines(line.to_json() for line in some)
        number = max(self._numbered.get(COLLECTED, ()), default=0) + 1
        while not self._collect(number, data, tar):
            number += 1
        return number

    def _collect(self, number: int, data: bytes, tar: bytes) -> bool:
        """Write outcomes and files under a number; returns False if another process has used the number for either."""
        files = self.path / COLLECTED / f"{number}.tar"
        if tar and not write_once(files, tar):
            return False
        done = write_once(self.path / COLLECTED / f"{number}.jsonl", data)
        if tar and not done:
            files.unlink()
        return done

    def hold(self, elements: Mapping[int, Iterable[int]]) -> Path:
        """Record that a driver is about to hold elements of shards; returns the path of the record.

        The process that releases the elements removes the record.
        """
        record = Hold(elements={str(number): bounds(some) for number, some in elements.items()})
        path = self.path / HOLDS / f"{os.urandom(8).hex()}.json"
        write_once(path, record.dumps())
        return path

    def holds(self) -> frozenset[Path]:
        """Return the paths of the records of elements that drivers hold now, or held when they died."""
        try:
            listed = os.listdir(self.path / HOLDS)
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise ProtocolError(f"cannot read {self.path / HOLDS}: {error.strerror}") from error
        return frozenset(self.path / HOLDS / name for name in listed if name.endswith(".json"))

    def has_news(self) -> bool:
        """Whether other processes have written shards or collected outcomes since this process read them."""
        return any(self._new(name, suffix) for name, suffix in ((SHARDS, ".json"), (COLLECTED, ".jsonl")))

    def _new(self, directory: str, suffix: str) -> list[int]:
        """Return the numbers of files that were not read yet, in order."""
        known = self._numbered.setdefault(directory, {})
        try:
            listed = os.listdir(self.path / directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ProtocolError(f"cannot read {self.path / directory}: {error.strerror}") from error
        if len(listed) == len(known):  # files are never removed here, so the listed files are the known ones
            return []
        stems = (name.removesuffix(suffix) for name in listed if name.endswith(suffix))
        return sorted({int(stem) for stem in stems if stem.isascii() and stem.isdecimal()} - known.keys())


def names(directory: Path = OUTPUTS) -> list[str]:
    """Return the names of the sweeps in a directory."""
    try:
        return [name for name in os.listdir(directory) if (directory / name / SWEEP).exists()]
    except FileNotFoundError:
        return []


def _lines(values: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the values as JSON, one value on each line."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    return "".join([f"{encode(value)}\n" for value in values]).encode()


def _parsed(path: Path, make: Callable[[Any], T]) -> Iterator[T]:
    """Yield the values of a file of JSON lines. Raises ProtocolError with the number of an invalid line."""
    data = _read(path)
    if data and not data.endswith(b"\n"):
        raise ProtocolError(f"{path} is cut off: its last line has no end")
    lines = data.split(b"\n")[:-1]
    try:  # one call for all lines is faster than one for each
        values = json.loads(b"[%b]" % b",".join(lines))
    except ValueError:
        values = []
    for number, line in enumerate(lines, 1):
        try:
            yield make(values[number - 1] if len(values) == len(lines) else json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProtocolError(f"{path}:{number} is not valid: {error}") from error
