"""Plan: the submission that a call would make, as far as it is known before anything is written or queued."""

from __future__ import annotations

import shlex
import threading
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from slurm.environments.base import UNKNOWN_PYTHON, is_made
from slurm.errors import SchedulerError, SubmissionError, SubmissionRefused
from slurm.jobs.chunking import AUTO
from slurm.protocol import BLOBS, CARETAKER, SCRIPT
from slurm.schedulers.base import LAST_BLOCK, LAST_CLUSTER, Site
from slurm.storage.job_store import JobStore
from slurm.storage.new_submission import NewSubmission
from slurm.storage.runner_zip import bundle
from slurm.storage.uploads import size_of
from slurm.submission import external_jobs
from slurm.submission.job_queue import JobQueue
from slurm.submission.registry import SubmissionRegistry
from slurm.submission.requests import Requests
from slurm.transports.base import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from slurm.options import Options
    from slurm.places.place import Place
    from slurm.protocol import Submission
    from slurm.schedulers.base import Dependency, Request
    from slurm.serialization.calls import Calls
    from slurm.serialization.pickling import Pickled
    from slurm.storage.uploads import Uploads

J = TypeVar("J")

UNKNOWN_ROOT = "<root>"
_BLOCK_BEFORE = "<id of the array before>"


class Draft(NamedTuple):
    """A described submission with its pickles, which are written under the key of the submission."""

    submission: Submission
    pickled: Pickled
    calls: Calls
    """The pickled calls with the callbacks."""
    uploads: Uploads
    """The files of this machine that the calls use."""
    options: Options
    modules: tuple[str, ...]
    """The modules of the environment that the pickles refer to by name."""


class Plan(Generic[J]):
    """The submission that a call or a map would make. Nothing is written, queued or made for it, here or there.

    `str(plan)` shows the whole plan. `submit()` submits it with the same key and pickles. Everything else is then done
    again: the environment is made, limits and dependencies are looked up.
    """

    def __init__(self, place: Place, draft: Draft, *, offline: str | None, submit: Callable[[Draft], J]) -> None:
        self._draft, self._submit, self._lock = draft, submit, threading.Lock()
        self._job: J | None = None
        self._used = False
        submission = draft.submission
        text = _Text(place, offline=offline is not None)
        self.key, self.task = submission.key, submission.task
        self.count, self.elements = submission.count, submission.elements
        self.options: dict[str, Any] = dict(submission.options)
        self.labels: dict[str, str] = dict(submission.labels or {})
        self.environment = submission.environment
        self.launch = shlex.join(submission.launch or ())
        self.program = ""
        """The command line of the program that a tool's script runs, which `slurm.tools` fills in."""
        self.scripts = text.scripts(submission, draft.options)
        self._words, self.dependencies = text.commands(submission, draft.options)
        self.commands = tuple(map(shlex.join, self._words))
        self.files = text.files(draft, self.scripts)
        self.notes = tuple(_notes(submission, offline, text))

    @property
    def script(self) -> str:
        """The batch script; empty if there are no calls."""
        return self.scripts.get(SCRIPT, "")

    @property
    def pickled(self) -> int:
        """The number of bytes of the pickled function, arguments and callbacks."""
        return len(self._draft.calls.data) + len(self._draft.calls.callbacks)

    def submit(self) -> J:
        """Submit the plan, and return the job or array. Another call of this method returns the same.

        Raises what the call would raise, and SubmissionError if the scheduler has refused this plan before.
        """
        with self._lock:
            if self._job is None:
                if self._used:
                    raise SubmissionError(f"{self.key} was refused before: make a new plan to submit these calls")
                try:
                    self._job = self._submit(self._draft)
                except SubmissionRefused:
                    self._used = True
                    raise
            return self._job

    def __repr__(self) -> str:
        return f"<Plan {self.key}: {_calls(self.count, self.elements)}>"

    def __str__(self) -> str:
        scripts = [f"\n--- {name}\n{text}" for name, text in self.scripts.items()]
        return "\n".join([self.summary, *scripts])

    @property
    def summary(self) -> str:
        """The plan as text, without the scripts."""
        about = "" if is_made(self.environment) else "about "
        rows = {
            "key": self.key,
            "calls": _calls(self.count, self.elements),
            "labels": " ".join(f"{name}={value}" for name, value in self.labels.items()),
            "environment": f"{self.environment.asked}: {self.environment.key}",
            "waits for": ", ".join(self.dependencies),
            "pickles": f"{about}{self.pickled} bytes",
            "files": "\n".join(f"{about if name.endswith('.pkl') else ''}{n} {name}" for name, n in self.files.items()),
            "command": "\n".join(map(command_text, self._words)),
            "program": self.program,
            "note": "\n".join(self.notes),
        }
        lines = [(name, line) for name, text in rows.items() if text for line in text.split("\n")]
        return "\n".join(f"{name:12} {line}" for name, line in lines)


