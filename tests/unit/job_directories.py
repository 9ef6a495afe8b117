"""Job directories as the client makes them, for tests of what reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.environments.current import TAG
from slurm.protocol import JOBS, OUTCOMES, RESULTS, SCRIPT, Block, ResolvedEnvironment, Submission, Submitted
from slurm.protocol.boot import BOOT
from slurm.protocol.outcomes import Outcome
from slurm.runner.job_context import JobContext
from slurm.serialization.pickling import Function, Pickled, Placeholder, Reference, pickle_calls
from slurm.storage.job_store import JobStore
from slurm.storage.new_submission import NewSubmission
from slurm.storage.runner_zip import bundle
from slurm.submission.origins import Here
from slurm.submission.registry import SubmissionRegistry
from slurm.submission.timings import Timings
from slurm.tasks.task import Task, by_value
from slurm.tracking.status_poller import StatusPoller
from slurm.tracking.tracker import Tracker
from slurm.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slurm.submission.submission_state import SubmissionState
    from slurm.tracking.status_poller import Query
    from slurm.tracking.tracker import Listing

KEY = "work/20260101T000000Z-00000000"


class Stand(Placeholder):
    """A placeholder for an element of another submission, or for several of them."""

    def __init__(self, key: str, which: int | tuple[int, int, int] = 0) -> None:
        self.key, self.which = key, which

    @property
    def reference(self) -> Reference:
        return Reference("job" if isinstance(self.which, int) else "array", self.key, self.which, 1, "local")


def pickled(
    function: Callable[..., Any],
    *calls: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    context: tuple[str, int | None] | None = None,
    edges: tuple[Any, ...] = (),
) -> Pickled:
    """Calls of a function, pickled as a submission pickles them."""
    task = Task(function)
    head = Function(function, task.name, task.places, context, edges)
    return pickle_calls(head, [(args, kwargs or {}) for args in calls], reducers={Task: by_value})


def asked(key: str = KEY, count: int = 1, **more: Any) -> Submission:
    """The record of a submission."""
    fields: dict[str, Any] = {
        "task": "work",
        "mapped": count > 1,
        "options": {},
        "environment": ResolvedEnvironment(key="current", python=sys.executable, tag=TAG),
        "client": {},
        "versions": {},
        "created": 0.0,
    }
    return Submission(key=key, count=count, **{**fields, **more})


DEFAULT = Timings()


def follow(
    listing: Listing,
    query: Query,
    timings: Timings = DEFAULT,
    *,
    distrust: Callable[[str], object] = lambda _: None,
    patience: tuple[float, float] = (0.05, 0.1),
    registry: SubmissionRegistry | None = None,
) -> tuple[Tracker, SubmissionState]:
    """A tracker, and one job with the scheduler's id "7" that it follows; there is no accounting."""
    registry = registry or SubmissionRegistry(JobStore(LocalTransport(), "/"))
    tracker = Tracker(
        registry,
        listing=listing,
        distrust=distrust,
        poller=StatusPoller(
            query=query,
            history=lambda _: (),
            complete=lambda _: None,
            here=lambda: Here("slurm", None),
            runaway=timings.runaway,
        ),
        finalize=lambda _, statuses, __: statuses,
        poll_progress=lambda: None,
        pace=0.01,
        patience=patience,
        timings=timings,
    )
    return tracker, registry.add(asked(), Submitted(scheduler="slurm", blocks=(Block(id="7", first=0, count=1),)))


class Directory(NamedTuple):
    """One submission under a root."""

    root: str
    key: str = KEY

    @property
    def path(self) -> str:
        return f"{self.root}/{JOBS}/{self.key}"

    @property
    def store(self) -> JobStore:
        return JobStore(LocalTransport(), self.root)

    def create(self, calls: Pickled) -> Directory:
        """Make the directory with its files."""
        submission = asked(self.key, len(calls.references))
        self.store.create(NewSubmission(submission, calls.calls, {SCRIPT: ""}))
        return self

    def job(self, index: int = 0, environ: Mapping[str, str] | None = None) -> JobContext:
        return JobContext.from_environment(self.root, self.key, index, environ or {})

    def outcome(self, index: int = 0) -> Outcome:
        return self.store.outcomes(self.key, [index], chunk=1)[index]

    def result(self, index: int = 0) -> Any:
        ends = self.store.read_results(self.key, [index], chunk=1)
        for error in ends.unloaded.values():
            raise error
        return ends.results[index]

    def names(self, directory: str) -> list[str]:
        """All names in one of its directories, the hidden ones too."""
        return sorted(os.listdir(f"{self.path}/{directory}"))

    @property
    def left(self) -> tuple[list[str], list[str]]:
        """What lies in outcomes/ and in results/."""
        return self.names(OUTCOMES), self.names(RESULTS)


def run_on_a_node(
    directory: Directory, cwd: Path, *, flags: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run element 0 in a fresh Python from the runner's zip, as the script does."""
    archive = cwd / "runner.zip"
    archive.write_bytes(bundle().data)
    argv = [
        sys.executable,
        *flags,
        "-c",
        BOOT,
        str(archive),
        "slurm.runner.main",
        directory.root,
        directory.key,
        "0",
        TAG,
    ]
    return subprocess.run(
        argv, cwd=cwd, env={**os.environ, **(environ or {})}, capture_output=True, text=True, check=False
    )
