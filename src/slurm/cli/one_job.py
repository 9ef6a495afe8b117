"""`slurm show`, `cancel`, `send`: inspect, cancel or write to one submission."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.parameters import json_or_text
from slurm.jobs.cancel import cancel as cancel_all
from slurm.jobs.facts import all_facts_of, pool_text
from slurm.jobs.find import with_added
from slurm.pools.at_rest import at_rest
from slurm.protocol.states import JobState
from slurm.views.displays import clock, duration, memory
from slurm.views.status import statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.submission.status import JobStatus

_FAILURES = 5
"""The largest number of failures that are listed one by one."""


@click.command()
@key_argument
@on_option
@json_option
def show(key: str, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the state of the job KEY, and where its files are. The exit status is 1 if any call failed."""
    job = job_of(key, cluster)
    facts = all_facts_of(job)
    facts |= {"pool": pool} if job.is_array and (pool := at_rest(job.part.place, job.part.state)) else {}
    if as_json:
        show_json(facts)
    else:
        show_table([(name, text) for name, text in _shown(facts).items() if text])
    if facts.get("failures") or facts.get("error") or any(map(_is_bad, facts["states"])):
        raise SystemExit(1)


def _is_bad(state: str) -> bool:
    return JobState(state).final and state != JobState.COMPLETED.value


@click.command()
@key_argument
@on_option
@click.option("--keep-children", is_flag=True, help="Keep the jobs that a workflow has submitted.")
@json_option
def cancel(key: str, cluster: str | None, keep_children: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Cancel the job KEY. For a map, cancel all unfinished calls. For a workflow, also cancel the jobs it submitted.

    Prints how many calls were cancelled, and how many had finished before.
    """
    job = job_of(key, cluster)
    (before,) = statuses([job.part])
    cancelled = cancel_all([with_added(job).part], children=not keep_children)
    requested = cancelled.pop(job.reference.key, 0)
    if as_json:
        states = Counter(status.state.value for status in before)
        show_json({"key": job.key, "before": states, "cancelled": requested, "children": cancelled})
        return
    output.show_prose([f"{job.key}: {_cancelled(before, requested)}"], indent=2)
    for child, count in cancelled.items():
        output.show(f"{child}: {_several(count, count, 'cancelled')}")


@click.command()
@key_argument
@click.argument("message")
@on_option
@json_option
def send(key: str, message: str, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Send MESSAGE to the job KEY, or to each job of a map. The task reads it by `ctx.messages()`.

    MESSAGE is JSON, such as '{"rate": 0.01}'. Any other text is sent as a string.
    """
    value = json_or_text(message)
    job = job_of(key, cluster)
    job.send(value)
    if as_json:
        show_json({"key": job.key, "message": value})


def _cancelled(before: Sequence[JobStatus], requested: int) -> str:
    """The effect of a request to cancel `requested` calls, as text: "7 cancelled, 3 had ended, COMPLETED"."""
    states, of = Counter(status.state for status in before if not status.problem), len(before)
    problems = [status.problem for status in before if status.problem]
    unqueued = states.pop(JobState.UNKNOWN, 0)
    ended = {state: count for state, count in states.items() if state.final}
    cancelled = of - unqueued - len(problems) - sum(ended.values())
    parts = [_several(cancelled, of, "cancelled")] if cancelled else []
    if cancelled and requested > cancelled + unqueued:
        parts.append(f"{requested - cancelled - unqueued} more that share an element with it")
    parts += [_several(unqueued, of, "not in the queue")] if unqueued else []
    parts += [_several(count, of, f"had ended, {state}") for state, count in ended.items()]
    parts += [_several(len(problems), of, f"had ended, but {problems[0]}")] if problems else []
    return ", ".join(parts) or "nothing to cancel"


def _several(count: int, of: int, what: str) -> str:
    return f"{count} {what}" if of > 1 else what


def _shown(facts: dict[str, Any]) -> dict[str, str]:
    """The facts as text, by their labels."""
    seconds, peak, failures = facts["seconds"], facts["memory"], facts.get("failures", {})
    functions = facts.get("functions") or []
    lines = [f"[{i}] {f'{functions[int(i)]}: ' if functions else ''}{error}" for i, error in failures.items()]
    reported = [f"[{index}] {text}" if facts["count"] > 1 else text for index, text in facts["progress"].items()]
    more = [f"… {len(lines) - _FAILURES} more"] if len(lines) > _FAILURES else []
    texts = {
        "count": calls_of(facts) if facts["count"] > 1 else "",
        "elements": "",
        "task": "" if facts["count"] > 1 else facts["task"],
        "functions": ", ".join(f"{count} {name}" for name, count in Counter(functions).items()),
        "states": counts_of(facts),
        "submitted": time_of(facts["submitted"]),
        "labels": " ".join(f"{name}={value}" for name, value in facts["labels"].items()),
        "pool": pool_text(facts.get("pool", {})),
        "progress": "" if facts.get("pool") else "\n".join(reported),
        "metrics": " ".join(f"{name}={number}" for name, number in facts.get("metrics", {}).items()),
        "seconds": "" if seconds is None else duration(seconds),
        "memory": "" if peak is None else memory(peak),
        "failures": "\n".join(lines[:_FAILURES] + more),
    }
    names = {"count": "calls", "seconds": "took"}
    return {names.get(name, name): texts.get(name, str(value or "")) for name, value in facts.items()}


def time_of(seconds: float | None) -> str:
    """A time as text; empty if it is not known."""
    return "" if seconds is None else clock(seconds)


def calls_of(facts: dict[str, Any]) -> str:
    """The number of calls, and the number of elements if there are fewer: "1000 in 10 chunks"."""
    count, elements = facts["count"], facts["elements"]
    return f"{count} in {elements} chunk{'s' * (elements != 1)}" if elements < count else f"{count}"


def counts_of(facts: dict[str, Any]) -> str:
    """The number of calls in each state, or the state of a single call."""
    states = facts["states"]
    return ", ".join(f"{count} {state}" if facts["count"] > 1 else state for state, count in states.items())
