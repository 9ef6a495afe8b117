"""ScriptExecutionService: prepares procedures at a place, and finds those of any process."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError, ProtocolError, TransportError
from slurm.procedures.errors import NoSuchProcedure, ProcedureError
from slurm.procedures.procedure import Procedure
from slurm.protocol import EVENTS, INBOX
from slurm.protocol.procedures import BELL, EVENT_FILE, PROCEDURES, CallArguments, Plan, ProcedureRecord
from slurm.runner.procedures.parent import procedure as serve
from slurm.storage.inbox import append, sender
from slurm.storage.keys import new_key
from slurm.tasks.settings import Settings
from slurm.tasks.task import Task

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from slurm.options.types import TaskOptions
    from slurm.procedures.script import Script
    from slurm.serialization.pickling import Arguments


class ScriptExecutionService:
    """Procedures of one directory, at one place. The constructor does no I/O; all state is in that directory.

    `on` is the URL of a cluster, and `directory` its root there: any process that has both sees the same procedures.
    `grace` is the time that a script has to end after SIGTERM. A procedure that is READY and not used for
    `idle_timeout` ends. `options` are those of the jobs, such as `time`.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        on: str = "local",
        options: TaskOptions | None = None,
        grace: float = 2.0,
        idle_timeout: float | None = 3600.0,
    ) -> None:
        self.cluster = Cluster(on, root=directory)
        self._settings = Settings.parse({**(options or {}), "no_requeue": True})
        self._grace = _seconds(grace, "grace")
        self._idle_timeout = None if idle_timeout is None else _seconds(idle_timeout, "idle_timeout")

    def prepare(self, script: Script, /, *args: Any, **kwargs: Any) -> Procedure:
        """Prepare a script: load it in a job, and call its `init` with these arguments, JSON values.

        Returns at once. The procedure is READY when `init` has returned. Raises ScriptError, and what a submission
        raises.
        """
        read = script.read()
        init = CallArguments(args=args, kwargs=_checked(args, kwargs))
        place = self.cluster.place
        record = ProcedureRecord(
            key=new_key("procedure"),
            script=read.record,
            init=init,
            by=sender(),
            created=time.time(),
            grace=self._grace,
        )
        plan = Plan(
            script=read.record,
            text=read.text,
            init=init,
            grace=self._grace,
            kill_wait=place.scheduler_class.kill_wait,
            idle_timeout=self._idle_timeout,
        )
        number = append(place.transport, f"{place.store.root}/{PROCEDURES}", record.dumps())
        # A name that was looked for in vain stays absent on some file systems, so both are there before anybody looks.
        files = {f"{INBOX}/{BELL}": b"", f"{EVENTS}/{EVENT_FILE}": b""}
        place.transport.put(place.store.directory(record.key), files, directories=[INBOX, EVENTS])
        call: Arguments = ((plan.to_json(),), {})
        self.cluster.submit_under(record.key, Task(serve, self._settings), call, record=lambda *_: None)
        return Procedure(place, number, record)

    def procedure(self, number: int) -> Procedure:
        """Open a procedure that any process has prepared. Raises NoSuchProcedure."""
        place = self.cluster.place
        path = f"{place.store.root}/{PROCEDURES}/{number}.json"
        data = place.transport.get([path], private=True).get(path)
        if data is None:
            raise NoSuchProcedure(f"there is no procedure {number} in {place.store.root}")
        return Procedure(place, number, ProcedureRecord.loads(data, where=path))

    def procedures(self) -> list[Procedure]:
        """All procedures, newest first. Records that cannot be read are left out."""
        place = self.cluster.place
        directory = f"{place.store.root}/{PROCEDURES}"
        names = place.transport.list([directory])[directory]
        numbers = sorted(
            (int(name[:-5]) for name in names if name[:-5].isdecimal() and name[-5:] == ".json"), reverse=True
        )
        files = place.transport.get_each([f"{directory}/{number}.json" for number in numbers], private=True)
        found = []
        for number in numbers:
            path = f"{directory}/{number}.json"
            try:
                if isinstance(data := files.get(path), bytes):
                    found.append(Procedure(place, number, ProcedureRecord.loads(data, where=path)))
            except (ProtocolError, TransportError):
                continue
        return found

    def __repr__(self) -> str:
        return f"<ScriptExecutionService on {self.cluster.url!r}>"


def _checked(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        json.dumps([args, kwargs], allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProcedureError(f"the arguments of init are not JSON values: {error}") from error
    return kwargs


def _seconds(number: float, name: str) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < float("inf"):
        raise ConfigurationError(f"{name}={number!r}: write a positive number of seconds")
    return float(number)
