"""All errors that this library raises.

    SlurmError
    ├── ConfigurationError            what the program asks for can't be
    │   ├── OptionError               an option's name or value (also ValueError)
    │   ├── NoActiveCluster           a task was called, and no cluster is active
    │   ├── SlurmfileError            a Slurmfile that isn't there, or what stands in it
    │   ├── ClusterURLError           a cluster's URL (also ValueError)
    │   ├── EnvironmentInUse          it can't be removed: jobs run in it, or are to
    │   └── PluginNotFound            no such scheduler, transport or environment
    ├── SubmissionError               nothing was submitted
    │   ├── NotPicklable              the function or an argument (also TypeError)
    │   ├── EnvironmentNotReady       what the task is to run in could not be made ready
    │   │   ├── BuildFailed           it didn't build or install
    │   │   └── PythonNotFound        no Python of the client's minor version there
    │   ├── SchedulerNotFound         the scheduler's command isn't there
    │   └── SubmissionRefused         the scheduler said no
    ├── TransportError                a command or a file could not be had there
    │   └── ConnectionLost            the connection broke; what was under way may have been done
    ├── SchedulerError                the scheduler didn't answer as it should
    ├── ProtocolError                 a job directory that can't be read
    │   ├── UntrustedFile             somebody else could have written it
    │   └── NoSuchJob                 there is no job under that key (also KeyError)
    └── JobError                      a job ended without a result
        ├── TaskFailed                the task raised what can't be brought back as it was
        ├── TaskExited                sys.exit, os._exit or a signal ended the process
        ├── SetupFailed               a module or a setup line failed on the node, so nothing was run
        ├── LoadFailed                its function or arguments could not be loaded on the node
        ├── ResultNotSaved            the function returned, its result could not be saved
        ├── ResultNotLoaded           its result could not be loaded here
        ├── DependencyFailed          what it waited for didn't end as it had to
        ├── JobCancelled              (also concurrent.futures.CancelledError)
        ├── JobTimedOut               it reached its time limit
        ├── JobOutOfMemory
        ├── JobPreempted
        ├── NodeFailed
        ├── JobNotStarted             the scheduler could not start it (boot, deadline, launch)
        └── JobLost                   the scheduler has forgotten it, and it left nothing

A wait that ran out is the builtin TimeoutError; what a task raised is raised as itself.
"""

from __future__ import annotations

from concurrent.futures import CancelledError

TYPE_CHECKING = False  # as `typing` has it, without importing typing; type checkers know the name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class SlurmError(Exception):
    """Whatever this library raises of its own."""


class ConfigurationError(SlurmError):
    """What the program asks for can't be."""


class OptionError(ConfigurationError, ValueError):
    """An option that sbatch doesn't have, or a value that it would refuse."""


class NoActiveCluster(ConfigurationError):
    """A task was called where no cluster is active."""


