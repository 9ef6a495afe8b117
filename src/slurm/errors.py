"""All errors that this library raises. The messages of a `JobError` are in `slurm.tracking.exceptions`.

    SlurmError
    ├── ConfigurationError            invalid configuration or arguments
    │   ├── OptionError               an invalid option name or value (also ValueError)
    │   ├── NoActiveCluster           a task was called while no cluster is active
    │   ├── SlurmfileError            a missing or invalid Slurmfile
    │   ├── ClusterURLError           an invalid cluster URL (also ValueError)
    │   ├── EnvironmentInUse          the environment to remove is used by jobs or being built
    │   └── PluginNotFound            an unknown scheduler, transport or environment
    ├── SubmissionError               nothing was submitted
    │   ├── NotPicklable              the function or an argument cannot be pickled (also TypeError)
    │   ├── NotReusable               a call of a task with `reuse` has no digest (also TypeError)
    │   ├── EnvironmentNotReady       the task's environment could not be prepared
    │   │   ├── BuildFailed           the environment could not be built or installed
    │   │   └── PythonNotFound        the cluster has no Python of the client's minor version
    │   ├── SchedulerNotFound         the scheduler's command was not found
    │   ├── SubmissionRefused         the scheduler rejected the job
    │   └── PoolError                 a pool cannot do this, or takes no more calls
    ├── TransportError                a command could not run, or a file could not be read or written
    │   └── ConnectionLost            the connection broke; the current operation may have completed
    ├── SchedulerError                the scheduler gave no valid answer
    ├── ProtocolError                 a job directory cannot be read
    │   ├── UntrustedFile             another user could have written the file
    │   └── NoSuchJob                 no job has this key (also KeyError)
    ├── JobEnded                      a message was sent to a job that has ended
    └── JobError                      a job finished without a result
        ├── TaskFailed                the task raised an exception that cannot be unpickled here
        ├── TaskExited                sys.exit, os._exit or a signal ended the process
        │   └── WorkerDied            the worker process of a pool died while it made the call
        ├── CommandFailed             the program of a command failed: its exit status, or a product is missing
        │   └── CommandOutOfMemory    it used more memory than the job requested (also JobOutOfMemory)
        ├── SetupFailed               a module or a setup line failed on the node; the task did not run
        ├── LoadFailed                the function or its arguments could not be loaded on the node
        ├── ResultNotSaved            the function returned, but its result could not be saved
        ├── ResultNotLoaded           the result could not be loaded on the client
        ├── DependencyFailed          a dependency of the job did not finish as required
        ├── JobCancelled              (also concurrent.futures.CancelledError)
        ├── JobTimedOut               the job reached its time limit
        ├── JobOutOfMemory
        ├── JobPreempted
        ├── NodeFailed
        ├── JobNotStarted             the scheduler could not start the job (boot, deadline, launch)
        │   └── PoolEnded             no element of the pool is left to make the call
        └── JobLost                   the scheduler no longer knows the job, and it left no outcome

A wait that times out raises the builtin TimeoutError. An exception that a task raised is raised unchanged.
"""

from __future__ import annotations

from concurrent.futures import CancelledError

TYPE_CHECKING = False  # as `typing` has it, without importing typing; type checkers know the name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class SlurmError(Exception):
    """Base class of all errors of this library."""


class ConfigurationError(SlurmError):
    """Invalid configuration or arguments."""

    about_the_caller = True  # the traceback ends at the line that called this library: see `slurm.tracebacks`


class OptionError(ConfigurationError, ValueError):
    """An option that sbatch does not have, or a value that it would reject."""


class NoActiveCluster(ConfigurationError):
    """A task was called while no cluster is active."""


