"""ScriptExecutionService: prepare procedures at a place, and find the procedures that any process has prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError, OptionError
from slurm.options import Options
from slurm.procedures.commands import PrepareProcessCommand
from slurm.procedures.errors import NoSuchProcedure
from slurm.procedures.listing import Listing
from slurm.procedures.preparing import OWN_OPTIONS, checked_json, prepare, read_record
from slurm.procedures.procedure import Procedure
from slurm.procedures.shared_records import checked_name, overrides, publish, release
from slurm.procedures.states import ProcedureState
from slurm.protocol.procedures import FAILURE, STOP, Abort, CallArguments, Plan

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from slurm.options.types import TaskOptions
    from slurm.procedures.commands import StartProcessCommand, StopProcessCommand
    from slurm.procedures.script import Script
    from slurm.procedures.states import ProcedureSummary

_PAGE = 100


class ScriptExecutionService:
    """The procedures in one directory at one place. The constructor does no I/O; all state is in this directory.

    `on` is a cluster or its URL. `directory` is the root there, by default the root of the cluster. Processes with the
    same two values see the same procedures. `grace` is the time in seconds that a script has to end after SIGTERM. A
    procedure that is READY ends if it is not used for `idle_timeout` seconds. `options` are options of the jobs, such
    as `time`.
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
        self._prepared: list[Procedure] = []
        if wrong := [name for name in options or () if name in OWN_OPTIONS]:
            raise OptionError(f"options: {wrong[0]} is not possible for procedures: each runs once, as one process")
        self._options = Options.parse(options or {})
        self._grace = _seconds(grace, "grace")
        self._idle_timeout = None if idle_timeout is None else _seconds(idle_timeout, "idle_timeout")
        self._exclusive = None if exclusive is None else checked_name(exclusive, "exclusive")
        self._abort, self._abort_on, self._abort_ready = abort, (*abort_on,), abort_ready
        if wrong := [on for on in self._abort_on if on not in (STOP, FAILURE)]:
            raise ConfigurationError(f"abort_on={abort_on!r}: {wrong[0]!r} is neither {STOP!r} nor {FAILURE!r}")

    @overload
    def prepare(self, script: Script, /, *args: Any, **kwargs: Any) -> Procedure: ...
    @overload
    def prepare(self, command: PrepareProcessCommand, /) -> ProcedureSummary: ...
    def prepare(
        self, script: Script | PrepareProcessCommand, /, *args: Any, **kwargs: Any
    ) -> Procedure | ProcedureSummary:
        """Prepare a script: load it in a job, and call its `init` with the arguments, which are JSON values.

        Does not wait for the job. The procedure is READY when `init` has returned. For a command of ska-oso-oet,
        returns a summary of the procedure. Raises ScriptError, and the errors of a submission.
        """
        if isinstance(script, PrepareProcessCommand):
            given = script.init_args
            return self._prepare(script.script.as_script(), given.args, given.kwargs).look()
        return self._prepare(script, args, kwargs)

    def record(self, script: Script, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Procedure:
        """Prepare a script, and return once the procedure is recorded: a thread submits the job.

        If the job is refused, the procedure is FAILED. Raises ScriptError.
        """
        return self._prepare(script, (*args,), kwargs, later=True)

    def _prepare(
        self, script: Script, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, later: bool = False
    ) -> Procedure:
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
        number, record = prepare(self.cluster, plan, options=self._options, abort=abort, later=later)
        self._prepared.append(Procedure(self.cluster, number, record))
        return self._prepared[-1]

    def start(self, command: StartProcessCommand) -> ProcedureSummary:
        """Execute a start command of ska-oso-oet, like `procedure.start`; then return a summary of the procedure."""
        found, given = self.procedure(command.process_uid), command.run_args
        found.start(command.fn_name, *given.args, force_start=command.force_start, **given.kwargs)
        return found.look()

    def stop(self, command: StopProcessCommand) -> list[ProcedureSummary]:
        """Execute a stop command of ska-oso-oet, like `procedure.stop`.

        Then returns a summary of the procedure, and of its abort script if the command asks for it.
        """
        found = self.procedure(command.process_uid)
        found.stop(abort=command.run_abort)
        abort = found.abort if command.run_abort else None
        return [each.look() for each in (found, abort) if each is not None]

    def shutdown(self) -> None:
        """End the procedures that this object has prepared, without their abort scripts."""
        for wait in (False, True):  # stop all of them before waiting for any
            for procedure in self._prepared:
                procedure.stop(abort=False, wait=wait)

    def procedure(self, number: int) -> Procedure:
        """Open a procedure that any process has prepared. Raises NoSuchProcedure."""
        return Procedure(self.cluster, number, read_record(self.cluster.place, number))

    def procedures(self) -> list[Procedure]:
        """Return all procedures, newest first. Records that cannot be read are left out."""
        return self._listing.procedures(self._listing.numbers())

    def summarise(
        self,
        ids: Sequence[int] | None = None,
        *,
        state: str | ProcedureState | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[ProcedureSummary]:
        """Return summaries of procedures, newest first: of all, or of the numbers `ids`, or of procedures in `state`.

        With `before`, only of procedures with a smaller number; with `limit`, at most so many. Reads the events
        together, and asks the scheduler once. A procedure without a job whose preparer has died is submitted after a
        minute. Raises NoSuchProcedure.
        """
        wanted = None if state is None else ProcedureState.of(state)
        numbers = self._listing.numbers() if ids is None else list(ids)
        numbers = [number for number in numbers if before is None or number < before]
        found: list[ProcedureSummary] = []
        for at in range(0, len(numbers), _PAGE):
            some = numbers[at : at + _PAGE]
            page = self._listing.procedures(some)
            if ids is not None and (missing := {*some} - {each.number for each in page}):
                raise NoSuchProcedure(f"there is no procedure {min(missing)} in {self.cluster.place.store.root}")
            found += [each for each in self._listing.summaries(page) if wanted in (None, each.state)]
            if limit is not None and len(found) >= limit:
                break
        return found[:limit]

    def publish(self, topic: str, /, **values: Any) -> int:
        """Set the override values of a topic for all procedures of the directory, including later ones.

        The values are JSON values, and replace the earlier values of the topic. A script reads them with
        `procedure.flag` and `procedure.context`. Returns the number of the change.
        """
        return publish(self.cluster.place, topic, values)

    def overrides(self) -> dict[str, Mapping[str, Any]]:
        """Return the override values that were set last, by topic. Takes three commands."""
        return overrides(self.cluster.place)

    def release(self, slot: str) -> str | None:
        """Free an exclusive slot whose holder can no longer report its end. Returns the key of the holder.

        Check first whether the holder still runs, for example on a node that was lost. Returns None if nobody holds the
        slot. Raises CommandRefused if another process takes the slot at this moment.
        """
        return release(self.cluster.place, checked_name(slot, "slot")).holder

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


def _seconds(number: float, name: str) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < float("inf"):
        raise ConfigurationError(f"{name}={number!r}: write a positive number of seconds")
    return float(number)
