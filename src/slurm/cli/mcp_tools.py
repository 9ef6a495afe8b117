"""The tools of `slurm mcp`: an agent may read about jobs, and submit jobs after a confirmation.

A tool is a function with a docstring, and the agent reads this docstring. This module does not need the package `mcp`.
"""

from __future__ import annotations

import secrets
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.cli.cluster_argument import cluster_of, job_of
from slurm.cli.logs import each_log
from slurm.cli.parameters import Moment, State
from slurm.cli.retry import failed_calls
from slurm.errors import ConfigurationError
from slurm.jobs.facts import all_facts_of
from slurm.jobs.selection import Wanted, found_jobs
from slurm.jobs.submit import resubmit
from slurm.options import Options
from slurm.views.advice import explained
from slurm.views.overview import overviews

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slurm.tasks.task import Task

_SECONDS = 600.0
"""A submission waits this many seconds for its confirmation."""
_MOST_PENDING = 100
_MOST_LOGS = 20
_ADVICE = "Nothing is submitted yet. Show this to the user. If they agree, call `confirm` with the confirmation."


class _Pending(NamedTuple):
    """A submission that waits for its confirmation."""

    submit: Callable[[], Any]
    until: float


class Tools:
    """The tools, for one cluster. `tasks` are the tasks that may be submitted, by their names `module:task`."""

    def __init__(self, cluster: str | None, tasks: Mapping[str, Task[..., Any]]) -> None:
        self._cluster, self._tasks = cluster, tasks
        self._pending: dict[str, _Pending] = {}
        self._lock = threading.Lock()

    # Reading.

    def jobs(
        self,
        task: str | None = None,
        state: str | None = None,
        since: str | None = None,
        label: str | None = None,
        limit: int = 20,
    ) -> list[dict[str, Any]]:
        """List submitted jobs, newest first: key, cluster, number of calls, states, time of submission, labels.

        `task` is a name or a pattern such as train*; `state` is a state of Slurm that any call has, such as FAILED;
        `since` is how long ago, such as 2d, or a date; `label` is NAME=VALUE or NAME.
        """
        states = (State().convert(state, None, None),) if state else ()
        moment = Moment().convert(since, None, None) if since else None
        wanted = Wanted(task, (label,) if label else (), states, moment)
        place = cluster_of(self._cluster).place
        return found_jobs(place, wanted, place.store.keys(), max(1, limit), everywhere=self._cluster is None)

    def show(self, key: str) -> dict[str, Any]:
        """Show the state of a job or map, its progress, failures, metrics, and where its files are.

        `key` is a key, the beginning of one, an id of the scheduler, a label NAME=VALUE, or `last`; [index] after it
        names one call of a map.
        """
        return all_facts_of(job_of(key, self._cluster))

    def logs(self, key: str, lines: int = 100) -> list[dict[str, Any]]:
        """Read the last lines of the logs of a job; for a map, of its first 20 logs. `key` is as in `show`."""
        found = islice(each_log(job_of(key, self._cluster)), _MOST_LOGS)
        return [{"of": of, "path": path, "text": _tail(b"".join(blocks), max(1, lines))} for of, path, blocks in found]

    def explain(self, key: str) -> list[str]:
        """Tell why a job waits or has failed, and what to do about it. `key` is as in `show`."""
        return explained(overviews([job_of(key, self._cluster).part])[0])

    def tasks(self) -> list[dict[str, Any]]:
        """List the tasks that `submit` takes: name, signature, description, options."""
        return [
            {
                "task": name,
                "signature": str(task.signature),
                "description": task.unwrapped.__doc__,
                "options": task.terms.options.to_json(),
            }
            for name, task in self._tasks.items()
        ]

    # Submitting.

    def submit(
        self,
        task: str,
        arguments: dict[str, Any] | None = None,
        items: list[dict[str, Any]] | None = None,
        options: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Plan a call of a task with `arguments` by name, or a map over `items`, each the arguments of one call.

        Submits nothing. The answer has the plan and a confirmation: `confirm` submits the plan with it. `options` have
        sbatch's long names, such as {"mem": "8G", "time": "1h"}.
        """
        if task not in self._tasks:
            known = ", ".join(self._tasks) or "none: the server was started without --module"
            raise ConfigurationError(f"there is no task {task!r} to submit; there are: {known}")
        if (arguments is None) == (items is None):
            raise ConfigurationError("give either arguments, for one call, or items, for a map")
        of = self._tasks[task].with_options(**(options or {}))
        calls = [of.bound_item(item) for item in (items if items is not None else [arguments or {}])]
        plan = cluster_of(self._cluster).plan_calls(of, calls, mapped=items is not None)
        return self._ask(f"{plan}", plan.submit)

    def retry(self, key: str, failed_only: bool = True, options: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: FBT001, FBT002 - an agent names it
        """Plan to submit a job again, or the failed calls of a map, with the options it had and `options`.

        Submits nothing. The answer has a confirmation: `confirm` submits the plan with it.
        """
        wanted, job = Options.parse(options or {}), job_of(key, self._cluster)
        place, state, _ = job.part
        indices = failed_calls(job) if failed_only else job.part.indices
        if not indices:
            raise ConfigurationError(f"no call of {job.key} has failed")
        words = f"submit {len(indices)} of {len(job.part.indices)} calls of {job.key} again, on {place.url}"
        changed = f", with {wanted.to_json()}" if options else ""
        return self._ask(f"{words}{changed}", lambda: resubmit(place, state.key, indices, wanted))

    def confirm(self, confirmation: str) -> dict[str, Any]:
        """Submit what `submit` or `retry` has planned, after the user has agreed. Each confirmation works once."""
        with self._lock:
            pending = self._pending.pop(confirmation, None)
        if pending is None or pending.until < time.monotonic():
            raise ConfigurationError(
                "no submission waits for this confirmation: it was used, or is older than ten minutes. Plan it again"
            )
        return {"key": pending.submit().key}

    def _ask(self, plan: str, submit: Callable[[], Any]) -> dict[str, Any]:
        token, now = secrets.token_hex(8), time.monotonic()
        with self._lock:
            self._pending = {key: each for key, each in self._pending.items() if each.until > now}
            if len(self._pending) >= _MOST_PENDING:
                raise ConfigurationError(f"{_MOST_PENDING} submissions wait for a confirmation: confirm some first")
            self._pending[token] = _Pending(submit, now + _SECONDS)
        return {"plan": plan, "confirmation": token, "advice": _ADVICE}


READING = ("jobs", "show", "logs", "explain", "tasks")
"""The tools that change nothing."""
PLANNING = ("submit", "retry")
"""The tools that plan a submission. `confirm` submits it."""
CONFIRMING = ("confirm",)


def _tail(data: bytes, lines: int) -> str:
    return "\n".join(data.decode(errors="replace").splitlines()[-lines:])
