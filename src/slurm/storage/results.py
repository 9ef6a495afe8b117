"""FetchedResults: the outcomes and results of calls, read in one round trip and checked."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ProtocolError, TransportError
from slurm.protocol import OUTCOMES, RESULTS, outcome_name
from slurm.protocol.outcomes import Outcome
from slurm.serialization.unpickling import SignalWatch, load
from slurm.transports.base import RETRIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.errors import SlurmError
    from slurm.transports.base import Fetched, Transport


class FetchedResults(NamedTuple):
    """What has become of calls."""

    results: dict[int, Any]
    unloaded: dict[int, BaseException]
    """Why an end can't be told: a ProtocolError for a damaged outcome or result, a TransportError for one that can't be
    read, else what unpickling the result raised."""
    elements: dict[int, Outcome]
    chunk: int

    def outcome(self, index: int) -> Outcome | None:
        """The outcome of a call, if there is one."""
        element = self.elements.get(index // self.chunk)
        return element and element.of_call(index % self.chunk)

    def load(self, file: Fetched, outcome: Outcome, indices: Iterable[int], signals: SignalWatch) -> None:
        """Unpickle the results of calls of one element from its file: the user's own, by its owner, mode and sha256."""
        record, sha256 = outcome.result, hashlib.sha256()
        for block in file.blocks():
            sha256.update(block)
        if record is None or file.size != record.bytes or sha256.hexdigest() != record.sha256:
            self.unloaded.update(dict.fromkeys(indices, _changed(file.path, "its bytes have changed")))
            return
        ends, at = outcome.ends or (record.bytes,), -1
        for index in indices:
            call = index % self.chunk
            begin = ends[call - 1] if call else 0
            if begin < ends[call]:  # a pickle is never empty, so this is that of a success
                if begin != at:  # a seek takes longer than to unpickle what is small
                    file.file.seek(file.begin + begin)
                at = -1
                try:
                    self.results[index] = load(file.file)
                    at = ends[call]
                except BaseException as error:  # noqa: BLE001 - unpickling runs the user's own code, which may exit
                    signals.raise_if_sent()
                    self.unloaded[index] = error

    def fail(self, indices: Iterable[int], error: SlurmError) -> None:
        """These calls have ended, and how can't be told."""
        self.unloaded.update(dict.fromkeys(indices, error))


def read_ends(transport: Transport, directory: str, indices: Iterable[int], *, chunk: int) -> FetchedResults:
    """What has become of some calls of the submission in a directory there.

    What is wrong with a file is told for its calls only. One that can't be read is tried twice more.
    """
    reader = _Reader(directory, indices, chunk)
    with SignalWatch() as signals:
        for pause in (0.0, *RETRIES):
            time.sleep(pause)
            reader.take(transport, reader.first if not pause else list(reader.unread), signals)
            if reader.expected:  # results of attempts that met another's
                reader.take(transport, list(reader.expected), signals)
            if not reader.unread:
                break
    return reader.found_all()


class _Reader:
    """Reads the outcomes and results of some calls, as they come."""

    def __init__(self, directory: str, indices: Iterable[int], chunk: int) -> None:
        self._wanted: dict[int, list[int]] = {}
        for index in indices:
            self._wanted.setdefault(index // chunk, []).append(index)
        outcomes, self._results = (f"{directory}/{place}" for place in (OUTCOMES, RESULTS))
        self._records = {f"{outcomes}/{outcome_name(element)}": element for element in self._wanted}
        self._found = FetchedResults({}, {}, {}, chunk)
        self.first = [*self._records, *(f"{self._results}/{element}.pkl" for element in self._wanted)]
        self.expected: dict[str, int] = {}
        """The results' files that are still to come, and whose they are."""
        self.unread: dict[str, TransportError] = {}

    def take(self, transport: Transport, paths: Sequence[str], signals: SignalWatch) -> None:
        """Read files: outcomes, or results whose outcomes are known."""
        for file in transport.fetch(paths, private=True):
            element = self._records.get(file.path, self.expected.get(file.path))
            if element is None:
                continue
            self.unread.pop(file.path, None)
            try:
                if file.path in self._records:
                    self._note(element, file)
                else:
                    self._found.load(file, self._found.elements[element], self._wanted[element], signals)
                    del self.expected[file.path]
            except TransportError as error:
                self.unread[file.path] = error
            except ProtocolError as error:
                self.expected.pop(file.path, None)
                self._found.fail(self._wanted[element], error)

    def _note(self, element: int, file: Fetched) -> None:
        outcome = Outcome.loads(b"".join(file.blocks()), where=file.path)
        calls = 1 if outcome.ends is None else len(outcome.ends)
        if outcome.succeeded and (outcome.result is None or self._last(element) >= calls):
            message = f"{file.path} is not an outcome of these calls: it names no result of call {self._last(element)}"
            raise ProtocolError(message)
        if outcome.ends is not None and self._last(element) >= calls:
            message = f"{file.path} is not an outcome of these calls: it tells of {calls}"
            raise ProtocolError(message)
        self._found.elements[element] = outcome
        if outcome.result:
            self.expected[f"{self._results}/{outcome.result.file}"] = element

    def _last(self, element: int) -> int:
        """The place in an element of the last of its calls that are wanted."""
        return max(index % self._found.chunk for index in self._wanted[element])

    def found_all(self) -> FetchedResults:
        """What was read, and why the rest wasn't."""
        for path, error in self.unread.items():
            self._found.fail(self._wanted[self._records.get(path, self.expected.pop(path, -1))], error)
        for path, element in self.expected.items():
            self._found.fail(self._wanted[element], _changed(path, "it is gone"))
        return self._found


def _changed(path: str, how: str) -> ProtocolError:
    return ProtocolError(f"{path} is not the result that was saved: {how}")
