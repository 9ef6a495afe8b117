"""Replay: make a call of a job again in this process."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.jobs.arguments import StoredCalls
from slurm.jobs.job import Job
from slurm.protocol.directories import make_private
from slurm.runner.argument_loader import Call, enter_script
from slurm.runner.callback_runner import HERE
from slurm.runner.command import Command
from slurm.runner.job_context import JobContext, set_current
from slurm.runner.put_loader import load_put
from slurm.storage.put import Put

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurm.protocol import Submission
    from slurm.views.status import Part


class NotReplayable(RuntimeError):
    """A call that cannot be made in this process."""


class Replay(NamedTuple):
    """A call that is ready to be made, and how this process differs from the process of the job."""

    call: Call
    context: JobContext
    differences: Sequence[str]

    def make(self) -> Any:
        """Make the call. Raises what the call raises."""
        set_current(self.context)
        return self.call.make(self.context)


class _Loaded(StoredCalls):
    """Loads calls with the results of jobs in place of the jobs, and with what was put."""

    def __init__(self, part: Part) -> None:
        super().__init__(part, part.place.store.calls(part.state.key, part.indices))

    def resolve(self, handle: Any) -> Any:
        if not isinstance(handle, Put):
            return handle.result() if isinstance(handle, Job) else handle.results()
        root = self._part.place.store.root
        if self._part.place.url.host is not None:
            raise NotReplayable(f"an argument of the call was put on {self._part.place.url.host}: replay it there")
        return load_put(root, handle.reference.key, handle.bytes, self._handle)


def replay_of(part: Part) -> Replay:
    """Load one call with its arguments, and set the variables and the search path that it had on the node.

    The context of the call has a new directory, so nothing of the job is changed, and there is no checkpoint. Raises
    NotReplayable, NoSuchJob, what failed upstream jobs raise, and any exception of unpickling.
    """
    submission = part.place.store.records(part.state.key).submission
    tag = submission.environment.tag
    if tag != HERE:
        raise NotReplayable(
            f"the call was pickled by Python {tag}, and this is Python {HERE} ({sys.executable}): install the command "
            f"in an environment with Python {tag}, and replay it there"
        )
    if submission.workflow is not None:
        raise NotReplayable("a workflow submits its calls from where it runs: replay one of these calls")
    stored = _Loaded(part)
    for name, value in (submission.options.get("env") or {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    enter_script(*stored.script())
    function, context = stored.function(0)
    if isinstance(function, Command):
        raise NotReplayable("a command runs a program in a directory of the job: there is no Python function to replay")
    args, kwargs = stored.arguments(0)
    return Replay(
        Call(function=function, args=args, kwargs=kwargs, context=context),
        _context(part),
        tuple(_differences(submission)),
    )


def _context(part: Part) -> JobContext:
    root, key, (index,) = tempfile.mkdtemp(prefix="slurm-replay-"), part.state.key, part.indices
    make_private(f"{root}/jobs/{key}")
    return JobContext.from_environment(root, key, index, {})


def _differences(submission: Submission) -> Iterator[str]:
    """Yield how this process differs from the process of the job, as far as the records show."""
    for package in submission.environment.packages:
        name, equals, wanted = package.partition("==")
        try:
            found = version(name)
        except PackageNotFoundError:
            yield f"{name} is missing here"
            continue
        if equals and found != wanted:
            yield f"{name} is {found} here, {wanted} there"
    if submission.environment.setup:
        yield "the setup lines of its environment are not run"
    if str(submission.options.get("ntasks") or 1) != "1":
        yield f"it is one process here, {submission.options['ntasks']} there"
