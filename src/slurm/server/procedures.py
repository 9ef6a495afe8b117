"""The routes of procedures: prepare, list, show, start, stop, messages, what operators set, and environments."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError, EnvironmentInUse, NoSuchJob
from slurm.procedures.environments import EnvironmentManager
from slurm.procedures.errors import CommandRefused
from slurm.procedures.procedure import HOW_TO_START
from slurm.procedures.service import ScriptExecutionService
from slurm.procedures.shared_records import checked_name, release
from slurm.procedures.states import ProcedureState
from slurm.protocol.procedures import MAIN, READY, RUNNING, STOPPED
from slurm.sanitize.redaction import redacted
from slurm.server.endpoints import Endpoint, Field
from slurm.server.problems import Problem
from slurm.server.scripts import MEANING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.clusters.cluster import Cluster
    from slurm.procedures.states import ProcedureSummary
    from slurm.server.endpoints import Asked
    from slurm.server.scripts import ScriptRules

_ARGS = Field("array", "The positional arguments: JSON values.", ())
_KWARGS = Field("object", "The arguments by name: JSON values.", {})
_LIMIT = Field("integer", "The most that are listed.", 100, 1, 1000)
_OF_PREPARE = {
    "script": Field("object", MEANING, required=True),
    "args": _ARGS,
    "kwargs": _KWARGS,
    "abort": Field("object", "The abort script, written like the script."),
    "abort_on": Field("array", "When the abort script runs: 'stop', 'failure'.", ("stop",)),
    "abort_ready": Field("boolean", "Whether the abort script is prepared at the start.", default=True),
    "exclusive": Field("string", "A slot that only one running function has at a time."),
    "grace": Field("number", "Seconds between SIGTERM and SIGKILL.", 2.0),
    "idle_timeout": Field("number", "Seconds after which it ends if nobody uses it.", 3600.0),
    "options": Field("object", "Options of its job, by sbatch's long names: {'time': '8:00:00'}."),
}
_OF_CHANGE = {
    "state": Field(
        "string", "RUNNING starts it, STOPPED stops it; without a state nothing changes.", choice=(RUNNING, STOPPED)
    ),
    "function": Field("string", f"To start: the function that is called, by default {MAIN}."),
    "args": Field("array", "To start: the positional arguments, JSON values."),
    "kwargs": Field("object", "To start: the arguments by name, JSON values."),
    "force": Field("boolean", f"To start: if it is not {READY} yet, call the function when it is."),
    "abort": Field("boolean", "To stop: whether its abort script runs, by default as it was prepared."),
}
_HOW_TO_START = f"Wait until its state is {READY}, or send the field 'force' with the value true"
_ONLY_FOR = {RUNNING: ("function", "args", "kwargs", "force"), STOPPED: ("abort",)}


class Procedures:
    """The procedures of a cluster. A procedure that has ended is read once. Any thread may use an instance."""

    def __init__(self, cluster: Cluster) -> None:
        self.service = ScriptExecutionService(on=cluster)
        self._lock = threading.Lock()
        """Held while procedures are listed, because the service changes what it keeps in memory."""

    def summaries(self, ids: Sequence[int] | None = None, **wanted: Any) -> list[ProcedureSummary]:
        """What is known about procedures now, as `ScriptExecutionService.summarise` returns it."""
        with self._lock:
            return self.service.summarise(ids, **wanted)

    def facts(self, number: int) -> dict[str, Any]:
        """The facts about a procedure now. Raises NoSuchProcedure."""
        return shown(self.summaries([number])[0])

    def ended(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The facts, by number, about those of some procedures that have ended. Their jobs must have ended, too.

        The reason is that a process adds events after its last state: it starts the abort script, and refuses commands.
        """
        ended = [each for each in self.summaries(numbers) if each.state.ended]
        return {each.id: shown(each) for each in ended if self._job_has_ended(each.id)}

    def _job_has_ended(self, number: int) -> bool:
        try:
            return self.service.procedure(number).job.done()
        except NoSuchJob:  # the procedure had no job, or its files were removed
            return True

    def waiting(self, ids: Sequence[int] | None = None) -> list[int]:
        """The numbers of the procedures that may have no job yet.

        Each call notes procedures whose preparer is silent, and continues those whose preparer was silent for a minute.
        """
        early = (ProcedureState.CREATING, ProcedureState.IDLE, ProcedureState.PREP_ENV)
        return [each.id for each in self.summaries(ids) if each.state in early]


def shown(summary: ProcedureSummary) -> dict[str, Any]:
    """The facts about a procedure. Secrets in its texts are removed."""
    facts = summary.facts()
    return facts | {name: redacted(facts[name]) for name in ("reason", "stacktrace")}


