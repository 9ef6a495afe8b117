"""Results: reads and checks the outcomes and results of calls in one round trip."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ProtocolError, TransportError
from slurm.protocol import OUTCOMES, RESULTS, outcome_name
from slurm.protocol.outcomes import Outcome
from slurm.runner.finished import Finished
from slurm.serialization.unpickling import SignalWatch, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.errors import SlurmError
    from slurm.transports.base import Fetched, Transport


class FetchedResults(NamedTuple):
    """The outcomes and results of calls."""

    results: dict[int, Any]
    unloaded: dict[int, BaseException]
    """An error for each call without a usable outcome or result: ProtocolError if it is damaged, TransportError if it
    cannot be read, else what unpickling the result raised."""
    elements: dict[int, Outcome]
    chunk: int

    def outcome(self, index: int) -> Outcome | None:
        """Return the outcome of a call, if there is one."""
        element = self.elements.get(index // self.chunk)
        return element and element.of_call(index % self.chunk)

    def load(self, file: Fetched, outcome: Outcome, indices: Iterable[int], signals: SignalWatch) -> None:
        """Unpickle results of an element's calls from its file, if the size and SHA-256 of the file are as recorded."""
        record, sha256 = outcome.result, hashlib.sha256()
        for block in file.blocks():
            sha256.update(block)
        if record is None or file.size != record.bytes or sha256.hexdigest() != record.sha256:
            self.unloaded.update(dict.fromkeys(indices, _changed(file.path, "its size or SHA-256 differs")))
            return
        ends, at = outcome.ends or (record.bytes,), -1
        for index in indices:
            call = index % self.chunk
            begin = ends[call - 1] if call else 0
            if begin < ends[call]:  # a pickle is never empty, so the call succeeded
                if begin != at:  # a seek takes longer than unpickling a small value
                    file.file.seek(file.begin + begin)
                at = -1
                try:
                    self.results[index] = load(file.file)
                    at = ends[call]
                except BaseException as error:  # noqa: BLE001 - unpickling runs the user's own code, which may exit
                    signals.raise_if_sent()
                    self.unloaded[index] = error

    def fail(self, indices: Iterable[int], error: SlurmError) -> None:
        """Record an error for calls whose outcome or result is unusable."""
        self.unloaded.update(dict.fromkeys(indices, error))


def read_results(transport: Transport, directory: str, indices: Iterable[int], *, chunk: int) -> FetchedResults:
    """Read the outcomes and results of calls of the submission in `directory`.

    An error affects only the calls of its file. A file that cannot be read is tried twice more. Takes one round trip;
    two if an attempt wrote its result under another name because the file existed already.
    """
    reader = _Reader(directory, indices, chunk)
    with SignalWatch() as signals:
        for pause in (0.0, *transport.read_pauses):
            time.sleep(pause)
            reader.read(transport, reader.first if not pause else list(reader.unread), signals)
            if reader.expected:  # results that an attempt wrote under another name
                reader.read(transport, list(reader.expected), signals)
            if not reader.unread:
                break
    return reader.finish()


class _Reader:
    """Collects outcomes and results while files arrive."""

    def __init__(self, directory: str, indices: Iterable[int], chunk: int) -> None:
        self._wanted: dict[int, list[int]] = {}
        for index in indices:
            self._wanted.setdefault(index // chunk, []).append(index)
        self._directory = directory
        outcomes, self._results = (f"{directory}/{name}" for name in (OUTCOMES, RESULTS))
        self._records = {f"{outcomes}/{outcome_name(element)}": element for element in self._wanted}
        self._found = FetchedResults({}, {}, {}, chunk)
        self.first = [*self._records, *(f"{self._results}/{element}.pkl" for element in self._wanted)]
        self.expected: dict[str, int] = {}
        """Result files that have not arrived yet, and the element of each."""
        self.unread: dict[str, TransportError] = {}

    def read(self, transport: Transport, paths: Sequence[str], signals: SignalWatch) -> None:
        """Read files: outcomes, and results whose outcomes are known."""
        for file in transport.fetch(paths, private=True):
            element = self._records.get(file.path, self.expected.get(file.path))
            if element is None:
                continue
            self.unread.pop(file.path, None)
            try:
                if file.path in self._records:
                    self._add_outcome(element, file)
                else:
                    self._found.load(file, self._found.elements[element], self._wanted[element], signals)
                    del self.expected[file.path]
            except TransportError as error:
                self.unread[file.path] = error
            except ProtocolError as error:
                self.expected.pop(file.path, None)
                self._found.fail(self._wanted[element], error)

    def _add_outcome(self, element: int, file: Fetched) -> None:
        outcome = Outcome.loads(b"".join(file.blocks()), where=file.path)
        calls = 1 if outcome.ends is None else len(outcome.ends)
        recorded = Finished.of(outcome, self._directory, self._wanted[element][0]) if calls == 1 else None
        if outcome.succeeded and (not (outcome.result or recorded) or self._last(element) >= calls):
            raise ProtocolError(
                f"{file.path} is not the outcome of these calls: it has no result of call {self._last(element)}"
            )
        if outcome.ends is not None and self._last(element) >= calls:
            raise ProtocolError(f"{file.path} is not the outcome of these calls: it describes {calls} calls")
        self._found.elements[element] = outcome
        if recorded:
            self._found.results.update(dict.fromkeys(self._wanted[element], recorded))
        if outcome.result:
            self.expected[f"{self._results}/{outcome.result.file}"] = element

    def _last(self, element: int) -> int:
        """The position, within an element, of the last requested call."""
        return max(index % self._found.chunk for index in self._wanted[element])

    def finish(self) -> FetchedResults:
        """Return what was read, with an error for everything else."""
        for path, error in self.unread.items():
            self._found.fail(self._wanted[self._records.get(path, self.expected.pop(path, -1))], error)
        for path, element in self.expected.items():
            self._found.fail(self._wanted[element], _changed(path, "the file is missing"))
        return self._found


def _changed(path: str, how: str) -> ProtocolError:
    return ProtocolError(f"{path} is not the result that was saved: {how}")
