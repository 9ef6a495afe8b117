"""OutcomeSources: the source from which to read how each submission ended. The default is its job directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.errors import TransportError
    from slurm.protocol.outcomes import Outcome
    from slurm.storage.job_store import Outcomes
    from slurm.storage.results import FetchedResults


class OutcomeSource(Protocol):
    """Reads how elements of submissions have ended. `JobStore` reads it from `outcomes/` and `results/`."""

    def done(self, keys: Sequence[str]) -> Mapping[str, frozenset[int] | TransportError]:
        """List the elements of each submission that have an outcome, or an error. May omit elements listed before."""

    def outcomes(self, key: str, indices: Iterable[int], *, chunk: int) -> Mapping[int, Outcome]:
        """Read the outcomes of the calls that have one."""

    def several_outcomes(self, wanted: Mapping[str, Iterable[int]]) -> Mapping[str, Outcomes]:
        """Read the outcomes of elements of several submissions."""

    def read_results(self, key: str, indices: Iterable[int], *, chunk: int) -> FetchedResults:
        """Read the outcomes and results of calls."""


class OutcomeSources:
    """An `OutcomeSource` for all submissions of a place. It reads the job directory if no source was added."""

    def __init__(self, store: OutcomeSource) -> None:
        self._store = store
        self._own: WeakValueDictionary[str, OutcomeSource] = WeakValueDictionary()

    def add(self, key: str, source: OutcomeSource) -> None:
        """Read a submission from this source as long as the source is used."""
        self._own[key] = source

    def own(self, key: str) -> OutcomeSource | None:
        """The source that was added for a submission, if it is still used."""
        return self._own.get(key)

    def done(self, keys: Sequence[str]) -> Mapping[str, frozenset[int] | TransportError]:
        """List the elements of each submission that have an outcome, or an error. See `OutcomeSource`."""
        found: dict[str, frozenset[int] | TransportError] = {}
        for source, some in self._by_source(keys):
            found.update(source.done(some))
        return found

    def outcomes(self, key: str, indices: Iterable[int], *, chunk: int) -> Mapping[int, Outcome]:
        """Read the outcomes of the calls that have one."""
        return self._of(key).outcomes(key, indices, chunk=chunk)

    def several_outcomes(self, wanted: Mapping[str, Iterable[int]]) -> Mapping[str, Outcomes]:
        """Read the outcomes of elements of several submissions."""
        found: dict[str, Outcomes] = {}
        for source, keys in self._by_source(wanted):
            found.update(source.several_outcomes({key: wanted[key] for key in keys}))
        return found

    def read_results(self, key: str, indices: Iterable[int], *, chunk: int) -> FetchedResults:
        """Read the outcomes and results of calls."""
        return self._of(key).read_results(key, indices, chunk=chunk)

    def _of(self, key: str) -> OutcomeSource:
        return self._own.get(key) or self._store

    def _by_source(self, keys: Iterable[str]) -> Iterable[tuple[OutcomeSource, list[str]]]:
        """The sources of submissions, each with its keys, so that each source reads its submissions together."""
        found: dict[int, tuple[OutcomeSource, list[str]]] = {}
        for key in keys:
            source = self._of(key)
            found.setdefault(id(source), (source, []))[1].append(key)
        return found.values()
