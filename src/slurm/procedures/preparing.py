"""Preparing: record a procedure, and submit its job."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from slurm.errors import SlurmError, TransportError
from slurm.options import Options
from slurm.procedures.errors import NoSuchProcedure, ProcedureError
from slurm.procedures.git import files_of
from slurm.protocol import EVENTS, INBOX
from slurm.protocol.messages import Message
from slurm.protocol.procedures import (
    BEAT,
    BELL,
    CONTEXT,
    EVENT_FILE,
    FAILED,
    IDLE,
    PREP_ENV,
    PROCEDURES,
    SLOTS,
    STOPPED,
    ProcedureRecord,
)
from slurm.runner.procedures.parent import procedure as serve
from slurm.storage.inbox import append, sender
from slurm.storage.keys import new_key
from slurm.tasks.settings import Settings
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

    from slurm.clusters.cluster import Cluster
    from slurm.environments.wheel import Wheel
    from slurm.places.place import Place
    from slurm.protocol.procedures import Abort, Plan, ScriptRecord
    from slurm.serialization.pickling import Arguments

    T = TypeVar("T")

_log = logging.getLogger(__name__)

OWN_OPTIONS: Mapping[str, Any] = {
    "no_requeue": True,
    "launch": "once",
    "reuse": False,
    **dict.fromkeys(("retry", "signal_lead", "chunk_size", "workers")),
}
"""Options that override the defaults of the cluster for all procedures, because a procedure runs only once."""
_BEAT_SECONDS = 5.0


def prepare(
    cluster: Cluster,
    plan: Plan,
    *,
    options: Options,
    abort: Abort | None = None,
    aborts: str | None = None,
    later: bool = False,
) -> tuple[int, ProcedureRecord]:
    """Record a procedure under the next number, and submit its job; return the number and the record.

    For an abort script, `aborts` is the key of the procedure that the script aborts. With `later`, a thread submits the
    job.
    """
    record = ProcedureRecord(
        key=new_key("procedure"),
        plan=plan,
        abort=abort,
        options=options.to_json(),
        by=sender(),
        created=time.time(),
        aborts=aborts,
    )
    early = EarlyEvents.open(cluster.place, record)  # first: a record without these files looks removed
    number = write_record(cluster.place, record)
    submit(cluster, record, early, later=later)
    return number, record


def write_record(place: Place, record: ProcedureRecord) -> int:
    """Record a procedure under the next number, and return the number. From then on, any process may submit it."""
    return append(place.transport, f"{place.store.root}/{PROCEDURES}", record.dumps())


def read_record(place: Place, number: int) -> ProcedureRecord:
    """Read the record of a procedure. Raises NoSuchProcedure."""
    path = f"{place.store.root}/{PROCEDURES}/{number}.json"
    data = place.transport.get([path], private=True).get(path)
    if data is None:
        raise NoSuchProcedure(f"there is no procedure {number} in {place.store.root}")
    return ProcedureRecord.loads(data, where=path)


def was_removed(place: Place, key: str) -> bool:
    """Whether the files of a recorded procedure were removed, for example by `slurm gc`."""
    inbox = f"{place.store.directory(key)}/{INBOX}"
    return BELL not in place.transport.list([inbox])[inbox]


def submit(cluster: Cluster, record: ProcedureRecord, early: EarlyEvents, *, later: bool = False) -> None:
    """Submit the job of a recorded procedure. If the job needs an environment, a thread builds it and submits the job.

    With `later`, a thread submits the job in any case. An error makes the procedure FAILED.
    """
    if later or record.plan.script.project:  # not a daemon: the program must not end before the job is submitted
        threading.Thread(target=_submit_later, args=(cluster, record, early), name=record.key).start()
    else:
        _submit(cluster, record, early)


def _submit_later(cluster: Cluster, record: ProcedureRecord, early: EarlyEvents) -> None:
    try:
        _submit(cluster, record, early)
    except SlurmError as error:
        _log.warning("%s cannot be submitted: %s", record.key, error)


def _submit(cluster: Cluster, record: ProcedureRecord, early: EarlyEvents) -> None:
    call: Arguments = ((record.plan.to_json(),), {})
    settings = Settings(options=Options.parse({**record.options, **OWN_OPTIONS}))
    chain = cluster.chain()
    project = record.plan.script.project
    try:
        with _heartbeat(cluster.place, record, at_once=project):
            if project:
                early.say(IDLE)
                early.say(PREP_ENV)
                settings = settings.replace(environment=(environment_of(record.plan.script),))
            chain.add(record.key, Task(serve, settings), call, record=lambda *_: None)
            if project:
                early.built()
            chain.submit()
    except _StoppedEarly as stopped:
        early.say(STOPPED, f"stopped by {stopped}")
    except SlurmError as error:
        with contextlib.suppress(TransportError):
            early.say(FAILED, str(error))
        raise


def environment_of(script: ScriptRecord) -> Wheel:
    """Return the environment of a script from git, with the project of its commit installed. Raises ScriptError."""
    from slurm.environments.wheel import Wheel  # noqa: PLC0415 - most scripts are files

    return Wheel(files_of(str(script.repository), script.digest))


class _StoppedEarly(Exception):
    """A procedure was stopped before it had a job."""


class EarlyEvents:
    """The events of a procedure before it has a job; the job adds to them later. One process at a time writes them."""

    def __init__(self, place: Place, record: ProcedureRecord, earlier: bytes) -> None:
        self._transport, self._data = place.transport, earlier
        self._directory = f"{place.store.directory(record.key)}/{EVENTS}"

    @classmethod
    def open(cls, place: Place, record: ProcedureRecord) -> Self:
        """Make the files that other processes look for, unless they exist: some file systems cache an absent name."""
        directory = place.store.directory(record.key)
        events, context, slots = f"{directory}/{EVENTS}", f"{place.store.root}/{CONTEXT}", f"{place.store.root}/{SLOTS}"
        found, slot = place.transport.list([events, context, slots]), record.plan.exclusive
        if BELL not in found[context]:
            place.transport.put(context, {BELL: b""})
        if slot is not None and slot not in found[slots]:
            place.transport.put(f"{slots}/{slot}", {})
        path = f"{events}/{EVENT_FILE}"
        if EVENT_FILE in found[events]:
            return cls(place, record, place.transport.get([path]).get(path, b""))
        place.transport.put(
            directory, {f"{INBOX}/{BELL}": b"", f"{EVENTS}/{EVENT_FILE}": b""}, directories=[INBOX, EVENTS]
        )
        return cls(place, record, b"")

    def built(self) -> None:
        """Add the event that the environment is built. Raises _StoppedEarly if a client has sent a stop meanwhile."""
        self.say(IDLE)
        inbox = f"{os.path.dirname(self._directory)}/{INBOX}"
        names = [name for name in self._transport.list([inbox])[inbox] if name[0] != "." and name.endswith(".json")]
        for path, data in self._transport.get([f"{inbox}/{name}" for name in names], private=True).items():
            message = Message.loads(data, where=path)
            if isinstance(message.message, dict) and message.message.get("command") == "stop":
                raise _StoppedEarly(message.sender)

    def say(self, state: str, reason: str = "") -> None:
        """Add an event with a state."""
        event = {"time": time.time(), "attempt": 0, "event": "state", "state": state}
        self._data += json.dumps({**event, **({"reason": reason} if reason else {})}).encode() + b"\n"
        self._transport.put(self._directory, {EVENT_FILE: self._data})


@contextlib.contextmanager
def _heartbeat(place: Place, record: ProcedureRecord, *, at_once: bool) -> Iterator[None]:
    """Write a new number every few seconds, so that other processes see that this process is alive.

    Without `at_once`, the first number is written after a few seconds, so that short work writes nothing.
    """
    ended, directory = threading.Event(), place.store.directory(record.key)

    def beat() -> None:
        if not at_once and ended.wait(_BEAT_SECONDS):
            return
        for number in itertools.count():
            with contextlib.suppress(TransportError):
                place.transport.put(directory, {BEAT: f"{sender()} {number}".encode()})
            if ended.wait(_BEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, daemon=True, name="procedure beat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def make_context(place: Place) -> None:
    """Make the directory of overrides and its file `bell`, unless they exist."""
    context = f"{place.store.root}/{CONTEXT}"
    if BELL not in place.transport.list([context])[context]:
        place.transport.put(context, {BELL: b""})


def checked_json(value: T, what: str) -> T:
    """Return `value` if it is a JSON value. Raises ProcedureError if not; `what` names it in the message."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProcedureError(f"{what} must be JSON values: {error}") from error
    return value
