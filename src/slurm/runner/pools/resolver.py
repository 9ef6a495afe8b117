"""PoolResolver: replaces references to calls of pools by their results. The client has written where these are."""

from __future__ import annotations

from _io import BytesIO
from _pickle import Unpickler

from slurm.protocol import RESULTS
from slurm.protocol.checking import read as read_record
from slurm.protocol.files import open_own
from slurm.protocol.frames import LARGE, RESULT, wait_for_frame
from slurm.protocol.outcomes import ResultRecord
from slurm.protocol.pools import OUT
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.placeholder_resolver import LAG, PlaceholderResolver, unpickled_result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class PoolResolver(PlaceholderResolver):
    """Reads results of earlier submissions, and of calls of pools in the same root."""

    places: Mapping[str, Mapping[str, tuple[str, int]]] = {}
    """The outbox and the offset of each answer, by the key of its client and the number of the call."""

    def _loader(self, key: str, index: int, chunk: int) -> Callable[[], Any]:
        place = self.places.get(key, {}).get(f"{index}")
        if place is None:
            return super()._loader(key, index, chunk)
        return lambda: self._answer(self._directory(key), index, *place)

    @staticmethod
    def _answer(directory: str, index: int, outbox: str, offset: int) -> Any:
        path = f"{directory}/{OUT}/{outbox}"
        frame = wait_for_frame(path, offset, LAG)
        if frame.head.number == index and frame.head.kind == RESULT:
            return Unpickler(BytesIO(frame.body)).load()
        if frame.head.number != index or frame.head.kind != LARGE:
            raise ValueError(f"{path} has no result at {offset}")
        record = read_record(ResultRecord, __import__("json").loads(frame.body))
        with open_own(f"{directory}/{RESULTS}/{record.file}") as file:
            return unpickled_result(file, record)
