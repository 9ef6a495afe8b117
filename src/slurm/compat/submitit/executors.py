"""Executors: run functions as jobs of a cluster, with the parameters of submitit."""

from __future__ import annotations

import shutil
import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from slurm.clusters.cluster import Cluster
from slurm.compat.submitit.call import SIGNAL, Call, checkpoint_method
from slurm.compat.submitit.core.utils import DelayedSubmission, FailedSubmissionError
from slurm.compat.submitit.job import DebugJob, Job
from slurm.compat.submitit.parameters import check, for_executor, of_local, of_slurm
from slurm.errors import ConfigurationError, SubmissionError
from slurm.tasks.decorators import task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slurm.compat.submitit.parameters import Translated

R = TypeVar("R")


class Executor:
    """The base class of all executors. `parameters` holds the parameters that were set, by the executor's own names."""

    __module__ = "slurm.compat.submitit"

    prefix = "debug"

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.parameters: dict[str, Any] = {}
        self._batch: list[tuple[Job[Any], DelayedSubmission]] | None = None
        self._implicit = False

    def update_parameters(self, **parameters: Any) -> None:
        """Set parameters of later jobs. Raises OptionError, or RuntimeError within a batch."""
        if self._batch is not None:
            raise RuntimeError("parameters cannot change within 'with executor.batch()'")
        self._update(parameters)

    def submit(self, fn: Callable[..., R], *args: Any, **kwargs: Any) -> Job[R]:
        """Submit one call. Raises FailedSubmissionError."""
        submission = DelayedSubmission(fn, *args, **kwargs)
        if self._batch is None:
            return self._submit([submission])[0]
        job: Job[R] = Job(submit=self._submit_implicitly)
        self._batch.append((job, submission))
        return job

    def map_array(self, fn: Callable[..., R], *iterable: Iterable[Any]) -> list[Job[R]]:
        """Submit a call for each item, as one array. Several iterables are zipped. Raises FailedSubmissionError."""
        return self._submit_array([DelayedSubmission(fn, *args) for args in zip(*iterable)])  # noqa: B905 - as submitit

    def submit_array(self, fns: Sequence[Callable[[], R]]) -> list[Job[R]]:
        """Submit functions without arguments, as one array. Raises FailedSubmissionError."""
        return self._submit_array([DelayedSubmission(fn) for fn in fns])

    @contextmanager
    def batch(self, allow_implicit_submissions: bool = False) -> Iterator[None]:  # noqa: FBT001, FBT002 - as in submitit
        """Submit the calls in the block as one array, at the end of the block.

        With `allow_implicit_submissions`, submit them earlier if one of the jobs is used. Raises RuntimeError within
        another batch.
        """
        if self._batch is not None:
            raise RuntimeError("'with executor.batch()' cannot be nested")
        self._batch, self._implicit = [], allow_implicit_submissions
        try:
            yield
            if not self._batch and not self._implicit:
                warnings.warn("nothing was submitted in 'with executor.batch()'", RuntimeWarning, stacklevel=3)
            self._submit_batch()
        finally:
            self._batch, self._implicit = None, False

    def _submit_implicitly(self) -> None:
        if self._implicit:
            self._submit_batch()

    def _submit_batch(self) -> None:
        calls, self._batch = self._batch or [], []
        for (job, _), native in zip(calls, self._submit([call for _, call in calls]) if calls else (), strict=True):
            job.become(native)

    def _submit_array(self, submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        if not submissions:
            warnings.warn("Received an empty job array", stacklevel=3)
            return []
        return self._submit(submissions)

    def _update(self, parameters: dict[str, Any]) -> None:
        self.parameters.update(parameters)

    def _submit(self, submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        raise NotImplementedError


class _ClusterExecutor(Executor):
    """An executor whose calls are jobs of a cluster."""

    def __init__(
        self,
        folder: str | Path,
        max_num_timeout: int = 3,
        max_pickle_size_gb: float = 1.0,
        python: str | None = None,
        *,
        url: str | None = None,
    ) -> None:
        super().__init__(folder)
        if python and len(python.split()) > 1:
            raise ConfigurationError(
                f"python={python!r}: expected one word, a path or a name. For an image, use this library's tasks with "
                "environment=Container(…)"
            )
        self.max_num_timeout, self.max_pickle_size_gb = max_num_timeout, max_pickle_size_gb
        remote = url is not None and "+" in url
        self.cluster = Cluster(url or self.prefix, root=str(_root(Path(folder), remote=remote)), python=python)

    def _update(self, parameters: dict[str, Any]) -> None:
        check(self.prefix, parameters)
        self._translate({**self.parameters, **parameters})
        super()._update(parameters)

    @staticmethod
    def _translate(given: Mapping[str, Any]) -> Translated:
        raise NotImplementedError

    def _submit(self, submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        translated = self._translate(self.parameters)
        options = dict(translated.options)
        if any(checkpoint_method(submission.function) for submission in submissions):
            options |= {"signal_lead": translated.signal_lead, "stop_signal": SIGNAL}
        names = {_name(submission.function) for submission in submissions}
        call = task(**options)(Call(names.pop() if len(names) == 1 else "batch", self.max_num_timeout))
        for ids, kind in translated.after:
            call = call.after(*ids, on=kind)
        call = call.on(self.cluster)
        try:
            native = call.map(submissions) if len(submissions) > 1 else [call(submissions[0])]
        except SubmissionError as error:
            raise FailedSubmissionError(str(error)) from error
        return [Job(one, tasks=translated.tasks, separate=bool(options["separate_stderr"])) for one in native]


class SlurmExecutor(_ClusterExecutor):
    """Submits jobs to Slurm, with the parameters of sbatch. `cluster` is the `Cluster` of this library."""

    __module__ = "slurm.compat.submitit"

    prefix = "slurm"
    _translate = staticmethod(of_slurm)


class LocalExecutor(_ClusterExecutor):
    """Runs jobs on this machine."""

    __module__ = "slurm.compat.submitit"

    prefix = "local"
    _translate = staticmethod(of_local)


class DebugExecutor(Executor):
    """Makes calls in this process. Accepts all parameters and ignores them."""

    __module__ = "slurm.compat.submitit"

    def _submit(self, submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        return [DebugJob(submission) for submission in submissions]


class AutoExecutor(Executor):
    """Uses the executor for this machine: `SlurmExecutor` if `sbatch` is on PATH, else `LocalExecutor`.

    `cluster` is "slurm", "local", "debug", or a URL of this library such as "slurm+ssh://login". Other arguments and
    parameters have the name of their executor as a prefix: `slurm_partition`. Those for other executors are ignored.
    """

    __module__ = "slurm.compat.submitit"

    def __init__(self, folder: str | Path, cluster: str | None = None, **arguments: Any) -> None:
        super().__init__(folder)
        self.cluster = cluster or self.which()
        if "max_num_timeout" in arguments:
            arguments["slurm_max_num_timeout"] = arguments.pop("max_num_timeout")
        name = self.cluster.partition(":")[0].partition("+")[0]
        kinds: dict[str, Callable[..., Executor]] = {
            "slurm": partial(SlurmExecutor, url=self.cluster),
            "local": partial(LocalExecutor, url=self.cluster),
            "debug": DebugExecutor,
        }
        if name not in kinds:
            raise ValueError(f"AutoExecutor has no executor {self.cluster!r}: it has slurm, local, debug, and URLs")
        own = {}
        for argument, value in arguments.items():
            prefix, _, rest = argument.partition("_")
            if prefix not in kinds or not rest:
                raise TypeError(f"AutoExecutor({argument}=…): write slurm_{argument}, or local_{argument}")
            if prefix == name:
                own[rest] = value
        self._executor = kinds[name](folder, **own)
        self.prefix = name

    @staticmethod
    def which() -> str:
        """Return the name of the executor for this machine."""
        return "slurm" if shutil.which("sbatch") else "local"

    def register_dev_folders(self, folders: list[str | Path]) -> None:  # noqa: ARG002 - as in submitit
        """Warn that no folder is sent: use `Wheel` to send a project."""
        warnings.warn("dev folders are ignored: environment=Wheel() of a task sends a project", stacklevel=2)

    def _update(self, parameters: dict[str, Any]) -> None:
        self._executor.update_parameters(**for_executor(self.prefix, parameters))
        self.parameters = self._executor.parameters

    def _submit(self, submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        return self._executor._submit(submissions)  # noqa: SLF001 - an executor, too


def _root(folder: Path, *, remote: bool) -> Path:
    """Return the part of a folder before the first of submitit's placeholders, such as %j."""
    parts = folder.parts if remote else folder.expanduser().absolute().parts
    first = next((number for number, part in enumerate(parts) if any(tag in part for tag in _TAGS)), len(parts))
    return Path(*parts[:first])


_TAGS = ("%j", "%t", "%A", "%a")


def _name(function: Callable[..., Any]) -> str:
    inner: Any = function.func if isinstance(function, partial) else function
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name.strip("<>")
