"""AnsweredCalls: the outcomes of a client's calls in a pool, with the interface that `JobStore` has for submissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.pools.answers import Answers
    from slurm.pools.pool_files import PoolFiles
    from slurm.pools.relayed_files import RelayedFiles
    from slurm.protocol.outcomes import Outcome
    from slurm.storage.job_store import Outcomes
    from slurm.storage.results import FetchedResults
    from slurm.submission.submission_state import SubmissionState


class AnsweredCalls:
    """An `OutcomeSource`: reads the answers of the pool's elements."""

    _directory: str
    _place: Place
    _pool: SubmissionState
    _pool_files: PoolFiles | RelayedFiles
    _answers: Answers

    def _read(self) -> frozenset[int]:
        """Read new answers; record and return the calls that have ended. Raises what `Answers.read` raises."""
        raise NotImplementedError

    def done(self, keys: Sequence[str]) -> Mapping[str, frozenset[int] | TransportError]:
        """Read new answers; return the calls that have ended."""
        try:
            return dict.fromkeys(keys, self._read())
        except OSError as error:
            return dict.fromkeys(keys, TransportError(str(error)))

    def outcomes(self, key: str, indices: Iterable[int], *, chunk: int) -> Mapping[int, Outcome]:
        """Read the outcomes of the calls that have ended. Raises SlurmError if one cannot be read."""
        del key, chunk
        found = self._answers.outcomes(indices)
        for error in found.unreadable.values():
            raise error
        return found.read

    def several_outcomes(self, wanted: Mapping[str, Iterable[int]]) -> Mapping[str, Outcomes]:
        """Read the outcomes of the calls that have ended."""
        return {key: self._answers.outcomes(indices) for key, indices in wanted.items()}

    def read_results(self, key: str, indices: Iterable[int], *, chunk: int) -> FetchedResults:
        """Read results, and the outcomes of calls that have failed."""
        del key, chunk
        return self._answers.results(indices)

    def output(self, index: int, begin: int = 0) -> bytes:
        """Read what a call has printed so far, from the byte `begin` on. Raises TransportError."""
        where = self._answers.output(index)
        if where is None:
            return b""
        path = f"{self._place.store.directory(self._pool.key)}/{self._pool.log(where.element, where.worker)}"
        try:
            return self._pool_files.log(path, where.begin + begin, where.end)
        except OSError as error:
            raise TransportError(f"{path} cannot be read: {error}") from error
