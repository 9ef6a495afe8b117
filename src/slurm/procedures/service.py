"""ScriptExecutionService: prepares procedures at a place, and finds those of any process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError
from slurm.procedures.errors import NoSuchProcedure
from slurm.procedures.listing import Listing
from slurm.procedures.preparing import checked_json, prepare, read_record
from slurm.procedures.procedure import Procedure
from slurm.procedures.shared_records import overrides, publish, release
from slurm.procedures.states import ProcedureState
from slurm.protocol.procedures import (
    FAILURE,
    STOP,
    Abort,
    CallArguments,
    Plan,
    is_name,
)
from slurm.tasks.settings import Settings

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from slurm.options.types import TaskOptions
    from slurm.procedures.script import Script
    from slurm.procedures.states import ProcedureSummary

_PAGE = 100


class ScriptExecutionService:
    """Procedures of one directory, at one place. The constructor does no I/O; all state is in that directory.

    `on` is a cluster or its URL, and `directory` the root there, by default that of the cluster: any process that has
    both sees the same procedures.
    `grace` is the time that a script has to end after SIGTERM. A procedure that is READY and not used for
    `idle_timeout` ends. `options` are those of the jobs, such as `time`.
    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        on: str | Cluster = "local",
        options: TaskOptions | None = None,
        grace: float = 2.0,
        idle_timeout: float | None = 3600.0,
        exclusive: str | None = None,
        abort: Script | None = None,
        abort_on: Sequence[str] = (STOP,),
        abort_ready: bool = True,
    ) -> None:
        self.cluster = _at(on, directory)
        self._listing = Listing(self.cluster)
        self._settings = Settings.parse({**(options or {}), "no_requeue": True})
        self._grace = _seconds(grace, "grace")
        self._idle_timeout = None if idle_timeout is None else _seconds(idle_timeout, "idle_timeout")
        self._exclusive = None if exclusive is None else _checked_name(exclusive, "exclusive")
        self._abort, self._abort_on, self._abort_ready = abort, (*abort_on,), abort_ready
        if wrong := [on for on in self._abort_on if on not in (STOP, FAILURE)]:
            raise ConfigurationError(f"abort_on={abort_on!r}: {wrong[0]!r} is neither {STOP!r} nor {FAILURE!r}")

    def prepare(self, script: Script, /, *args: Any, **kwargs: Any) -> Procedure:
        """Prepare a script: load it in a job, and call its `init` with these arguments, JSON values.

        Returns at once. The procedure is READY when `init` has returned. Raises ScriptError, and what a submission
        raises.
        """
        checked_json([args, kwargs], "the arguments of init")
        init = CallArguments(args=args, kwargs=kwargs)
        abort = self._abort and Abort(script=self._abort.read(), init=init, on=self._abort_on, early=self._abort_ready)
        plan = Plan(
            script=script.read(),
            init=init,
            grace=self._grace,
            kill_wait=self.cluster.place.scheduler_class.kill_wait,
            idle_timeout=self._idle_timeout,
            exclusive=self._exclusive,
        )
        return Procedure(self.cluster, *prepare(self.cluster, plan, options=self._settings.options, abort=abort))

    def procedure(self, number: int) -> Procedure:
        """Open a procedure that any process has prepared. Raises NoSuchProcedure."""
        return Procedure(self.cluster, number, read_record(self.cluster.place, number))

    def procedures(self) -> list[Procedure]:
        """All procedures, newest first. Records that cannot be read are left out."""
        return self._listing.procedures(self._listing.numbers())

    def summarise(
        self, *ids: int, state: str | ProcedureState | None = None, limit: int | None = None
    ) -> list[ProcedureSummary]:
        """What is known of procedures now, newest first: of all, of some by their numbers, or those in a state.

        Reads the events together, and asks the scheduler once. A procedure without a job, whose preparer has died, is
        submitted after a minute. Raises NoSuchProcedure.
        """
        wanted = None if state is None else ProcedureState.of(state)
        numbers = list(ids) or self._listing.numbers()
        found: list[ProcedureSummary] = []
        for at in range(0, len(numbers), _PAGE):
            page = self._listing.procedures(numbers[at : at + _PAGE])
            if ids and len(page) < len(numbers[at : at + _PAGE]):
                missing = {*numbers[at : at + _PAGE]} - {each.number for each in page}
                raise NoSuchProcedure(f"there is no procedure {min(missing)} in {self.cluster.place.store.root}")
            found += [each for each in self._listing.summaries(page) if wanted in (None, each.state)]
            if limit is not None and len(found) >= limit:
                break
        return found[:limit]

    def publish(self, topic: str, /, **values: Any) -> int:
        """Set what an operator wants: JSON values of a topic, for all procedures here, also of later ones.

        Replaces what was set before. A script reads it by `procedure.flag` and `procedure.context`. Returns the number
        of the change.
        """
        place = self.cluster.place
        return publish(place, _checked_name(topic, "topic"), checked_json(values, f"the values of {topic}"))

    def overrides(self) -> dict[str, Mapping[str, Any]]:
        """What operators have set: the last values of each topic. Takes three commands."""
        return overrides(self.cluster.place)

    def release(self, slot: str) -> str | None:
        """Free an exclusive slot whose holder can no longer say that it has ended. Returns the key of the holder.

        The holder may still run, for example on a node that was lost: look before. None if nobody has the slot.
        """
        return release(self.cluster.place, _checked_name(slot, "slot"))

    def __repr__(self) -> str:
        return f"<ScriptExecutionService on {self.cluster.url!r}>"


def _at(on: str | Cluster, directory: str | os.PathLike[str] | None) -> Cluster:
    """Return a cluster with a directory as its root."""
    if isinstance(on, str):
        return Cluster(on, root=directory)
    if directory is None:
        return on
    spec, url = on.place.spec, on.place.url._replace(root=None)
    moved = Cluster(str(url), root=directory, python=spec.python, setup=spec.setup, login_shell=spec.login_shell)
    moved.settings = on.settings
    return moved


def _checked_name(name: str, what: str) -> str:
    if not is_name(name):
        raise ConfigurationError(f"{what}={name!r}: write letters, digits, '.', '_' and '-'")
    return name


def _seconds(number: float, name: str) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < float("inf"):
        raise ConfigurationError(f"{name}={number!r}: write a positive number of seconds")
    return float(number)
