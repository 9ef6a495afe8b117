"""Place: where jobs run and are kept, composed from its URL: transport, scheduler, store, tracker."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from posixpath import normpath
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from slurm.environments.base import Interpreter
from slurm.environments.current import found, installed, probe
from slurm.errors import ConfigurationError, PluginNotFound
from slurm.notifications.subscriptions import Subscriptions
from slurm.places.probe import SiteProbe
from slurm.plugins import plugin
from slurm.schedulers.base import Site
from slurm.schedulers.client import SchedulerClient
from slurm.storage.job_store import JobStore
from slurm.storage.outcome_sources import OutcomeSources
from slurm.storage.reuse_records import ReuseRecords
from slurm.storage.runner_zip import bundle
from slurm.storage.uploads import BlobStore
from slurm.submission.job_queue import JobQueue
from slurm.submission.registry import SubmissionRegistry
from slurm.submission.requests import Requests
from slurm.submission.timings import Timings
from slurm.tracking.deferred import DeferredSubmission
from slurm.tracking.finalize import Finalizer
from slurm.tracking.recovery import Recovery
from slurm.tracking.resubmit import Resubmitter
from slurm.tracking.status_poller import StatusPoller
from slurm.tracking.tracker import Tracker
from slurm.url import ClusterURL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slurm.protocol import ResolvedEnvironment
    from slurm.schedulers.base import Scheduler
    from slurm.storage.job_store import Records
    from slurm.storage.new_submission import NewSubmission
    from slurm.storage.runner_zip import RunnerZip
    from slurm.submission.status import Settled
    from slurm.submission.submission_state import SubmissionState
    from slurm.tracking.workflow_journal import WorkflowJournal
    from slurm.transports.base import Transport

T = TypeVar("T")

_log = logging.getLogger(__name__)


class once(Generic[T]):  # noqa: N801 - used like `property`
    """A property that is computed once. Each has its own lock, so a slow property delays only its own readers."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Place, kind: type | None = None) -> T:
        with owner.locks.setdefault(self._name, threading.Lock()):
            if self._name not in owner.__dict__:
                owner.__dict__[self._name] = self._compute(owner)
            found: T = owner.__dict__[self._name]
            return found


class Spec(NamedTuple):
    """The values from which `place_for` makes the same place, in any process."""

    url: str
    python: str | None = None
    setup: tuple[str, ...] = ()
    """Steps that may provide the Python."""
    login_shell: bool = False


class OnNode(NamedTuple):
    """The differences of a place that a job on a node uses. Refusals are not final: the node may not submit."""

    environment: ResolvedEnvironment | None = None
    """The environment of the workflow, if the job runs one."""
    journal: WorkflowJournal | None = None
    """Records the submissions of this workflow."""


