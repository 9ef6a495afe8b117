"""ResultReader: the result of each call that has ended, or the exception that replaces it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.errors import NoSuchJob, ResultNotLoaded, SlurmError
from slurm.submission import dependencies
from slurm.tracking import exceptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.protocol.outcomes import Outcome
    from slurm.storage.job_store import JobStore
    from slurm.submission.submission_state import SubmissionState
    from slurm.tracking.tracker import Tracker


class ResultReader:
    """What has become of some calls of a submission, read in one go when this is made.

    How logs end is read for those that an error needs, one command each; for all at once with `logs`.
    """

    def __init__(
        self, store: JobStore, tracker: Tracker, watched: SubmissionState, indices: Sequence[int], *, logs: bool = False
    ) -> None:
        self._store, self._tracker, self._watched = store, tracker, watched
        self._ends = store.read_results(watched.key, indices, chunk=watched.chunk)
        watched.learn_outcomes(self._ends.elements)
        self._tails = dict(store.log_tails(self._silent(indices))) if logs else {}

    def of(self, index: int) -> tuple[Any, BaseException | None]:
        """A call's result and None, or None and its exception.

        That is a ProtocolError if its outcome or result isn't what was saved, a TransportError if it can't be read.
        """
        if index in self._ends.results:
            return self._ends.results[index], None
        error = self._ends.unloaded.get(index)
        if error is None:
            return None, self._error(index, self._ends.outcome(index))
        return None, error if isinstance(error, SlurmError) else self._not_loaded(index, error)

    def take(self, index: int) -> tuple[Any, BaseException | None]:
        """Return the same, and keep no reference to the result."""
        found = self.of(index)
        self._ends.results.pop(index, None)
        return found

    def _silent(self, indices: Sequence[int]) -> list[str]:
        """The logs of those that ended without a word of what went wrong."""
        told = self._ends.results.keys() | self._ends.unloaded.keys()
        outcomes = {index: self._ends.outcome(index) for index in indices if index not in told}
        silent = {index: outcome for index, outcome in outcomes.items() if exceptions.without_a_word(outcome)}
        return list(dict.fromkeys(self._log(index, outcome) for index, outcome in silent.items()))

    def _log(self, index: int, outcome: Outcome | None) -> str:
        return f"{self._store.directory(self._watched.key)}/{self._watched.log(index, (outcome and outcome.rank) or 0)}"

    def _error(self, index: int, outcome: Outcome | None) -> BaseException:
        """The exception for an end without a result; where a signal ended it, the scheduler may know why."""
        watched, element = self._watched, self._watched.element(index)
        facts = self._facts(index, outcome, tail=exceptions.without_a_word(outcome))
        if outcome is None:
            known = watched.final_status(index)
            if known is None:
                return NoSuchJob(f"job {facts.key} has ended, and its directory was removed since")
            ending = known
        else:
            told = self._tracker.explain(watched, index) if exceptions.by_signal(outcome) else None
            if told is None:
                return exceptions.of_outcome(outcome, facts)
            ending = told
        failed = None
        if ending.report and ending.report.dependency_failed:
            failed = dependencies.failed_upstreams(self._store, watched.key, [element]).get(element)
        return exceptions.of_ending(ending, facts, failed)

    def _facts(self, index: int, outcome: Outcome | None = None, *, tail: bool = False) -> exceptions.Facts:
        log = self._log(index, outcome)
        if tail and log not in self._tails:
            self._tails[log] = self._store.log_tail(log)
        rank = "" if outcome is None or outcome.rank is None else f"rank {outcome.rank} of {outcome.ranks}"
        words = self._tails[log] if tail else ""
        return exceptions.Facts(self._watched.name(index), index, self._watched.job_id(index), log, words, rank)

    def _not_loaded(self, index: int, error: BaseException) -> ResultNotLoaded:
        facts = self._facts(index)
        message = f"the result of job {facts.key} can't be loaded here: {_words(error)}"
        failed = ResultNotLoaded(message, key=facts.key, index=index, job_id=facts.job_id, log=facts.log)
        failed.__cause__ = error
        return failed


def _words(error: BaseException) -> str:
    """An exception's type and text; without the text if its own `__str__` fails."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - the user's own code, as all that unpickling runs
        return type(error).__name__
