"""Handle: what a job and an array of jobs share: some calls of a submission, at a place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.jobs.submit import resubmit
from slurm.options import Options
from slurm.serialization import Placeholder
from slurm.tracking.result_reader import ResultReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.options.types import TaskOptions
    from slurm.places.place import Place
    from slurm.protocol.outcomes import Outcome
    from slurm.submission.submission_state import SubmissionState


class Handle(Placeholder):
    """Some calls of a submission at a place."""

    __slots__ = ("_place", "_watched")

    def __init__(self, place: Place, watched: SubmissionState) -> None:
        self._place, self._watched = place, watched

    @property
    def directory(self) -> str:
        """The path of the submission's directory, there."""
        return self._place.store.directory(self._watched.key)

    @property
    def _url(self) -> str:
        return str(self._place.url)

    def _read(self, indices: Sequence[int], *, logs: bool = False) -> ResultReader:
        return ResultReader(self._place.store, self._place.tracker, self._watched, indices, logs=logs)

    def _outcomes(self, indices: Iterable[int]) -> Mapping[int, Outcome]:
        return self._place.store.outcomes(self._watched.key, indices, chunk=self._watched.chunk)

    def _resubmit(self, indices: Sequence[int], options: TaskOptions) -> SubmissionState:
        return resubmit(self._place, self._watched.key, indices, Options.parse(options))

    def _look(self, indices: Sequence[int]) -> bool:
        """Whether some calls have ended. Looks at the place unless this process knows already."""
        if not all(map(self._watched.finished, indices)):
            self._place.tracker.list_outcomes([self._watched])
        return all(map(self._watched.finished, indices))

    def _wait(self, indices: Sequence[int], timeout: float | None) -> None:
        """Wait until calls have ended. Raises TimeoutError, or KeyboardInterrupt with words on how to come back."""
        try:
            if not indices or self._place.tracker.wait(self._watched, indices, timeout):
                return
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._come_back(indices)) from None
        left, key = len(indices) - sum(map(self._watched.finished, indices)), self._watched.key
        one = f"job {self._watched.name(indices[0])} has"
        which = one if len(indices) == 1 else f"{left} of {len(indices)} jobs of {key} have"
        raise TimeoutError(f"{which} not ended after {timeout} s. {self._come_back(indices)}")

    def _come_back(self, indices: Sequence[int]) -> str:
        if len(indices) == 1:
            name, words = self._watched.name(indices[0]), "job goes on; come back to it"
        else:
            name, words = self._watched.key, "jobs go on; come back to them"
        return f"The {words} with Cluster({self._url!r}).job({name!r})"