def preview(place: Place, submission: Submission, options: Options, *, offline: bool) -> str:
    """The script of a submission whose calls are not known."""
    return _Text(place, offline=offline).scripts(submission, options)[SCRIPT]


class _Text:
    """Renders scripts and commands of one place from the result of its probe, or offline with placeholders."""

    def __init__(self, place: Place, *, offline: bool) -> None:
        known = place.known_root
        if offline:
            root = known if known and known.startswith("/") else UNKNOWN_ROOT
            scheduler = place.scheduler_class(Site(UNKNOWN_PYTHON, f"{root}/{BLOBS}/{bundle().name}"))
        else:
            root, scheduler = place.store.root, place.scheduler
        self.unknown_limits = not offline and place.probe.limits.status != 0
        limits = Completed((), 0, "", "") if offline or self.unknown_limits else place.probe.limits
        self._queue = JobQueue(
            place.url.scheduler, scheduler=lambda: scheduler, connect=_connect, limits=lambda: limits
        )
        self._blobs = None if offline else place.blobs
        self._blob_is_there = not offline and place.probe.blob_is_there
        store = JobStore(place.transport, root)
        registry = place.known_registry or SubmissionRegistry(store)
        self._requests = Requests(store, self._queue, registry, lambda _: None, outside=external_jobs.planned)

    def scripts(self, submission: Submission, options: Options) -> dict[str, str]:
        """The scripts, by their names in the submission's directory."""
        if not submission.count:
            return {}
        found = {SCRIPT: self._requests.script(submission, options)}
        if submission.continues:
            found[CARETAKER] = self._requests.retry_job_script(submission, options)
        return found

    def commands(self, submission: Submission, options: Options) -> tuple[tuple[Sequence[str], ...], tuple[str, ...]]:
        """The words of the command that queues each array, and the dependencies. None while upstreams wait for room."""
        requests = self._requests.blocks(submission, options)
        named = dict.fromkeys(_shown(item) for request in requests for item in request.dependencies)
        named.pop("", None)
        return tuple(map(self._command, requests)), tuple(named)

    def _command(self, request: Request) -> Sequence[str]:
        words = [word for word in self._queue.scheduler.submit_command(request) if LAST_CLUSTER not in word]
        return [word.replace(LAST_BLOCK, _BLOCK_BEFORE) for word in words]

    def files(self, draft: Draft, scripts: Mapping[str, str]) -> dict[str, int]:
        """The sizes of the files that would be written, by their paths under the root."""
        if not draft.submission.count:
            return {}
        new = NewSubmission(draft.submission, draft.calls, scripts)
        found = {f"{new.directory}/{name}": len(data) for name, data in new.files.items() if data}
        sent = self._blobs.missing(draft.uploads) if self._blobs else draft.uploads.contents
        found |= {f"{BLOBS}/{name}": size_of(content) for name, content in sent.items()}
        return found if self._blob_is_there else {**found, f"{BLOBS}/{bundle().name}": len(bundle().data)}


def _connect() -> NoReturn:
    raise SchedulerError("a plan runs no commands of the scheduler")


def command_text(words: Sequence[str]) -> str:
    """A command for people to read. A program in one of its words is left out."""
    return " ".join("…" if "\n" in word else shlex.quote(word) for word in words)


def _shown(item: Dependency) -> str:
    return "" if LAST_BLOCK in item.ids else ":".join((item.kind, *item.ids))


def _calls(count: int, elements: int) -> str:
    of = f" in {elements} elements" if elements != count else ""
    return f"{count} call{'s' if count != 1 else ''}{of}"


def _notes(submission: Submission, offline: str | None, text: _Text) -> Sequence[str]:
    notes = [] if submission.count else ["there are no calls, so nothing is submitted"]
    if offline is not None:
        why = f" ({offline.splitlines()[0]})" if offline else ""
        notes.append(f"offline{why}: what is on the cluster is not known")
    elif not is_made(submission.environment):
        notes.append("the environment is not there yet; sizes and the script are final once it is made")
    if submission.options.get("chunk_size") == AUTO:
        notes.append('chunk_size="auto": a map of more than 20 calls submits 20 first; their times tell the rest')
    if submission.options.get("reuse"):
        notes.append("the task reuses results: calls that are known at the submission are left out of it")
    if text.unknown_limits:
        notes.append("the scheduler did not report its limits: the number of arrays may be another")
    if submission.after:
        notes.append(f"asked for at the submission: jobs {', '.join(job.id for job in submission.after)}")
    return notes
