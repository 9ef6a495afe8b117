"""ResultReader: the result of each call that has ended, or the exception that replaces it."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from slurm.errors import NoSuchJob, ResultNotLoaded, SlurmError
from slurm.options.retry import of_options
from slurm.submission import dependencies
from slurm.tracking import exceptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.options.retry import Retry
    from slurm.protocol import ResolvedEnvironment, Submission
    from slurm.protocol.outcomes import Outcome
    from slurm.storage.job_store import JobStore
    from slurm.storage.outcome_sources import OutcomeSource
    from slurm.submission.submission_state import SubmissionState
    from slurm.tracking.tracker import Tracker


class ResultReader:
    """Reads the outcomes and results of some calls of a submission when it is constructed.

    Reads the end of a log when an error needs it, with one command for each log; with `logs`, reads all together.
    """

    def __init__(
        self,
        store: JobStore,
        tracker: Tracker,
        watched: SubmissionState,
        indices: Sequence[int],
        *,
        source: OutcomeSource,
        logs: bool = False,
    ) -> None:
        self._store, self._tracker, self._watched = store, tracker, watched
        self._read = source.read_results(watched.key, indices, chunk=watched.chunk)
        watched.learn_outcomes(self._read.elements)
        self._tails = dict(store.log_tails(self._unexplained_logs(indices))) if logs else {}

    def of(self, index: int) -> tuple[Any, BaseException | None]:
        """A call's result and None, or None and its exception.

        The exception is a ProtocolError if the outcome or result is damaged, a TransportError if it cannot be read.
        """
        if index in self._read.results:
            return self._read.results[index], None
        error = self._read.unloaded.get(index)
        if error is None:
            return None, self._error(index, self._read.outcome(index))
        return None, error if isinstance(error, SlurmError) else self._not_loaded(index, error)

    def take(self, index: int) -> tuple[Any, BaseException | None]:
        """Return the same as `of`, and keep no reference to the result."""
        found = self.of(index)
        self._read.results.pop(index, None)
        return found

    def _unexplained_logs(self, indices: Sequence[int]) -> list[str]:
        """The logs of the calls whose failures are not explained by their outcomes."""
        read = self._read.results.keys() | self._read.unloaded.keys()
        outcomes = {index: self._read.outcome(index) for index in indices if index not in read}
        logs = [self._log(index, outcome) for index, outcome in outcomes.items() if exceptions.unexplained(outcome)]
        return list(dict.fromkeys(logs))

    def _log(self, index: int, outcome: Outcome | None) -> str:
        log = self._watched.log(index, (outcome and outcome.rank) or 0)
        return normpath(f"{self._store.directory(self._watched.key)}/{log}")  # of a call of a pool: ../../logs/0.log

    def _error(self, index: int, outcome: Outcome | None) -> BaseException:
        """The exception for a call without a result. If a signal ended it, the scheduler may know the reason."""
        watched, element = self._watched, self._watched.element(index)
        facts = self._facts(index, outcome, tail=exceptions.unexplained(outcome))
        if outcome is None:
            status = watched.final_status(index)
        else:
            status = self._tracker.explain(watched, index) if exceptions.by_signal(outcome) else None
        if status is None:
            removed = NoSuchJob(f"job {facts.key} has ended, and its directory was removed")
            return removed if outcome is None else exceptions.of_outcome(outcome, facts)
        failed = None
        if status.report and status.report.dependency_failed:
            failed = dependencies.failed_upstreams(self._store, watched.key, [element]).get(element)
        return exceptions.of_status(status, facts, failed)

    def _facts(self, index: int, outcome: Outcome | None = None, *, tail: bool = False) -> exceptions.Facts:
        log = self._log(index, outcome)
        if tail and log not in self._tails:
            self._tails[log] = self._store.log_tail(log)
        rank = "" if outcome is None or outcome.rank is None else f"rank {outcome.rank} of {outcome.ranks}"
        end = self._tails[log] if tail else ""
        there = self._environment if exceptions.is_missing_module(outcome) else None
        retry = self._retry if self._watched.continues and exceptions.is_raised(outcome) else None
        of = self._watched.functions
        function, job_id = of.of(index) if of else "", self._watched.job_id(index)
        return exceptions.Facts(self._watched.name(index), index, job_id, log, end, rank, function, there, retry)

    @cached_property
    def _environment(self) -> ResolvedEnvironment | None:
        """The environment of the calls; None if the record cannot be read now."""
        return self._submission.environment if self._submission else None

    @cached_property
    def _retry(self) -> Retry | None:
        """The option `retry` of the calls; None without it, or if the record cannot be read now."""
        return of_options(self._submission.options.get) if self._submission else None

    @cached_property
    def _submission(self) -> Submission | None:
        with suppress(SlurmError):
            return self._store.records(self._watched.key).submission
        return None

    def _not_loaded(self, index: int, error: BaseException) -> ResultNotLoaded:
        facts = self._facts(index)
        try:
            text = f"{type(error).__name__}: {error}"
        except BaseException:  # noqa: BLE001 - the exception's own `__str__`, which is the user's code
            text = type(error).__name__
        message = f"the result of job {facts.key} cannot be loaded here: {text}"
        failed = ResultNotLoaded(message, key=facts.key, index=index, job_id=facts.job_id, log=facts.log)
        failed.__cause__ = error
        return failed