class ProcedureRoutes:
    """The routes of the procedures of a cluster."""

    def __init__(self, procedures: Procedures, rules: ScriptRules) -> None:
        self._procedures, self._service, self._rules = procedures, procedures.service, rules

    def endpoints(self) -> list[Endpoint]:
        """The table of the routes."""
        of_list = {
            "state": Field("string", f"Procedures in this state: {', '.join(ProcedureState)}."),
            "limit": _LIMIT,
            "before": Field("integer", "List procedures with a smaller number than this.", None, 1),
        }
        of_message = {"message": Field("any", "A JSON value.", required=True)}
        of_context = {
            "topic": Field("string", "Letters, digits, '.', '_' and '-'.", required=True),
            "values": Field("object", "The values of the topic: they replace the earlier ones.", required=True),
        }
        one = "/procedures/{number:int}"
        return [
            Endpoint("GET", "/procedures", self.list, of_list),
            Endpoint("POST", "/procedures", self.prepare, _OF_PREPARE, lambda made: f"/procedures/{made['number']}"),
            Endpoint("GET", one, self.show),
            Endpoint("PUT", one, self.change, _OF_CHANGE),
            Endpoint("POST", f"{one}/messages", self.send, of_message),
            Endpoint("GET", "/context", self.context),
            Endpoint("PUT", "/context", self.publish, of_context),
            Endpoint("POST", "/slots/{name}/release", self.release),
            Endpoint("GET", "/environments", self.environments),
            Endpoint("DELETE", "/environments/{key}", self.remove_environment),
        ]

    def list(self, asked: Asked) -> Any:
        """List procedures, newest first. For the next page, send `before`."""
        state, limit, before = (asked.given[name] for name in ("state", "limit", "before"))
        found = self._procedures.summaries(state=state, limit=limit, before=before)
        return {
            "procedures": [shown(summary) for summary in found],
            "before": found[-1].id if len(found) == limit else None,
        }

    def show(self, asked: Asked) -> Any:
        """Show the state of a procedure, its history, and the calls of the functions of its script."""
        return self._procedures.facts(int(asked.path["number"]))

    def prepare(self, asked: Asked) -> Any:
        """Prepare a script: a job loads it and calls its init. Answers at once, with the path of the procedure."""
        given = asked.given
        script = self._rules.script("script", given["script"])
        abort = None if given["abort"] is None else self._rules.script("abort", given["abort"])
        names = ("abort_on", "abort_ready", "exclusive", "grace", "idle_timeout", "options")
        service = ScriptExecutionService(on=self._service.cluster, abort=abort, **{name: given[name] for name in names})
        made = service.record(script, given["args"], given["kwargs"])
        return self._procedures.facts(made.number)

    def change(self, asked: Asked) -> Any:
        """Start or stop a procedure. A start is answered when the function runs, a stop when it is requested."""
        number, given = int(asked.path["number"]), asked.given
        state = given["state"]
        if state is None:
            return self._procedures.facts(number)
        if wrong := [
            name for other, names in _ONLY_FOR.items() if other != state for name in names if given[name] is not None
        ]:
            raise Problem(422, f"{wrong[0]!r} is not possible with the state {state}")
        procedure = self._service.procedure(number)
        if state == STOPPED:
            procedure.stop(abort=given["abort"], wait=False)
            return self._asked(number, "stop")
        kwargs, force = given["kwargs"] or {}, bool(given["force"])
        if "force_start" in kwargs:
            raise Problem(422, "an argument with the name 'force_start' is not possible: write the field 'force'")
        try:
            procedure.start(given["function"] or MAIN, *(given["args"] or ()), force_start=force, **kwargs)
        except CommandRefused as error:
            raise CommandRefused(str(error).replace(HOW_TO_START, _HOW_TO_START)) from error
        return self._asked(number, "start") if force else self._procedures.facts(number)

    def _asked(self, number: int, what: str) -> dict[str, Any]:
        """The facts about a procedure after a request; with `pending` if its process may not have read the request."""
        facts = self._procedures.facts(number)
        begun = ProcedureState(facts["state"]).ended or (what == "start" and facts["state"] == RUNNING)
        return facts if begun else facts | {"pending": what}

    def send(self, asked: Asked) -> Any:
        """Send a JSON value to the script, which reads it by `procedure.messages()`."""
        number, message = int(asked.path["number"]), asked.given["message"]
        self._service.procedure(number).send(message)
        return {"number": number, "message": message}

    def context(self, _: Asked) -> Any:
        """What operators have set: the values of each topic, for all scripts."""
        return self._service.overrides()

    def publish(self, asked: Asked) -> Any:
        """Set the values of a topic for all scripts, also for those that are prepared later."""
        topic, values = asked.given["topic"], asked.given["values"]
        return {"topic": topic, "values": values, "change": self._service.publish(topic, **values)}

    def release(self, asked: Asked) -> Any:
        """Free an exclusive slot whose holder can no longer say that it has ended. Returns who released it, and when.

        The holder may still run, for example on a node that was lost: check this before.
        """
        slot = checked_name(asked.path["name"], "slot")
        return {"slot": slot} | release(self._service.cluster.place, slot)._asdict()

    def environments(self, _: Asked) -> Any:
        """List the environments of the cluster, with the jobs that use each."""
        return [environment._asdict() for environment in EnvironmentManager(self._service).list_envs()]

    def remove_environment(self, asked: Asked) -> Any:
        """Remove an environment that no job uses."""
        key = asked.path["key"]
        try:
            EnvironmentManager(self._service).delete_env(key)
        except EnvironmentInUse:
            raise
        except ConfigurationError as error:
            raise Problem(404, str(error)) from None
        return {"key": key}
