"""Retry: which failures a job survives, and with what it is run again."""

from __future__ import annotations

import json

import slurm.options.values as kinds
from slurm.protocol import LOAD, PROCESS, QUEUE, RESOLVE, SAVE, SETUP
from slurm.protocol.outcomes import class_name
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, NoReturn

    from slurm.options import Options
    from slurm.protocol.outcomes import ErrorRecord

_BY_PHASE = {
    QUEUE: "JobNotStarted",
    LOAD: "LoadFailed",
    RESOLVE: "DependencyFailed",
    SAVE: "ResultNotSaved",
    SETUP: "SetupFailed",
}
_OF_THE_NODE = ("JobNotStarted", "JobPreempted", "NodeFailed")
MAX_RESTARTS = 100
"""How many attempts follow one that stopped at a checkpoint, where `max_restarts` says nothing."""
_MEMORY, _TIME = ("mem", "mem_per_cpu", "mem_per_gpu"), ("time",)
_OUT_OF_MEMORY, _TIMED_OUT = "JobOutOfMemory", "JobTimedOut"


class Retry(Record):
    """Run a job that failed again, by itself, up to `times` more: `@task(retry=Retry(times=3, mem="x2"))`.

    `on` names the failures: exception classes, of the task's own and of this library (`JobOutOfMemory`, `NodeFailed`),
    or their names; a class stands for its subclasses too. By default it is what happens to a job through no fault of
    its own (NodeFailed, JobPreempted, JobNotStarted), JobOutOfMemory if `mem` is given, JobTimedOut if `time` is.
    After JobOutOfMemory the memory asked for is multiplied by `mem` ("x2"), up to `max_mem`; after JobTimedOut the time
    limit by `time` ("x1.5"), up to `max_time`; there is no further try once the bound has failed. With
    `exclude_failed_node`, later attempts keep off the node where one failed, unless memory or time ran out.

    Raises OptionError for what can't be.
    """

    times: int = 3
    on: tuple[str, ...] | None = None
    mem: str | None = None
    time: str | None = None
    max_mem: str | None = None
    max_time: str | None = None
    exclude_failed_node: bool = False

    def __init__(
        self,
        times: int = 3,
        *,
        on: type[BaseException] | str | Iterable[type[BaseException] | str] | None = None,
        mem: str | float | None = None,
        time: str | float | None = None,
        max_mem: str | int | None = None,
        max_time: Any = None,
        exclude_failed_node: bool = False,
    ) -> None:
        checked = {
            "times": _checked("times", times, lambda value: int(kinds.count(value))),
            "on": _checked("on", on, _names),
            "mem": _checked("mem", mem, _factor),
            "time": _checked("time", time, _factor),
            "max_mem": _checked("max_mem", max_mem, kinds.memory),
            "max_time": _checked("max_time", max_time, kinds.duration),
            "exclude_failed_node": _checked("exclude_failed_node", exclude_failed_node, lambda v: bool(kinds.flag(v))),
        }
        for bound, grows in (("max_mem", "mem"), ("max_time", "time")):
            if checked[bound] and not checked[grows]:
                _refuse(f"{bound} is the bound of a growth: give {grows} too, such as {grows}='x2'")
        super().__init__(**checked)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Retry:
        """What `to_json` gave, or a mapping of what the constructor takes."""
        unknown = ", ".join(data.keys() - set(cls._fields))
        if unknown:
            _refuse(f"there is no {unknown}; there are: {', '.join(cls._fields)}")
        return cls(**data)

    @property
    def failures(self) -> frozenset[str]:
        """The names of the failures that are survived."""
        if self.on is not None:
            return frozenset(self.on)
        grown = ((_OUT_OF_MEMORY, self.mem), (_TIMED_OUT, self.time))
        return frozenset((*_OF_THE_NODE, *(name for name, factor in grown if factor)))

    def check(self, options: Options) -> None:
        """Raise OptionError where there is nothing to multiply."""
        for factor, names in ((self.mem, _MEMORY), (self.time, _TIME)):
            if factor and not any(options.get(name) for name in names):
                _refuse(f"{names[0]}={factor!r} multiplies what was asked for, and no {' or '.join(names)} is set")

    def next_options(
        self, options: Options, failure: frozenset[str], *, tried: int, node: str | None
    ) -> dict[str, str] | None:
        """What an attempt after a failure asks for instead, over `options`; None if there is to be none.

        `failure` holds the names of what went wrong, with its class's bases; `tried` is how many retries there were.
        """
        if tried >= self.times or not failure & self.failures:
            return None
        for cause, factor, bound, names, grown in (
            (_OUT_OF_MEMORY, self.mem, self.max_mem, _MEMORY, _more_memory),
            (_TIMED_OUT, self.time, self.max_time, _TIME, _more_time),
        ):
            if cause in failure and factor:
                asked = {name: text for name in names if isinstance(text := options.get(name), str)}
                more = {name: grown(text, float(factor[1:]), bound) for name, text in asked.items()}
                return more if more != asked else None
        if self.exclude_failed_node and node and not failure & {_OUT_OF_MEMORY, _TIMED_OUT}:
            excluded = options.get("exclude")
            return {"exclude": f"{excluded},{node}" if excluded else node}
        return {}