class Place:
    """The place where jobs run and are stored. Connects and looks up values only when they are needed."""

    timings: ClassVar[Timings] = Timings()

    def __init__(self, spec: Spec, on_node: OnNode | None = None) -> None:
        self.spec, self.on_node = spec, on_node
        self.url = url = ClusterURL.parse(spec.url)
        self._transport_class = plugin("transports", url.transport)
        self.scheduler_class = plugin("schedulers", url.scheduler)
        self._delivered = False
        self.prepared: dict[tuple[object, ...], ResolvedEnvironment] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """Replace all locks: in the child of a fork, the threads that would release them may not exist."""
        self.locks: dict[str, threading.Lock] = {}
        self.preparing: dict[tuple[object, ...], threading.Lock] = {}
        self.__dict__.pop("subscriptions", None)
        for part in ("transport", "probe", "queue", "registry", "tracker", "reuse_records"):
            if part in self.__dict__:
                self.__dict__[part].after_fork()

    # The parts of the place.

    @once
    def transport(self) -> Transport:
        """Runs commands and moves bytes there."""
        transport: Transport = self._transport_class.from_url(self.url, login_shell=self.spec.login_shell)
        return transport

    @once
    def probe(self) -> SiteProbe:
        """The probe of the place, made when it is first used."""
        python = probe(Interpreter(self.spec.python, self.spec.setup))
        limits = self.scheduler_class(Site("", "")).limits_command()
        return SiteProbe(self.transport, self.url.root, bundle().name, python=python, limits=limits)

    @once
    def store(self) -> JobStore:
        """The job directories there."""
        return JobStore(self.transport, self.probe.root)

    @once
    def outcomes(self) -> OutcomeSources:
        """The sources from which the outcomes of submissions there are read."""
        return OutcomeSources(self.store)

    @once
    def blobs(self) -> BlobStore:
        """The files that clients have sent there."""
        return BlobStore(self.transport, lambda: self.store.root)

    @once
    def reuse_records(self) -> ReuseRecords:
        """The records of the calls that submissions compute, for tasks that reuse results."""
        return ReuseRecords(self.store, self.transport)

    @property
    def known_root(self) -> str | None:
        """The root, if it was given as a path, or if the probe has found it already."""
        store: JobStore | None = self.__dict__.get("store")
        return store.root if store else self.url.root

    @once
    def current(self) -> ResolvedEnvironment:
        """The Python on the cluster that can unpickle this client's calls."""
        return found(Interpreter(self.spec.python, self.spec.setup), self.probe.python)

    @once
    def packages(self) -> str:
        """The digest of the packages of the Python there. Queried together with the probe, if it is not made yet."""
        done = self.probe.ask(installed(Interpreter(self.spec.python, self.spec.setup)))
        return done.stdout.strip() if done.status == 0 else ""

    @once
    def scheduler(self) -> Scheduler:
        """Builds the scheduler's commands, and parses their output."""
        known = self.probe.python.status == 0  # otherwise an environment may provide one
        python = self.current.python if known else "python3"
        scheduler: Scheduler = self.scheduler_class(Site(python, self.store.blob_path(bundle())))
        return scheduler

    @once
    def queue(self) -> JobQueue:
        """The scheduler's queue there."""
        return JobQueue(
            self.url.scheduler,
            scheduler=lambda: self.scheduler,
            connect=self._connect,
            limits=lambda: self.probe.limits,
        )

    def lacking(self) -> list[str]:
        """The commands that the scheduler needs, but that are missing in this container or on this machine."""
        needs = self.scheduler_class(Site("", "")).needs
        return [name for name in needs if not (os.path.exists(name) if "/" in name else shutil.which(name))]

    def has(self, records: Records) -> bool:
        """Whether a submission under this root belongs to the scheduler here, according to its records."""
        return records.scheduler in (None, self.scheduler_class.name)

    def of(self, records: Records) -> Place:
        """The place of a submission under this root: this place, or one with another scheduler on the same machine.

        Raises PluginNotFound if this program does not have that scheduler.
        """
        if self.has(records):
            return self
        url = self.url._replace(scheduler=str(records.scheduler), root=self.store.root)
        found = place_for(str(url), python=self.spec.python, setup=self.spec.setup, login_shell=self.spec.login_shell)
        found.__dict__.setdefault("transport", self.transport)
        return found

    def owner(self, records: Records, *, everywhere: bool = True) -> Place | None:
        """The place of a submission under this root, as `of`; None if it has another scheduler, unless `everywhere`.

        Also returns None, with a warning, if this program does not have that scheduler.
        """
        if not everywhere and not self.has(records):
            return None
        try:
            return self.of(records)
        except PluginNotFound as error:
            _log.warning("%s is left out: %s", records.submission.key, error)
            return None

    # What is known about the submissions there.

    @once
    def registry(self) -> SubmissionRegistry:
        """The states of the submissions there."""
        return SubmissionRegistry(self.store)

    @property
    def known_registry(self) -> SubmissionRegistry | None:
        """The states that this process has used already; None before the first one."""
        return self.__dict__.get("registry")

    @once
    def requests(self) -> Requests:
        """Builds scripts and requests to submit."""
        return Requests(self.store, self.queue, self.registry, lambda several: self.tracker.list_outcomes(several))  # noqa: PLW0108 - made later

    @once
    def deferred(self) -> DeferredSubmission:
        """Queues elements that did not fit into the queue."""
        abandoned_after = self.timings.abandoned_claim
        return DeferredSubmission(
            self.requests, abandoned_after=abandoned_after, refusals_are_final=self.on_node is None
        )

    @once
    def recovery(self) -> Recovery:
        """Completes submissions whose client has died."""
        return Recovery(self.store, self.queue, self.registry, self.deferred)

    @once
    def finalizer(self) -> Finalizer:
        """Resubmits elements, or writes their outcomes."""
        resubmitter = Resubmitter(
            self.requests,
            check=lambda watched: self.tracker.check([watched]),
            timings=self.timings,
            refusals_are_final=self.on_node is None,
        )
        return Finalizer(self.store, resubmitter)

    @once
    def tracker(self) -> Tracker:
        """Follows the submissions there."""
        poller = StatusPoller(
            query=lambda ids: self.queue.client.query(ids),  # noqa: PLW0108 - the client is made later
            history=lambda ids: self.queue.client.history(ids),  # noqa: PLW0108
            complete=self.recovery.complete,
            here=lambda: self.queue.here,
            runaway=self.timings.runaway,
        )
        return Tracker(
            self.registry,
            listing=self.outcomes.done,
            learn_growth=self._learn_growth(),
            distrust=self.store.distrust,
            poller=poller,
            finalize=self.finalizer.finalize,
            poll_progress=lambda: self.subscriptions.poll_progress(),  # noqa: PLW0108 - made later
            pace=self.transport.pace,
            patience=self.scheduler.patience,
            timings=self.timings,
        )

    def _learn_growth(self) -> Callable[[Iterable[SubmissionState]], Sequence[Settled]]:
        """Return a function that learns the growth of elastic pools. On nodes, which lack the code, it does nothing."""
        try:
            from slurm.tracking.elastic_pools import ElasticPools  # noqa: PLC0415 - see above
        except ModuleNotFoundError:
            return lambda _: ()
        return ElasticPools(self.store, self.transport).learn

    @once
    def subscriptions(self) -> Subscriptions:
        """Passes events of jobs there to the callbacks on this client."""
        return Subscriptions(str(self.url), self.store, self.transport, self.tracker.follow, timings=self.timings)

    def log_path(self, watched: SubmissionState, index: int, rank: int = 0) -> str:
        """The path on the cluster of the log of a call's element, or of one of its ranks."""
        return normpath(f"{self.store.directory(watched.key)}/{watched.log(index, rank)}")

    # Methods that write.

    def create(self, *new: NewSubmission) -> None:
        """Write new submissions, and the runner's zip if it is not there yet."""
        self.store.create(*new, blob=self._undelivered())
        self._delivered = True

    def deliver(self) -> None:
        """Send the runner's zip if it is not there yet."""
        if blob := self._undelivered():
            self.store.put_blob(blob)
            self._delivered = True

    def _connect(self) -> SchedulerClient:
        """Send the runner's zip if it is not there yet, because it may hold the scheduler's commands."""
        self.deliver()
        return SchedulerClient(self.scheduler, self.transport)

    def _undelivered(self) -> RunnerZip | None:
        there = self._delivered or self.probe.blob_is_there
        return None if there else bundle()


