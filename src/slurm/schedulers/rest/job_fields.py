"""Job fields: convert options and answers between this package and v0.0.36 to v0.0.45 of the API of slurmrestd.

Sources: the specifications that slurmrestd of 20.11 (v0.0.36), 22.05 (36 to 38), 24.11 (40 to 42) and 26.05 (42 to 45)
print, and their answers, tests/data/slurmrestd; for v0.0.39, which needs 23.02, the specification alone.

- Up to v0.0.38, fields have the values of sbatch's options: numbers, text, true. v0.0.39 replaced many of them by
  structures, such as {"set": true, "infinite": false, "number": 5}, and lists.
- slurmrestd of 22.05 crashes on the fields `argv` and `batch_features`, so they are not sent before v0.0.39. Instead,
  the script that is sent contains the arguments. This release also ignores a signal for the batch script alone, reads a
  false `requeue` as true, and loses the smallest number of a list `nodes`. `no_requeue`, and `nodes` as text, work.
- slurmrestd of 20.11 reports a reason in place of the state of a job in accounting, and does not accept the field
  `kill_on_invalid_dependency` of its own specification.
- v0.0.36 does not accept single elements of arrays in URLs, and its DELETE of an array cancels only pending elements.
"""

from __future__ import annotations

import math
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from slurm.options.values import megabytes, seconds
from slurm.schedulers.rest.connection import REJECTED, RestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Shape = Callable[[str, int], Any]

STRUCTURED, FIRST_WITH_ELEMENTS = 39, 37
_SLASHES = 40
"""From this version on, Slurm writes "gres/gpu:1" instead of "gres:gpu:1"."""
_INFINITE = 0xFFFFFFFF
_UNITS = {"": 1, "minute": 60, "hour": 3600, "day": 86400}
_MAIL = {"INVALID_DEPEND": "INVALID_DEPENDENCY", "TIME_LIMIT": "TIME=100%"}
_ALL_MAIL = ("BEGIN", "END", "FAIL", "REQUEUE", "STAGE_OUT", "INVALID_DEPENDENCY")


def _text(value: str, _: int) -> Any:
    return value


def _number(value: str, _: int) -> Any:
    return int(value)


def _true(*_: object) -> Any:
    return True


def _structured(number: int | None, version: int) -> Any:
    """A number; None means infinite."""
    if version < STRUCTURED:
        return _INFINITE if number is None else number
    return {"set": True, "infinite": number is None, "number": number or 0}


def _minutes(value: str, version: int) -> Any:
    limit = seconds(value)
    return _structured(None if limit is None else math.ceil(limit / 60), version)


def _memory(value: str, version: int) -> Any:
    return _structured(math.ceil(megabytes(value)), version)


def _moment(value: str, version: int) -> Any:
    """A time in the time zone of this machine. Up to v0.0.38, the text is sent, and Slurm parses it."""
    if version < STRUCTURED:
        return value
    relative = re.fullmatch(r"now(?:\+(\d+)(minute|hour|day|)s?)?", value)
    if relative:
        return int(time.time()) + int(relative[1] or 0) * _UNITS[relative[2] or ""]
    try:
        return int(datetime.fromisoformat(value).astimezone().timestamp())
    except ValueError:
        raise RestError(f"{REJECTED}: {value!r} is not a time: write 2026-12-31T18:00:00 or now+2hours") from None


def _begin(value: str, version: int) -> Any:
    moment = _moment(value, version)
    return moment if version <= STRUCTURED else _structured(moment, version)


def _gres(value: str, version: int) -> Any:
    return ",".join(f"gres{'/' if version >= _SLASHES else ':'}{each}" for each in value.split(","))


def _tres(value: str, version: int) -> Any:
    """GPUs, such as "2" or "a100:2", as trackable resources."""
    return _gres(f"gpu:{value}", version)


def _shared(value: str, version: int) -> Any:
    """The option `exclusive`. From v0.0.39 on, "none" means that the job shares its nodes with no other job."""
    if version < STRUCTURED:
        return value or "exclusive"
    return [value.lower() or "none"]


def _append(value: str, version: int) -> Any:
    return value if version < STRUCTURED else [value.upper()]


def _mail(value: str, version: int) -> Any:
    if version < STRUCTURED:
        return value
    words = [word for word in value.upper().split(",") if word != "NONE"]
    return [
        each
        for word in words
        for each in (_ALL_MAIL if word == "ALL" else (_MAIL.get(word, re.sub(r"TIME_LIMIT_(\d+)", r"TIME=\1%", word)),))
    ]


def _same(*names: str, shape: Shape = _text) -> dict[str, tuple[str, Shape]]:
    return {name: (name.replace("-", "_"), shape) for name in names}