def parse(value: Any) -> str:
    """A Retry, or a mapping of what it takes, as an option's text."""
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if str(value).isdecimal():
        value = {"times": value}
    retry = value if isinstance(value, Retry) else Retry.from_json(value) if hasattr(value, "keys") else None
    if retry is None:
        raise ValueError('a Retry, such as Retry(times=3, on=(JobOutOfMemory, ConnectionError), mem="x2")')
    return json.dumps(retry.to_json(), sort_keys=True)


def of_options(options: Options) -> Retry | None:
    """The Retry that options hold."""
    text = options.get("retry")
    return Retry.from_json(json.loads(text)) if isinstance(text, str) else None


def may_restart(options: Options, attempt: int) -> bool:
    """Whether an attempt that stopped at a checkpoint is followed by another."""
    return attempt <= int(options.get("max_restarts") or MAX_RESTARTS)


def failure_names(phase: str, error: ErrorRecord | None) -> frozenset[str]:
    """The names of what went wrong in a phase: of the library's error for it, and of the task's own exception."""
    from slurm import errors  # noqa: PLC0415 - carries concurrent.futures

    exited = phase == PROCESS or (error is not None and error.type == "SystemExit")
    kind = "TaskExited" if exited else _BY_PHASE.get(phase, "TaskFailed")
    return frozenset((*(error.bases if error else ()), *names_of(getattr(errors, kind))))


def names_of(kind: type[BaseException]) -> Iterator[str]:
    """The names that stand for an exception class: its own, and those of its bases."""
    return map(class_name, kind.__mro__[:-1])


def _names(value: Any) -> tuple[str, ...]:
    several = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    if not several or not all(isinstance(item, (type, str)) for item in several):
        raise ValueError("exception classes, or their names")
    for item in several:
        if isinstance(item, type) and not issubclass(item, BaseException):
            raise ValueError(f"exception classes, and {item!r} is none")
    return tuple(sorted(item if isinstance(item, str) else class_name(item) for item in several))


def _factor(value: Any) -> str:
    try:
        factor = float(str(value).removeprefix("x"))
    except ValueError:
        factor = 0.0
    if isinstance(value, bool) or not 1 < factor < float("inf"):
        raise ValueError('a factor above 1, such as "x2" or "x1.5"')
    return f"x{factor:g}"


def _more_memory(text: str, factor: float, bound: str | None) -> str:
    grown = kinds.megabytes(text) * factor
    return f"{round(min(grown, kinds.megabytes(bound)) if bound else grown)}M"


def _more_time(text: str, factor: float, bound: str | None) -> str:
    seconds, most = kinds.seconds(text), kinds.seconds(bound) if bound else None
    if seconds is None:
        return text
    grown = round(seconds * factor)
    return kinds.clock(min(grown, most) if most is not None else grown)


def _checked(name: str, value: Any, kind: Any) -> Any:
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError as error:
        _refuse(f"{name}={value!r}: expected {error}")


def _refuse(message: str) -> NoReturn:
    from slurm.errors import OptionError  # noqa: PLC0415 - as above

    raise OptionError(f"Retry: {message}")
