"""Facts: the summary of a procedure as JSON values, for the command line and the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slurm.procedures.states import ProcedureSummary


def facts_of(summary: ProcedureSummary) -> dict[str, Any]:
    """Return the facts about a procedure, without the text of its script."""
    return {
        "number": summary.id,
        "key": summary.key,
        "state": f"{summary.state}",
        "reason": summary.reason,
        "pending": summary.pending,
        "ends_at": summary.ends_at,
        "expected": summary.expected,
        "exclusive": summary.exclusive,
        "can_abort": summary.can_abort,
        "aborts": summary.aborts,
        "script": {name: value for name, value in summary.script.to_json().items() if name != "text"},
        "by": summary.by,
        "calls": [
            {"function": c.fn, "args": list(c.fn_args.args), "kwargs": dict(c.fn_args.kwargs), "time": c.time}
            for c in summary.script_args
        ],
        "history": [{"state": f"{state}", "time": when} for state, when in summary.history.process_states],
        "stacktrace": summary.history.stacktrace,
    }