class SlurmfileError(ConfigurationError):
    """The Slurmfile is missing or invalid; the message names the file, the line and the key.

    Attribute: `problems`, every problem in the file, each a named tuple of file, line, key and message.
    """

    def __init__(self, message: str, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ClusterURLError(ConfigurationError, ValueError):
    """An invalid cluster URL."""


class EnvironmentInUse(ConfigurationError):
    """An environment cannot be removed, because unfinished jobs use it or it is being built."""


class PluginNotFound(ConfigurationError):
    """No scheduler, transport or environment is registered under this name."""


class SubmissionError(SlurmError):
    """Nothing was submitted."""

    about_the_caller = True  # as above


class NotPicklable(SubmissionError, TypeError):
    """The function or an argument cannot be pickled."""


class NotReusable(SubmissionError, TypeError):
    """The function or an argument of a task with `reuse` has no digest that is the same in every process."""


class EnvironmentNotReady(SubmissionError):
    """The task's environment could not be prepared."""


class BuildFailed(EnvironmentNotReady):
    """An environment or one of its packages could not be built or installed; the message has the end of the output.

    Attributes: `output`, the command's whole output; `log`, the file that holds it, `host:path` on another machine.
    """

    def __init__(self, message: str, *, output: str = "", log: str | None = None) -> None:
        super().__init__(message)
        self.output, self.log = output, log


class PythonNotFound(EnvironmentNotReady):
    """The cluster has no Python of the client's minor version."""


class SchedulerNotFound(SubmissionError):
    """The scheduler's command was not found."""


class PoolError(SubmissionError):
    """A pool cannot do this, or takes no more calls."""


class SubmissionRefused(SubmissionError):
    """The scheduler rejected the job. The message quotes the scheduler; the script is kept for inspection.

    Attributes: `script`, the path of the script; `output`, the scheduler's message; `certain`, whether it is certain
    that nothing was queued; `options`, the names of the options that caused the rejection, if the message shows them;
    `offers`, a line about what the cluster has instead, the partitions and the largest node, empty if unknown. If
    `certain` is False, the job was not found in the queue, but it may still appear there. It was not submitted again.
    """

    def __init__(
        self,
        message: str,
        *,
        script: str,
        output: str,
        certain: bool = True,
        offers: str = "",
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.script = script
        self.output = output
        self.certain = certain
        self.offers = offers
        self.options = tuple(options)


class TransportError(SlurmError):
    """A command could not run on the cluster, or a file could not be read or written there."""


class ConnectionLost(TransportError):
    """The connection broke or cannot be opened. The operation in progress may or may not have completed."""


class SchedulerError(SlurmError):
    """The scheduler gave no valid answer."""


class ProtocolError(SlurmError):
    """A job directory cannot be read."""


class UntrustedFile(ProtocolError):
    """A file or directory that another user could have written: running or unpickling it could run their code."""

    def __init__(self, path: str, *, uid: int, mode: int, me: int, link: bool = False) -> None:
        import shlex  # noqa: PLC0415 - rarely needed, and it imports `re`

        if link:
            found = f"{path} is a symbolic link that belongs to user {uid}"
        elif uid != me:
            found = f"{path} belongs to user {uid}, not to you (user {me})"
        else:
            found = f"{path} is writable by other users (mode {mode & 0o7777:04o})"
        advice = (
            f"If its content is unchanged, run: chmod go-w {shlex.quote(path)}"
            if uid == me and not link
            else "Use a directory of your own: root='/your/path' (Cluster(…, root=…), or `root:` in the Slurmfile)"
        )
        super().__init__(f"{found}, so it is neither run nor read. {advice}")
        self.path = path


class NoSuchJob(ProtocolError, KeyError):
    """No job has this key."""

    about_the_caller = True

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show its repr


class JobEnded(SlurmError):
    """A message was sent to a job that has ended, so nobody will read it."""


class JobError(SlurmError):
    """A job finished without a result.

    Attributes: `key` and `index`, which identify the job; `job_id`, the scheduler's id; `state`, the final state by
    Slurm's name; `node`; `log`, the path of its log on the cluster; `exit_code`; `signal`. Unknown values are None.
    """

    def __init__(  # noqa: PLR0913 - attributes, all by keyword
        self,
        message: str,
        *,
        key: str | None = None,
        index: int | None = None,
        job_id: str | None = None,
        state: str | None = None,
        node: str | None = None,
        log: str | None = None,
        exit_code: int | None = None,
        signal: int | None = None,
    ) -> None:
        super().__init__(message)
        self.key, self.index, self.job_id, self.state = key, index, job_id, state
        self.node, self.log, self.exit_code, self.signal = node, log, exit_code, signal

    def __reduce__(self) -> tuple[object, ...]:
        return (_revive, (type(self), self.args, self.__dict__))


class TaskFailed(JobError):
    """The task raised an exception that cannot be unpickled here; the cause has its text."""


class TaskExited(JobError):
    """The task's process ended by sys.exit, os._exit or a signal. See `exit_code` and `signal`."""


class CommandFailed(JobError):
    """The program of a command failed: it could not start, its exit status was not 0, or a product is missing.

    Attributes besides those of JobError: `missing`, the patterns of `products` that no file matches; `stderr`, the last
    lines of its standard error; `directory`, the directory that it ran in; `diagnosis`, the name that its `diagnose`
    function gave to the failure. `log` is the path of its standard error.
    """

    missing: Sequence[str] = ()
    stderr: str = ""
    diagnosis: str | None = None
    directory: str | None = None


class SetupFailed(JobError):
    """A module or a setup line failed on the node, so the task did not run; the message has the end of the log."""


class LoadFailed(JobError):
    """The function or its arguments could not be loaded on the node: a module is missing, or Python differs."""


class ResultNotSaved(JobError):
    """The function returned, but its result could not be saved."""


class ResultNotLoaded(JobError):
    """The job succeeded, but its result could not be loaded on the client."""


class DependencyFailed(JobError):
    """A dependency of the job did not finish as required; the message names the dependency and its error."""


class JobCancelled(JobError, CancelledError):
    """The job was cancelled by its user or an administrator."""


class JobTimedOut(JobError):
    """The job reached its time limit, or stopped at a checkpoint more often than `max_restarts` allows."""


class JobOutOfMemory(JobError):
    """The job used more memory than it requested."""


class CommandOutOfMemory(CommandFailed, JobOutOfMemory):
    """The kernel ended the program of a command because the job used more memory than it requested."""


class JobPreempted(JobError):
    """A job of higher priority preempted this one, and the scheduler did not requeue it."""


class NodeFailed(JobError):
    """The node failed while the job ran on it."""


class JobNotStarted(JobError):
    """The scheduler could not start the job, or rejected it after it had been deferred."""


class PoolEnded(JobNotStarted):
    """No element of the pool is left to make the call."""


class WorkerDied(TaskExited):
    """The worker process of a pool died while it made the call. The pool continues."""


class JobLost(JobError):
    """The scheduler no longer knows the job, and the job left no outcome."""


def _revive(kind: type[JobError], args: tuple[str], attributes: dict[str, object]) -> JobError:
    error = kind(*args)
    error.__dict__.update(attributes)
    return error
