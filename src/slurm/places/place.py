"""Backend: one place to run jobs, put together from its URL: a transport, a scheduler, a store, a tracker."""

from __future__ import annotations

import os
import shutil
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from slurm.environments.base import Interpreter
from slurm.environments.current import found, probe
from slurm.errors import ConfigurationError
from slurm.notifications.subscriptions import Subscriptions
from slurm.places.probe import SiteProbe
from slurm.plugins import plugin
from slurm.protocol import Block
from slurm.schedulers.base import Site
from slurm.schedulers.client import SchedulerClient
from slurm.storage.job_store import JobStore
from slurm.storage.runner_zip import bundle
from slurm.submission.origins import Here
from slurm.tracking.finalize import conclude
from slurm.tracking.recovery import complete
from slurm.tracking.status_poller import StatusPoller
from slurm.tracking.tracker import Tracker
from slurm.url import ClusterURL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.protocol import Origin, ResolvedEnvironment, Submission
    from slurm.schedulers.base import Report, Scheduler
    from slurm.schedulers.job_control import Answers
    from slurm.serialization import Calls
    from slurm.storage.job_store import Records
    from slurm.storage.runner_zip import RunnerZip
    from slurm.submission.submission_state import SubmissionState
    from slurm.tracking.workflow_journal import WorkflowJournal
    from slurm.transports.base import Transport

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - used like `property`
    """A property that is computed once, also where two threads ask at the same time."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Backend, kind: type | None = None) -> T:
        with owner.lock:
            if self._name not in owner.__dict__:
                owner.__dict__[self._name] = self._compute(owner)
            found: T = owner.__dict__[self._name]
            return found


class Spec(NamedTuple):
    """What `backend_for` makes the same backend from, in another process too."""

    url: str
    python: str | None = None
    setup: tuple[str, ...] = ()
    """Steps that may bring the Python."""
    login_shell: bool = False


class Backend:
    """Where jobs run and are kept. Nothing is connected or looked up before it is needed."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.url = url = ClusterURL.parse(spec.url)
        self._transport_class = plugin("transports", url.transport)
        self._scheduler_class = plugin("schedulers", url.scheduler)
        self._delivered = False
        self.lock = threading.RLock()
        self.prepared: dict[tuple[object, ...], ResolvedEnvironment] = {}
        self.inherited: ResolvedEnvironment | None = None
        """What the workflow runs in whose job this is."""
        self.preparing: dict[tuple[object, ...], threading.Lock] = {}
        self.refusals_are_final = True
        """Whether what the scheduler refuses here is refused for good; on a node, it may be refused there only."""
        self.family: WorkflowJournal | None = None
        """What all that this process submits here belongs to, where a workflow runs in it."""

    def after_fork(self) -> None:
        """In the child of a fork there is no other thread, so nobody who would let go of a lock."""
        self.lock = threading.RLock()
        self.preparing.clear()
        self.__dict__.pop("feeds", None)
        for part in ("transport", "probe", "tracker"):
            if part in self.__dict__:
                self.__dict__[part].after_fork()

    def watch(self, key: str) -> SubmissionState:
        """The state of a submission; reads the records of one that is new to this process. Raises NoSuchJob."""
        known = self.tracker.known(key)
        if known is not None:
            return known
        return self.tracker.watch(*self.store.records(key))

    def has(self, records: Records) -> bool:
        """Whether a submission under this root is one of the scheduler here, as far as its records tell."""
        return records.scheduler in (None, self._scheduler_class.name)

    def log_path(self, watched: SubmissionState, index: int, rank: int = 0) -> str:
        """The path, there, of the log of a call's element, or of one of its ranks."""
        return f"{self.store.directory(watched.key)}/{watched.log(index, rank)}"

    def watch_several(self, keys: Sequence[str]) -> list[SubmissionState]:
        """The states of submissions, of those that have records, which are read in one go."""
        return [self.tracker.watch(*records) for records in self.store.several_records(keys)]

    def blocks(self, submission: Submission) -> list[Block]:
        """The elements of a submission as the scheduler takes them: an array each, or a plain job for each element."""
        elements = submission.elements
        size = self.max_array_size if elements > 1 else 1
        array = None if size and self.has_arrays else False
        size, origin = max(1, size), self.origin
        return [
            Block(first=first, count=min(size, elements - first), array=array, origin=origin)
            for first in range(0, elements, size)
        ]

    @property
    def has_arrays(self) -> bool:
        """Whether the scheduler there takes arrays; if it didn't say, as almost everywhere, it does."""
        done = self.probe.limits
        return done.status != 0 or self.scheduler.parse_max_array_size(done.stdout) > 0

    @property
    def origin(self) -> Origin | None:
        """Which scheduler is here, as it was last told."""
        controller: SchedulerClient | None = self.__dict__.get("controller")
        if controller and controller.here:
            return controller.here
        done = self.probe.limits
        return self.scheduler.parse_origin(done.stdout) if done.status == 0 else None

    @property
    def here(self) -> Here:
        """What ids of submissions are held against."""
        return Here(self.scheduler.name, self.origin)

    @once
    def transport(self) -> Transport:
        """How commands and bytes get there."""
        transport: Transport = self._transport_class.from_url(self.url, login_shell=self.spec.login_shell)
        return transport

    @once
    def store(self) -> JobStore:
        """The job directories there."""
        return JobStore(self.transport, self.probe.root)

    @property
    def known_root(self) -> str | None:
        """The root, if it was given as a path or has been asked for."""
        store: JobStore | None = self.__dict__.get("store")
        return store.root if store else self.url.root

    @once
    def probe(self) -> SiteProbe:
        """What is there."""
        python = probe(Interpreter(self.spec.python, self.spec.setup))
        limits = self._scheduler_class(Site("", "")).limits_command()
        return SiteProbe(self.transport, self.url.root, bundle().name, python=python, limits=limits)

    @once
    def runner(self) -> str:
        """The path there of the runner's zip."""
        return self.store.blob_path(bundle())

    @once
    def current(self) -> ResolvedEnvironment:
        """The Python there that the client's own calls can be unpickled by."""
        return found(Interpreter(self.spec.python, self.spec.setup), self.probe.python)

    @once
    def scheduler(self) -> Scheduler:
        """How the scheduler there is spoken to."""
        known = self.probe.python.status == 0  # else an environment may bring one
        python = self.current.python if known else "python3"
        scheduler: Scheduler = self._scheduler_class(Site(python, self.runner))
        return scheduler

    def lacking(self) -> list[str]:
        """What the scheduler's commands need and this machine, or container, hasn't. For a backend without a way."""
        needs = self._scheduler_class(Site("", "")).needs
        return [name for name in needs if not (os.path.exists(name) if "/" in name else shutil.which(name))]

    @once
    def controller(self) -> SchedulerClient:
        """The scheduler there, whose commands may be in the runner's zip: that is sent if it isn't there yet."""
        if blob := self._undelivered():
            self.store.put_blob(blob)
        controller = SchedulerClient(self.scheduler, self.transport)
        controller.calls["limits"] = 1  # the first look's
        controller.here = self.origin
        return controller

    def create(self, submission: Submission, calls: Calls, scripts: Mapping[str, str]) -> str:
        """Write a new submission, and the runner's zip with it if it isn't there yet; returns its directory."""
        directory = self.store.create(submission, calls, scripts, blob=self._undelivered())
        self._delivered = True
        return directory

    def _undelivered(self) -> RunnerZip | None:
        there = self._delivered or self.probe.blob_is_there
        return None if there else bundle()

    @once
    def max_array_size(self) -> int:
        """How many elements one array may have there, 0 for no arrays; asked once, and again where it didn't tell."""
        done = self.probe.limits
        return (
            self.scheduler.parse_max_array_size(done.stdout) if done.status == 0 else self.controller.max_array_size()
        )

    @once
    def tracker(self) -> Tracker:
        """What is known of the jobs there."""
        return Tracker(
            listing=self.store.done,
            inquiry=StatusPoller(
                query=self._query, history=self._history, complete=partial(complete, self), here=lambda: self.here
            ),
            conclude=partial(conclude, self),
            pace=self.transport.pace,
            patience=self.scheduler.patience,
        )

    @once
    def feeds(self) -> Subscriptions:
        """What callbacks on this client are told of the jobs there."""
        return Subscriptions(str(self.url), self.store, self.transport, self.tracker.follow)

    def _query(self, ids: Sequence[str]) -> Answers:
        return self.controller.query(ids)  # which is made only now, for that may take a command

    def _history(self, ids: Sequence[str]) -> Iterable[Report]:
        return self.controller.history(ids)