class SlurmfileError(ConfigurationError):
    """There is no Slurmfile, or something in it is wrong; the message names the file, the line and the key.

    Attribute: `problems`, all that is wrong in it, each a named tuple of file, line, key and message.
    """

    def __init__(self, message: str, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ClusterURLError(ConfigurationError, ValueError):
    """A text that isn't a cluster's URL."""


class EnvironmentInUse(ConfigurationError):
    """An environment that can't be removed: jobs that have not ended use it, or it is being made."""


class PluginNotFound(ConfigurationError):
    """A scheduler, transport or environment that nobody has registered."""


class SubmissionError(SlurmError):
    """Nothing was submitted."""


class NotPicklable(SubmissionError, TypeError):
    """A function or an argument that can't be sent."""


class EnvironmentNotReady(SubmissionError):
    """The environment that the task is to run in could not be made ready."""


class BuildFailed(EnvironmentNotReady):
    """An environment, or what goes into it, could not be built or installed; the end of the output is in the message.

    Attributes: `output`, all that the command printed; `log`, a file that has it, `host:path` if it is elsewhere.
    """

    def __init__(self, message: str, *, output: str = "", log: str | None = None) -> None:
        super().__init__(message)
        self.output, self.log = output, log


class PythonNotFound(EnvironmentNotReady):
    """There is no Python of the client's minor version where the tasks are to run."""


class SchedulerNotFound(SubmissionError):
    """The scheduler's command isn't there."""


class SubmissionRefused(SubmissionError):
    """The scheduler refused the job; its own words are in the message, and the script stays for a look.

    Attributes: `script`, its path; `output`, what the scheduler said; `certain`, whether it is known that nothing is
    queued. If not, the job was not found in the queue, but may be queued yet: it was not submitted again.
    """

    def __init__(self, message: str, *, script: str, output: str, certain: bool = True) -> None:
        super().__init__(message)
        self.script = script
        self.output = output
        self.certain = certain


class TransportError(SlurmError):
    """A command could not be run there, or a file not be read or written."""


class ConnectionLost(TransportError):
    """The connection broke, or can't be made now; what was under way may have been done, or not."""


class SchedulerError(SlurmError):
    """The scheduler didn't answer a question as it should."""


class ProtocolError(SlurmError):
    """A job directory that can't be read."""


class UntrustedFile(ProtocolError):
    """A file or directory that somebody else could have written: to run it or unpickle it would run their code."""

    def __init__(self, path: str, *, uid: int, mode: int, me: int, link: bool = False) -> None:
        import shlex  # noqa: PLC0415 - seldom needed, and it imports `re`

        if link:
            found = f"{path} is a link that user {uid} has made"
        elif uid != me:
            found = f"{path} belongs to user {uid}, not to you (user {me})"
        else:
            found = f"{path} can be written by others (mode {mode & 0o7777:04o})"
        advice = (
            f"If nobody has changed what is in it: chmod go-w {shlex.quote(path)}"
            if uid == me and not link
            else "Use a directory of your own: root='/path/of/yours' (Cluster(…, root=…), or `root:` in the Slurmfile)"
        )
        super().__init__(f"{found}, so it is neither run nor read. {advice}")
        self.path = path


class NoSuchJob(ProtocolError, KeyError):
    """There is no job under that key."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show its repr


class JobError(SlurmError):
    """A job ended without a result.

    Attributes: `key` and `index`, which job; `job_id`, the scheduler's; `state`, how it ended, in Slurm's word; `node`;
    `log`, the path of its log there; `exit_code` and `signal` where known. Those not known are None.
    """

    def __init__(  # noqa: PLR0913 - facts, all by keyword
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
    """The task raised an exception that can't be brought back as it was; its text is in the cause."""


class TaskExited(JobError):
    """The task ended its process: by sys.exit, os._exit, or a signal. See `exit_code` and `signal`."""


class SetupFailed(JobError):
    """A module or a setup line failed on the node, so nothing was run; the end of the log is in the message."""


class LoadFailed(JobError):
    """The function or its arguments could not be loaded on the node: a module isn't there, or another Python is."""


class ResultNotSaved(JobError):
    """The function ran to its end, but what it returned could not be saved."""


class ResultNotLoaded(JobError):
    """The job succeeded, but its result can't be loaded here."""


class DependencyFailed(JobError):
    """What the job waited for didn't end as it had to; the message names it and its error."""


class JobCancelled(JobError, CancelledError):
    """The job was cancelled, by its user or an administrator."""


class JobTimedOut(JobError):
    """The job reached its time limit, or stopped at a checkpoint once more than `max_restarts` allows."""


class JobOutOfMemory(JobError):
    """The job used more memory than it was given."""


class JobPreempted(JobError):
    """A job of higher priority took the node, and the scheduler didn't requeue this one."""


class NodeFailed(JobError):
    """The node failed under the job."""


class JobNotStarted(JobError):
    """The scheduler could not start the job, or refused it when there was room for it."""


class JobLost(JobError):
    """The scheduler has forgotten the job, and it left neither an outcome nor a word."""


def _revive(kind: type[JobError], args: tuple[str], facts: dict[str, object]) -> JobError:
    error = kind(*args)
    error.__dict__.update(facts)
    return error