_places: dict[Spec, Place] = {}
_places_lock = threading.Lock()


def place_for(
    url: str,
    *,
    root: str | os.PathLike[str] | None = None,
    python: str | None = None,
    setup: tuple[str, ...] = (),
    login_shell: bool = False,
    on_node: OnNode | None = None,
) -> Place:
    """Return the place for a URL. Equal arguments give the same place, so a process has one tracker for each place.

    `on_node` makes it the place of a job on a node.
    """
    parsed = ClusterURL.parse(url)
    chosen = root or parsed.root
    parsed = parsed._replace(root=checked_root(os.fspath(chosen)) if chosen else None)
    spec = Spec(str(parsed), python, setup, login_shell)
    with _places_lock:
        if spec not in _places or on_node:
            try:
                _places[spec] = Place(spec, on_node)
            except PluginNotFound as error:
                if url != parsed.scheduler:
                    raise
                advice = f"For a cluster of a Slurmfile, write Cluster.from_slurmfile({url!r})"
                raise PluginNotFound(f"{f'{error}.'.replace('?.', '?')} {advice}") from None
        return _places[spec]


def _after_fork() -> None:
    global _places_lock  # noqa: PLW0603 - after fork, the lock may be held by a thread that exists only in the parent
    _places_lock = threading.Lock()
    for place in _places.values():
        place.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def checked_root(root: str, *, written: str | None = None) -> str:
    """Return a root in its stored form. `written` is how an error shows it. Raises ConfigurationError if invalid."""
    if not root.startswith(("/", "~/")) or "\\" in root or not root.isprintable():
        shown = repr(written or root)
        raise ConfigurationError(
            f"root {shown}: write an absolute path or ~/…, without backslashes and control characters"
        )
    return root.rstrip("/") or "/"