_COMMON: Mapping[str, tuple[str, Shape]] = {
    **_same("account", "array", "comment", "dependency", "distribution", "licenses", "partition", "qos", "reservation"),
    **_same("mail-user", "wckey", "mcs-label"),
    **_same("cpus-per-task", "nice", "sockets-per-node", "threads-per-core", shape=_number),
    "bb": ("burst_buffer", _text),
    "begin": ("begin_time", _begin),
    "chdir": ("current_working_directory", _text),
    "constraint": ("constraints", _text),
    "core-spec": ("core_specification", _number),
    "deadline": ("deadline", _moment),
    "hold": ("hold", _true),
    "job-name": ("name", _text),
    "mail-type": ("mail_type", _mail),
    "mem": ("memory_per_node", _memory),
    "mem-per-cpu": ("memory_per_cpu", _memory),
    "mincpus": ("minimum_cpus_per_node", _number),
    "nodes": ("nodes", _text),
    "ntasks": ("tasks", _number),
    "ntasks-per-core": ("tasks_per_core", _number),
    "ntasks-per-node": ("tasks_per_node", _number),
    "ntasks-per-socket": ("tasks_per_socket", _number),
    "open-mode": ("open_mode", _append),
    "output": ("standard_output", _text),
    "requeue": ("requeue", _true),
    "thread-spec": ("thread_specification", _number),
    "time": ("time_limit", _minutes),
    "time-min": ("time_minimum", _minutes),
}
_OLD = {
    **_COMMON,
    **_same("gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task", "gres", "signal"),
    "exclusive": ("exclusive", _shared),
    "no-requeue": ("no_requeue", _true),
}
_NEW = {
    **_COMMON,
    **_same("contiguous", "overcommit", "reboot", shape=_true),
    **_same("network", "prefer"),
    "batch": ("batch_features", _text),
    "cpus-per-gpu": ("cpus_per_tres", _tres),
    "exclude": ("excluded_nodes", lambda value, _: value.split(",")),
    "exclusive": ("shared", _shared),
    "gpus": ("tres_per_job", _tres),
    "gpus-per-node": ("tres_per_node", _tres),
    "gpus-per-socket": ("tres_per_socket", _tres),
    "gpus-per-task": ("tres_per_task", _tres),
    "signal": ("signal", _text),
    "gres": ("tres_per_node", _gres),
    "mem-per-gpu": ("memory_per_tres", _tres),
    "no-requeue": ("requeue", lambda *_: False),
    "nodelist": ("required_nodes", lambda value, _: value.split(",")),
    "tmp": ("temporary_disk_per_node", lambda value, _: math.ceil(megabytes(value))),
}
EXPRESSIBLE = frozenset({*_OLD, *_NEW})
"""The options of sbatch that at least one version has. Others are rejected before a request is sent."""


def submission(
    version: int, options: Mapping[str, str], environment: Mapping[str, str], script: str, path: str
) -> dict[str, Any]:
    """Return the body of a request that queues `script` with options of sbatch.

    `path` names the script in the queue; it is not read. Raises RestError for an option that the version lacks.
    """
    fields = _OLD if version < STRUCTURED else _NEW
    job: dict[str, Any] = {}
    for name, value in options.items():
        if name not in fields or (version < STRUCTURED and (name, value[:2]) == ("signal", "B:")):
            raise RestError(f"{REJECTED}: v0.0.{version} of slurmrestd has no field for the option --{name}={value}")
        field, shape = fields[name]
        job[field] = f"{job[field]},{shape(value, version)}" if field in job else shape(value, version)
    if version < STRUCTURED:
        if version < FIRST_WITH_ELEMENTS:
            job["standard_out"] = job.pop("standard_output")
        elif "dependency" in job:
            job["kill_on_invalid_dependency"] = True
        return {"script": script, "job": {**job, "environment": dict(environment)}}
    if "signal" in job:
        job.update(_warning(job.pop("signal"), version))
    if "dependency" in job:
        job["flags"] = ["KILL_INVALID_DEPENDENCY"]
    variables = [f"{name}={value}" for name, value in environment.items()]
    return {"script": script, "job": {**job, "environment": variables, "argv": [path]}}


def _warning(value: str, version: int) -> dict[str, Any]:
    """`signal`, such as "B:USR1@300"."""
    flags, _, rest = value.rpartition(":")
    name, _, lead = rest.partition("@")
    given = ["BATCH_JOB"] if "B" in flags else []
    delay = {"kill_warning_delay": _structured(int(lead), version)} if lead else {}
    return {"kill_warning_signal": name, "kill_warning_flags": given, **delay}


def number(value: Any) -> int | None:
    """Return a number in an answer; None if it is not set."""
    if isinstance(value, dict):
        return int(value["number"]) if value.get("set") else None
    return int(value) if isinstance(value, (int, float)) else None


def state(value: Any) -> str:
    """Return a state as squeue prints it: if there is a flag such as COMPLETING, only the flag."""
    words = [value] if isinstance(value, str) else list(value or ["UNKNOWN"])
    return str(next((word for word in words if word in _FLAGS), words[0]))


_FLAGS = frozenset({
    *("CONFIGURING", "COMPLETING", "EXPEDITING", "POWER_UP_NODE", "RECONFIG_FAIL", "REQUEUED", "REQUEUE_FED"),
    *("REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "REVOKED", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED"),
})  # fmt: skip


def tasks(job: Mapping[str, Any]) -> tuple[str, str]:
    """Return the id of a job in the queue and its array tasks, as squeue prints them; "" for a plain job."""
    task, array = number(job.get("array_task_id")), number(job.get("array_job_id"))
    text = str(job.get("array_task_string") or "")
    if not array or (task is None and not text):
        return str(array or job["job_id"]), ""
    return str(array), text if task is None else str(task)


def finished(job: Mapping[str, Any]) -> tuple[str, str]:
    """Return the id of a job in the accounting, such as "12_3", and its exit code and signal, such as "1:0".

    v0.0.38 (of 22.05) reports a code of 0 for failed jobs. Such a code is unknown: the text is then empty.
    """
    array = job.get("array") or {}
    task = number(array.get("task_id"))
    id_ = f"{array['job_id']}_{task}" if array.get("job_id") and task is not None else str(job["job_id"])
    code = job.get("exit_code") or {}
    signal = code.get("signal") or {}
    ended_by = number(signal.get("id", signal.get("signal_id"))) or 0
    returned = number(code.get("return_code")) or 0
    failed = state((job.get("state") or {}).get("current")) == "FAILED"
    return id_, "" if failed and not returned and not ended_by else f"{returned}:{ended_by}"
