"""Ends: what has become of calls, as their outcomes and results tell, read in one go and checked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ProtocolError
from slurm.protocol import OUTCOMES, RESULTS, outcome_name
from slurm.protocol.outcomes import Outcome
from slurm.serialization.unpickling import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.transports.base import Fetched, Transport


class Ends(NamedTuple):
    """What has become of calls."""

    results: dict[int, Any]
    unloaded: dict[int, Exception]
    """Why a result can't be had: a ProtocolError if it isn't what its outcome says, else what unpickling it raised."""
    elements: dict[int, Outcome]
    chunk: int

    def outcome(self, index: int) -> Outcome | None:
        """The outcome of a call, if there is one."""
        element = self.elements.get(index // self.chunk)
        return element and element.of_call(index % self.chunk)

    def load(self, file: Fetched, outcome: Outcome, indices: Iterable[int]) -> None:
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
                except Exception as error:  # noqa: BLE001 - unpickling runs the user's own code
                    self.unloaded[index] = error


def read_ends(transport: Transport, directory: str, indices: Iterable[int], *, chunk: int) -> Ends:
    """What has become of some calls of the submission in a directory there."""
    wanted: dict[int, list[int]] = {}
    for index in indices:
        wanted.setdefault(index // chunk, []).append(index)
    outcomes, results = (f"{directory}/{place}" for place in (OUTCOMES, RESULTS))
    records = {f"{outcomes}/{outcome_name(element)}": element for element in wanted}
    found, expected = Ends({}, {}, {}, chunk), dict[str, int]()

    def take(paths: Sequence[str]) -> None:
        for file in transport.fetch(paths, private=True):
            if file.path in records:
                element = records[file.path]
                outcome = Outcome.loads(b"".join(file.blocks()), where=file.path)
                found.elements[element] = outcome
                if outcome.result:
                    expected[f"{results}/{outcome.result.file}"] = element
            elif file.path in expected:
                element = expected.pop(file.path)
                found.load(file, found.elements[element], wanted[element])

    take([*records, *(f"{results}/{element}.pkl" for element in wanted)])
    if expected:  # results of attempts that met another's
        take(list(expected))
    for path, element in expected.items():
        found.unloaded.update(dict.fromkeys(wanted[element], _changed(path, "it is gone")))
    return found


def _changed(path: str, how: str) -> ProtocolError:
    return ProtocolError(f"{path} is not the result that was saved: {how}")