_backends: dict[Spec, Backend] = {}
_backends_lock = threading.Lock()


def backend_for(
    url: str,
    *,
    root: str | os.PathLike[str] | None = None,
    python: str | None = None,
    setup: tuple[str, ...] = (),
    login_shell: bool = False,
) -> Backend:
    """The backend of a URL; the same one for the same arguments, so that a process has one tracker for each place."""
    parsed = ClusterURL.parse(url)
    chosen = root or parsed.root
    parsed = parsed._replace(root=checked_root(os.fspath(chosen)) if chosen else None)
    spec = Spec(str(parsed), python, setup, login_shell)
    with _backends_lock:
        if spec not in _backends:
            _backends[spec] = Backend(spec)
        return _backends[spec]


def _after_fork() -> None:
    global _backends_lock  # noqa: PLW0603 - whoever held it may be no thread of this process
    _backends_lock = threading.Lock()
    for backend in _backends.values():
        backend.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def checked_root(root: str, *, written: str | None = None) -> str:
    """A root as it is kept; `written` is how an error shows it. Raises ConfigurationError for what can't be one."""
    if not root.startswith(("/", "~/")) or "\\" in root or not root.isprintable():
        shown = repr(written or root)
        message = f"root {shown}: write an absolute path or ~/…, without backslashes and control characters"
        raise ConfigurationError(message)
    return root.rstrip("/") or "/"
