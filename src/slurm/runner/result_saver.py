"""ResultSaver: write the result of a call, and then the outcome that commits it."""

from __future__ import annotations

import os
import sys
import time
from itertools import accumulate

from slurm.protocol import (
    ATTEMPTS,
    FAILED,
    OUTCOMES,
    RESULTS,
    RUN,
    SAVE,
    STOPPED,
    SUCCEEDED,
    attempt_name,
    begun_name,
    freshness,
    outcome_name,
)
from slurm.protocol.files import NewFile, commit, open_own
from slurm.protocol.outcomes import CallFailure, ErrorRecord, Outcome, ResultRecord, class_name
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.distributions import distributions_digest, sha256
from slurm.runner.job_context import drop_checkpoints, print_to_log
from slurm.runner.pickling import pickle_into
from slurm.runner.placeholder_resolver import UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any

    from slurm.protocol.outcomes import Output
    from slurm.runner.job_context import JobContext
    from slurm.runner.metrics import Metrics

ERROR_PICKLE_LIMIT = 1 << 20
"""An exception whose pickle has more bytes is kept only as text, because clients read many outcomes at once."""

STOPPED_STATUS = 75
"""The exit status of an attempt that stopped at a checkpoint (EX_TEMPFAIL of sysexits.h). It is not 0, so that
dependents do not start."""


