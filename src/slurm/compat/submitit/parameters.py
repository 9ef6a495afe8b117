"""Parameters: translate the parameters of submitit's `update_parameters` into options of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import OptionError
from slurm.options import MAPPINGS, SBATCH
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHARED: dict[str, tuple[str, Any]] = {
    "name": ("job_name", str),
    "timeout_min": ("time", int),
    "mem_gb": ("mem", (int, float)),
    "nodes": ("nodes", int),
    "cpus_per_task": ("cpus_per_task", int),
    "gpus_per_node": ("gpus_per_node", int),
    "tasks_per_node": ("ntasks_per_node", int),
    "stderr_to_stdout": ("stderr_to_stdout", bool),
}
"""The parameters of all executors: for each, its name in `SlurmExecutor`, and its type."""
_SAME = (
    *("account", "comment", "constraint", "cpus_per_gpu", "cpus_per_task", "exclude", "exclusive", "gpus_per_node"),
    *("gpus_per_task", "gres", "job_name", "mail_type", "mail_user", "mem", "mem_per_cpu", "mem_per_gpu", "nodelist"),
    *("nodes", "ntasks_per_node", "partition", "qos", "setup", "teardown", "time", "wckey"),
)
_OTHER = {
    "additional_parameters": None,
    "array_parallelism": 256,
    "dependency": None,
    "signal_delay_s": 90,
    "srun_args": None,
    "stderr_to_stdout": False,
    "use_srun": True,
}
"""Parameters of `SlurmExecutor` that are not options of a task with the same name, with their defaults."""
OF_SLURM = frozenset({*_SAME, *_OTHER})
OF_LOCAL = frozenset(
    {"timeout_min", "gpus_per_node", "visible_gpus", "tasks_per_node", "nodes", "signal_delay_s", "setup"}
    | {"stderr_to_stdout", "name", "mem_gb", "cpus_per_task"}
)
VALID = {"slurm": OF_SLURM, "local": OF_LOCAL, "debug": frozenset[str]()}
"""The parameters of each executor, by the prefix of its parameters for `AutoExecutor`."""
_ON = {"afterok": "success", "afternotok": "failure", "afterany": "any"}


class Translated(NamedTuple):
    """Parameters as options and arguments of this library."""

    options: dict[str, Any]
    after: tuple[tuple[tuple[str, ...], str], ...] = ()
    """Groups of ids of jobs to wait for, each with the argument `on` of `Task.after`."""
    signal_lead: int = 90
    tasks: int = 1
    """How many processes run the call."""


def for_executor(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for one executor, by its own names, from parameters of `AutoExecutor`. None is not set.

    Raises NameError for an unknown parameter, TypeError for a value of the wrong type.
    """
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for parameter, value in given.items():
        prefix, _, rest = parameter.partition("_")
        if parameter in SHARED:
            shared.setdefault(parameter, value)
        elif rest and prefix in VALID and (rest in VALID[prefix] or rest in SHARED):
            if prefix == name and value is not None:
                (shared if rest in SHARED else own)[rest] = value
        else:
            raise NameError(_unknown(parameter, prefix))
    shared = {parameter: value for parameter, value in shared.items() if value is not None}
    for parameter, value in shared.items():
        if not isinstance(value, SHARED[parameter][1]):
            raise TypeError(f"parameter {parameter}={value!r}: expected {SHARED[parameter][1]}")
    if name != "slurm":
        return {**shared, **own}
    if "mem_gb" in shared:
        shared["mem_gb"] = f"{round(shared['mem_gb'] * 1024)}M"
    return {**{SHARED[parameter][0]: value for parameter, value in shared.items()}, **own}


def _unknown(parameter: str, prefix: str) -> str:
    if prefix in VALID:
        return f"unknown parameter {parameter!r}{near(parameter, [f'{prefix}_{name}' for name in VALID[prefix]])}"
    return (
        f"unknown parameter {parameter!r}: all executors have {', '.join(SHARED)}; write others with the name of their "
        "executor, such as slurm_partition"
    )


def check(name: str, given: Mapping[str, Any]) -> None:
    """Raise OptionError for a parameter that an executor does not have."""
    if wrong := sorted(set(given) - VALID[name]):
        raise OptionError(f"unknown parameter {wrong[0]!r}{near(wrong[0], VALID[name])}")


def of_slurm(given: Mapping[str, Any]) -> Translated:
    """Translate parameters of `SlurmExecutor`. Raises OptionError."""
    words = {"time": 5, "nodes": 1, **_OTHER, **given}
    options = {name: words[name] for name in _SAME if words.get(name) is not None}
    options |= {"max_concurrent": words["array_parallelism"], "separate_stderr": not words["stderr_to_stdout"]}
    tasks = int(options["nodes"]) * int(options.get("ntasks_per_node", 1))
    if not words["use_srun"]:
        options["launch"], tasks = "once", 1
    if tasks > 1:
        options["gather"] = True
    if words["srun_args"]:
        options["srun"] = _srun(words["srun_args"])
    for name, value in (words["additional_parameters"] or {}).items():
        option = name.removeprefix("--").replace("-", "_")
        if option in SBATCH and option not in MAPPINGS:
            options[option] = value
        else:
            options.setdefault("sbatch", {})[f"--{option.replace('_', '-')}"] = value
    return Translated(options, _dependencies(words["dependency"]), int(words["signal_delay_s"]), tasks)


def of_local(given: Mapping[str, Any]) -> Translated:
    """Translate parameters of `LocalExecutor`, which ignores memory and CPUs. Raises OptionError."""
    if given.get("nodes", 1) > 1:
        raise OptionError("LocalExecutor can use only one node. Use nodes=1")
    count, visible = given.get("gpus_per_node", 0), given.get("visible_gpus")
    gpus = (range(count) if visible is None else visible)[:count]
    if len(gpus) < count:
        raise OptionError(f"gpus_per_node={count} requests more GPUs than visible_gpus names: {list(gpus)}")
    ignored = {"mem_gb", "cpus_per_task", "gpus_per_node", "visible_gpus"}
    words = {SHARED.get(name, (name,))[0]: value for name, value in given.items() if name not in ignored}
    found = of_slurm({"time": 2, "signal_delay_s": 30, "array_parallelism": None, **words})
    return found._replace(options=found.options | {"env": {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}})


def _srun(words: Iterable[str]) -> dict[str, Any]:
    """Return options of srun by their names. Raises OptionError for a short option."""
    found: dict[str, Any] = {}
    last = None
    for word in words:
        if word.startswith("--"):
            last, equals, value = word[2:].partition("=")
            found[last] = value if equals else True
        elif word.startswith("-") or last is None or found[last] is not True:
            raise OptionError(f"srun_args: write {word!r} as a long option, such as '--cpu-bind=cores'")
        else:
            found[last] = word
    return {name.replace("-", "_"): value for name, value in found.items()}


def _dependencies(text: str | None) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Return the jobs in `--dependency` with the kind of end to wait for. Raises OptionError for unknown kinds."""
    found = []
    for part in (text or "").split(",") if text else ():
        kind, *ids = part.split(":")
        if kind not in _ON or not ids:
            raise OptionError(f"dependency={text!r}: expected {', '.join(f'{known}:ID' for known in _ON)}")
        found.append((tuple(ids), _ON[kind]))
    return tuple(found)
