"""Preparing: record a procedure, and submit its job."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, TypeVar

from slurm.options import Options
from slurm.procedures.errors import NoSuchProcedure, ProcedureError
from slurm.protocol import EVENTS, INBOX
from slurm.protocol.procedures import BELL, CONTEXT, EVENT_FILE, PROCEDURES, SLOTS, ProcedureRecord
from slurm.runner.procedures.parent import procedure as serve
from slurm.storage.inbox import append, sender
from slurm.storage.keys import new_key
from slurm.tasks.settings import Settings
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from slurm.clusters.cluster import Cluster
    from slurm.places.place import Place
    from slurm.protocol.procedures import Abort, Plan
    from slurm.serialization.pickling import Arguments

    T = TypeVar("T")


def prepare(
    cluster: Cluster, plan: Plan, *, options: Options, abort: Abort | None = None, aborts: str | None = None
) -> tuple[int, ProcedureRecord]:
    """Record a procedure under the next number, which is returned with the record, and submit its job.

    `aborts` is the key of the procedure that it aborts.
    """
    number, record = write_record(cluster.place, plan, options=options, abort=abort, aborts=aborts)
    submit(cluster, record)
    return number, record


def write_record(
    place: Place, plan: Plan, *, options: Options, abort: Abort | None, aborts: str | None
) -> tuple[int, ProcedureRecord]:
    """Record a procedure under the next number. From then on, any process may submit it."""
    record = ProcedureRecord(
        key=new_key("procedure"),
        plan=plan,
        abort=abort,
        options=options.to_json(),
        by=sender(),
        created=time.time(),
        aborts=aborts,
    )
    return append(place.transport, f"{place.store.root}/{PROCEDURES}", record.dumps()), record


def read_record(place: Place, number: int) -> ProcedureRecord:
    """Read the record of a procedure. Raises NoSuchProcedure."""
    path = f"{place.store.root}/{PROCEDURES}/{number}.json"
    data = place.transport.get([path], private=True).get(path)
    if data is None:
        raise NoSuchProcedure(f"there is no procedure {number} in {place.store.root}")
    return ProcedureRecord.loads(data, where=path)


def submit(cluster: Cluster, record: ProcedureRecord) -> None:
    """Submit the job of a procedure that is recorded."""
    place = cluster.place
    # A name that was looked for in vain stays absent on some file systems, so these exist before anybody looks.
    files = {f"{INBOX}/{BELL}": b"", f"{EVENTS}/{EVENT_FILE}": b""}
    place.transport.put(place.store.directory(record.key), files, directories=[INBOX, EVENTS])
    make_shared_files(place, record.plan.exclusive)
    call: Arguments = ((record.plan.to_json(),), {})
    task = Task(serve, Settings(options=Options.parse(record.options)))
    chain = cluster.chain()
    chain.add(record.key, task, call, record=lambda *_: None)
    chain.submit()


def make_shared_files(place: Place, slot: str | None) -> None:
    """Make the files of a root that procedures share, unless they exist."""
    context, slots = f"{place.store.root}/{CONTEXT}", f"{place.store.root}/{SLOTS}"
    found = place.transport.list([context, slots])
    if BELL not in found[context]:
        place.transport.put(context, {BELL: b""})
    if slot is not None and slot not in found[slots]:
        place.transport.put(f"{slots}/{slot}", {})


def checked_json(value: T, what: str) -> T:
    """Return a JSON value. Raises ProcedureError for another one."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProcedureError(f"{what} must be JSON values: {error}") from error
    return value
