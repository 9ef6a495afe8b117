"""The command line of sbatch for one block, which overrides variables that the user has exported for sbatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.schedulers import directives
from slurm.schedulers.base import LAST_BLOCK, LAST_CLUSTER

if TYPE_CHECKING:
    from slurm.schedulers.base import Request

_INPUT_NAMES = {"time": "TIMELIMIT", "switches": "REQ_SWITCH", "mem": "MEM_PER_NODE"}
"""Options whose SBATCH_ variable has another name; sbatch(1), INPUT ENVIRONMENT VARIABLES."""

_ALWAYS_UNSET = (
    "SBATCH_ARRAY_INX",
    "SBATCH_JOB_NAME",
    "SBATCH_OPEN_MODE",
    "SBATCH_WAIT",
    "SBATCH_INPUT",
    "SBATCH_OUTPUT",
    "SBATCH_ERROR",
    "SLURM_EXIT_ERROR",
)
"""These variables would change how a script is queued, where its output goes, or what sbatch's exit status means."""


def command(request: Request) -> list[str]:
    """Return sbatch with its arguments.

    It unsets the SBATCH_ variables of given options, which take precedence over the script's lines.
    """
    asked = [name for name, _ in request.options.set()]
    asked += [name.lstrip("-").replace("-", "_") for name in request.options.sbatch]
    asked += ["signal"] if "signal_lead" in asked else []
    unset = [*_ALWAYS_UNSET, *(f"SBATCH_{_INPUT_NAMES.get(name, name.upper())}" for name in asked)]
    unset += ["SBATCH_CLUSTERS", "SLURM_CLUSTERS"] if request.cluster or "clusters" in asked else []
    # Slurm has no dependencies between clusters.
    follows = any(LAST_BLOCK in dependency.ids for dependency in request.dependencies)
    cluster = request.cluster or (LAST_CLUSTER if follows else "")
    return [
        "env",
        *(word for name in unset for word in ("-u", name)),
        "sbatch",
        "--parsable",
        *directives.array(request.block, request.options),
        f"--output={request.log}",
        *directives.overrides(request),
        *([f"--clusters={cluster}"] if cluster else []),
        *_dependency(request),
        request.script,
        *request.arguments,
    ]


def _dependency(request: Request) -> list[str]:
    """Return dependency options. Without --kill-on-invalid-dep, a dependent of a failed job would pend forever."""
    if not request.dependencies:
        return []
    terms = [":".join((item.kind, *(id_.partition(";")[0] for id_ in item.ids))) for item in request.dependencies]
    return [f"--dependency={','.join(terms)}", "--kill-on-invalid-dep=yes"]