class ResultSaver:
    """Writes the files of one element. The first commit wins: the outcome of an earlier attempt is never replaced."""

    def __init__(
        self, job: JobContext, element: int | None = None, *, continues: bool = False, measured: bool = False
    ) -> None:
        self._job = job
        self._element = job.index if element is None else element
        self._started, self._begin = time.time(), time.monotonic()
        self._outcome = f"{job.directory}/{OUTCOMES}/{outcome_name(self._element)}"
        attempts = f"{job.directory}/{ATTEMPTS}"
        self.continues = continues
        # If another attempt may follow, the process that decides about it may turn this record into an outcome.
        self._failure = f"{attempts}/{attempt_name(self._element, job.attempt)}" if continues else self._outcome
        self.metrics = _metrics(job) if measured else None
        self._begun = f"{attempts}/{begun_name(self._element, job.attempt)}"

    def begin(self) -> None:
        """Mark the start of an attempt after the first, so that the state of the previous attempt no longer counts."""
        if self._job.attempt > 1:
            os.close(os.open(self._begun, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def earlier(self) -> Outcome | None:
        """Return the outcome that an earlier attempt of this element has committed, or None."""
        if not freshness.exists(self._outcome):
            return None
        with open_own(self._outcome) as file:
            return Outcome.loads(file.read(), where=self._outcome)

    def is_final(self, outcome: Outcome) -> bool:
        """Whether an outcome of this attempt finishes the element, so that no other attempt follows."""
        return outcome.attempt == self._job.attempt and (outcome.succeeded or not self.continues)

    def success(self, value: Any) -> Outcome:
        """Save a result and commit it. Raises any error of pickling or of the disk, without a commit."""
        outputs, result = self._outputs([value]), None
        if not outputs or not sys.modules["slurm.runner.command"].is_recorded(self._job, outputs, value):
            result = self.write(lambda file: pickle_into(file, value))
        outcome = self._commit(
            SUCCEEDED, SAVE, exit_code=0, result=result, metrics=self._metrics_of(value), outputs=outputs
        )
        drop_checkpoints(self._job, self._job.index)
        return outcome

    def stopped(self, signal: str) -> Outcome:
        """Record that the task has saved a checkpoint because of a signal and continues in another attempt."""
        return self._commit(FAILED, STOPPED, exit_code=STOPPED_STATUS, reason=signal)

    def cancelled(self, reason: str) -> Outcome:
        """Record that the call has ended because its user requested this."""
        return self._commit(FAILED, RUN, exit_code=1, state="CANCELLED", reason=reason)

    def failure(self, phase: str, error: BaseException) -> Outcome:
        """Commit a failure in `phase`, and print the traceback to the log."""
        record = describe(error)
        print_to_log(record.traceback or f"{record.type}: {record.message}")
        command = sys.modules.get("slurm.runner.command")
        return self._commit(
            FAILED,
            phase,
            exit_code=exit_code(error),
            state=command.state_of(error, self._job) if command else None,
            error=record,
            metrics=self.metrics.of_failure() if self.metrics else None,
        )

    def several(self, done: Sequence[bytes | CallFailure], *, stopped: str | None = None) -> Outcome:
        """Save and commit the pickled results and the failures of an element's calls, in order.

        `stopped` is the signal that prevented some calls, if no further attempt is allowed.
        """
        results = [each if isinstance(each, bytes) else b"" for each in done]
        failures = tuple(each for each in done if isinstance(each, CallFailure))
        result = self.write(lambda file: file.write(b"".join(results)))
        status, code = (FAILED, 1) if failures else (SUCCEEDED, 0)
        phase, code = (STOPPED, STOPPED_STATUS) if stopped and failures else (SAVE, code)
        calls = {
            "ends": tuple(accumulate(map(len, results))),
            "failures": failures,
            "outputs": self._outputs(results),
            "call_metrics": self.metrics.of_calls(done) if self.metrics else None,
        }
        return self._commit(status, phase, exit_code=code, result=result, reason=stopped, **calls)

    def _metrics_of(self, value: Any) -> dict[str, int | float | str] | None:
        return self.metrics.of_result(value) if self.metrics else None

    def _outputs(self, results: Sequence[object]) -> tuple[Output, ...] | None:
        """Return the files of the calls that ran a program."""
        command = sys.modules.get("slurm.runner.command")  # otherwise no call ran a program
        found: tuple[Output, ...] | None = command.outputs_of(self._job, results) if command else None
        return found

    def _commit(self, status: str, phase: str, **fields: Any) -> Outcome:
        outcome = Outcome(
            status=status,
            phase=phase,
            attempt=self._job.attempt,
            started=self._started,
            # Not time.time(): the node's clock may have been set back.
            ended=self._started + time.monotonic() - self._begin,
            host=self._job.host,
            job_id=self._job.job_id,
            peak_memory=_peak_memory(),
            cpu_seconds=round(sum(os.times()[:4]), 2),
            python="{}.{}.{}".format(*sys.version_info[:3]),
            interpreter=sys.executable,
            distributions=distributions_digest(),
            **fields,
        )
        return self.keep(outcome)

    def keep(self, outcome: Outcome) -> Outcome:
        """Commit an outcome. Returns the element's outcome, which may come from an earlier attempt."""
        path = self._outcome if outcome.succeeded else self._failure
        kept = outcome if commit(path, outcome.dumps()) else self.earlier() or outcome
        if kept.outputs and path == self._outcome:
            sys.modules["slurm.runner.command"].tidy(self._job, kept)
        return kept

    def write(self, fill: Callable[[_Digest], object]) -> ResultRecord:
        """Write a result file by `fill`, without committing an outcome."""
        directory = f"{self._job.directory}/{RESULTS}"
        name = f"{self._element}.pkl"
        digest = write_new(f"{directory}/{name}", fill)
        if digest is None:  # an attempt that died before its outcome has left this file; it is kept
            name = f"{self._element}.{os.urandom(4).hex()}.pkl"
            digest = write_new(f"{directory}/{name}", fill)
        if digest is None:
            raise FileExistsError(f"{directory}/{name}")
        return ResultRecord(file=name, bytes=digest.bytes, sha256=digest.hexdigest())


def _metrics(job: JobContext) -> Metrics:
    from slurm.runner.metrics import Metrics  # noqa: PLC0415 - few submissions ask for metrics

    return Metrics(job)


def write_new(path: str, fill: Callable[[_Digest], object]) -> _Digest | None:
    """Write a new file by `fill`. Returns its size and digest, or None if the file exists already."""
    new = NewFile(path)
    try:
        digest = _Digest(new.file)
        fill(digest)
        return digest if new.commit() else None
    finally:
        new.discard()


def describe(error: BaseException) -> ErrorRecord:
    """Return an exception as text, and as a pickle if possible. The traceback omits the runner's own frames."""
    import base64  # noqa: PLC0415 - only when something failed
    import traceback  # noqa: PLC0415

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("slurm.runner."):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    pickled: bytes | None = None
    not_pickled: str | None = None
    if isinstance(error, UpstreamFailed):  # the client raises DependencyFailed
        name, text = "DependencyFailed", text.replace(name, "DependencyFailed")
    else:
        pickled, not_pickled = _pickled(error)
    return ErrorRecord(
        type=name,
        message=_message(error),
        bases=(*map(class_name, type(error).__mro__[:-1]), *_of_program(error)[1]),
        traceback=text,
        pickle=base64.b64encode(pickled).decode() if pickled else None,
        not_pickled=not_pickled,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__
        return f"<{type(error).__name__} whose __str__ failed>"


def _pickled(error: BaseException) -> tuple[bytes | None, str | None]:
    """Return the pickle of an exception, or None and the reason."""
    from slurm.runner.value_pickler import dumps_exception  # noqa: PLC0415

    data, reason = dumps_exception(error)
    if data and len(data) > ERROR_PICKLE_LIMIT:
        return None, f"its pickle has {len(data)} bytes, and the limit is {ERROR_PICKLE_LIMIT}"
    return data, reason or None


class _Digest:
    """A file that counts and hashes the bytes written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.restart()

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.bytes += memoryview(data).nbytes
        return self._file.write(data)

    def hexdigest(self) -> str:
        return str(self._hash.hexdigest())


def exit_code(error: BaseException) -> int:
    """Return the exit status of a process that ends by this exception; never 0."""
    code = error.code if isinstance(error, SystemExit) else _of_program(error)[0]
    return code if isinstance(code, int) and 0 < code < 256 else 1


def _of_program(error: BaseException) -> tuple[int, tuple[str, ...]]:
    """Return the exit status of the program that failed, and the failure's names in `Retry`; 0 and () for others."""
    command = sys.modules.get("slurm.runner.command")
    found: tuple[int, tuple[str, ...]] = command.failure_of(error) if command else (0, ())
    return found


def _peak_memory() -> int:
    import resource  # noqa: PLC0415

    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): kilobytes, but bytes on macOS
