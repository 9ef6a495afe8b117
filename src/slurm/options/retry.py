"""Retry: which failures are retried, and with which options."""

from __future__ import annotations

import builtins
import json
import math

import slurm.options.values as kinds
from slurm.protocol import LOAD, PROCESS, QUEUE, RESOLVE, SAVE, SETUP
from slurm.protocol.outcomes import class_name, exit_name
from slurm.protocol.records import TYPE_CHECKING, Record
from slurm.tracebacks import ends_at_the_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from slurm.protocol.outcomes import ErrorRecord

    Get = Callable[[str], str | bool | None]  # `Options.get`

_BY_PHASE = {
    QUEUE: "JobNotStarted",
    LOAD: "LoadFailed",
    RESOLVE: "DependencyFailed",
    SAVE: "ResultNotSaved",
    SETUP: "SetupFailed",
}
_NODE_FAILURES = ("JobNotStarted", "JobPreempted", "NodeFailed")
_ENDS_OF_WORKERS = ("JobOutOfMemory", "JobTimedOut", "TaskExited", *_NODE_FAILURES)
MAX_RESTARTS = 100
"""The default of `max_restarts`: the number of attempts that may follow a stop at a checkpoint."""
_MEMORY, _TIME = ("mem", "mem_per_cpu", "mem_per_gpu"), ("time",)
_OUT_OF_MEMORY, _TIMED_OUT = "JobOutOfMemory", "JobTimedOut"


class Retry(Record):
    """Retry a failed job automatically, at most `times` times: `@task(retry=Retry(times=3, mem="x2"))`.

    `on` selects the failures to retry: exception classes of the task or of this library (`JobOutOfMemory`,
    `NodeFailed`), or their names; a class includes its subclasses. A number is an exit status of a command's program:
    `on=75`. A name in capitals is a diagnosis of a command. The default is NodeFailed, JobPreempted and JobNotStarted,
    which the job did not cause; also JobOutOfMemory if `mem` is given, and JobTimedOut if `time` is given.
    After JobOutOfMemory the requested memory is multiplied by `mem` ("x2"), up to `max_mem`; after JobTimedOut the time
    limit is multiplied by `time` ("x1.5"), up to `max_time`. A failure at the maximum is not retried. With
    `exclude_failed_node`, later attempts avoid the node of a failure, unless memory or time ran out.

    Raises OptionError for invalid arguments.
    """

    times: int = 3
    on: tuple[str, ...] | None = None
    mem: str | None = None
    time: str | None = None
    max_mem: str | None = None
    max_time: str | None = None
    exclude_failed_node: bool = False

    @ends_at_the_caller
    def __init__(
        self,
        times: int = 3,
        *,
        on: type[BaseException] | str | int | Iterable[type[BaseException] | str | int] | None = None,
        mem: str | float | None = None,
        time: str | float | None = None,
        max_mem: str | int | None = None,
        max_time: Any = None,
        exclude_failed_node: bool = False,
    ) -> None:
        checked = {
            "times": kinds.checked("Retry: times", times, lambda value: int(kinds.count(value))),
            "on": kinds.checked("Retry: on", on, _known_names),
            "mem": kinds.checked("Retry: mem", mem, _factor),
            "time": kinds.checked("Retry: time", time, _factor),
            "max_mem": kinds.checked("Retry: max_mem", max_mem, kinds.memory),
            "max_time": kinds.checked("Retry: max_time", max_time, kinds.duration),
            "exclude_failed_node": kinds.checked(
                "Retry: exclude_failed_node", exclude_failed_node, lambda v: bool(kinds.flag(v))
            ),
        }
        for bound, grows in (("max_mem", "mem"), ("max_time", "time")):
            if checked[bound] and not checked[grows]:
                kinds.fail(f"Retry: {bound} limits {grows}, which is not set: give {grows} too, such as {grows}='x2'")
        super().__init__(**checked)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Retry:
        """Return the Retry that `to_json` encoded. Failure names are not checked: another version wrote them."""
        retry = cls.from_mapping({name: value for name, value in data.items() if name != "on"})
        if data.get("on") is not None:
            retry.__dict__["on"] = kinds.checked("Retry: on", data["on"], _names)
        return retry

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Retry:
        """Return a Retry for a mapping of the constructor's arguments."""
        unknown = ", ".join(data.keys() - set(cls._fields))
        if unknown:
            kinds.fail(f"Retry: there is no {unknown}; there are: {', '.join(cls._fields)}")
        return cls(**data)

    @property
    def failures(self) -> frozenset[str]:
        """The names of the failures that are retried."""
        if self.on is not None:
            return frozenset(self.on)
        growing = ((_OUT_OF_MEMORY, self.mem), (_TIMED_OUT, self.time))
        return frozenset((*_NODE_FAILURES, *(name for name, factor in growing if factor)))

    def allows(self, failure: frozenset[str], attempt: int) -> bool:
        """Whether a call of a pool is made again after the failure of an attempt. Raises nothing.

        Without `on`, a call is made again only if its worker or its element has ended.
        """
        return attempt <= self.times and not failure.isdisjoint(_ENDS_OF_WORKERS if self.on is None else self.on)

    def check(self, get: Get) -> None:
        """Raise OptionError if `mem` or `time` multiplies an option that is not set."""
        for factor, names in ((self.mem, _MEMORY), (self.time, _TIME)):
            if factor and not any(map(get, names)):
                times = factor.removeprefix("x")
                meant = f". For the number of retries, write Retry(times={times})" if times.isdecimal() else ""
                problem = f"{names[0]}={factor!r} multiplies an option that is not set"
                kinds.fail(f"Retry: {problem}: set {' or '.join(names)}{meant}")

    def next_options(self, get: Get, failure: frozenset[str], *, tried: int, node: str | None) -> dict[str, str] | None:
        """Return the options to change for the attempt after a failure; None if there is no further attempt.

        `failure` holds the names of the error's class and its bases; `tried` is the number of retries so far.
        """
        if tried >= self.times or not failure & self.failures:
            return None
        for cause, factor, bound, names, grown in (
            (_OUT_OF_MEMORY, self.mem, self.max_mem, _MEMORY, _more_memory),
            (_TIMED_OUT, self.time, self.max_time, _TIME, _more_time),
        ):
            if cause in failure and factor:
                requested = {name: text for name in names if isinstance(text := get(name), str)}
                more = {name: grown(text, float(factor[1:]), bound) for name, text in requested.items()}
                return more if more != requested else None
        if self.exclude_failed_node and node and not failure & {_OUT_OF_MEMORY, _TIMED_OUT}:
            excluded = get("exclude")
            return {"exclude": f"{excluded},{node}" if excluded else node}
        return {}


def parse(value: Any) -> str:
    """Return the option text for a Retry, a number of retries, or a mapping of Retry's arguments."""
    if isinstance(value, str) and value.startswith("{"):
        value = Retry.from_json(json.loads(value))
    if str(value).isdecimal():
        value = {"times": value}
    retry = value if isinstance(value, Retry) else Retry.from_mapping(value) if hasattr(value, "keys") else None
    if retry is None:
        raise ValueError('a Retry, such as Retry(times=3, on=(JobOutOfMemory, ConnectionError), mem="x2")')
    return json.dumps(retry.to_json(), sort_keys=True)


def of_options(get: Get) -> Retry | None:
    """Return the Retry in the options, or None."""
    text = get("retry")
    return Retry.from_json(json.loads(text)) if isinstance(text, str) else None


def may_restart(get: Get, attempt: int) -> bool:
    """Whether another attempt may follow an attempt that stopped at a checkpoint."""
    return attempt <= int(get("max_restarts") or MAX_RESTARTS)


def failure_names(phase: str, error: ErrorRecord | None) -> frozenset[str]:
    """Return the class names of a failure: the library's error for the phase, the task's exception, and their bases."""
    from slurm import errors  # noqa: PLC0415 - imports concurrent.futures

    exited = phase == PROCESS or (error is not None and error.type == "SystemExit")
    kind = "TaskExited" if exited else _BY_PHASE.get(phase, "TaskFailed")
    if phase == PROCESS and error is not None and error.type == _OUT_OF_MEMORY:
        kind = _OUT_OF_MEMORY
    return frozenset((*(error.bases if error else ()), *names_of(getattr(errors, kind))))


def names_of(kind: type[BaseException]) -> Iterator[str]:
    """Return the names of an exception class and its bases."""
    return map(class_name, kind.__mro__[:-1])


def _names(value: Any) -> tuple[str, ...]:
    several = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    if not several or not all(isinstance(item, (type, str)) or _is_status(item) for item in several):
        raise ValueError("exception classes, or their names, or exit statuses of a program (1 to 255)")
    for item in several:
        if isinstance(item, type) and not issubclass(item, BaseException):
            raise ValueError(f"exception classes, and {item!r} is not one")
    return tuple(sorted(map(_name, several)))


def _is_status(item: Any) -> bool:
    return type(item) is int and 0 < item < 256


def _name(item: type[BaseException] | str | int) -> str:
    if isinstance(item, int):
        return exit_name(item)
    return item if isinstance(item, str) else class_name(item)


def _known_names(value: Any) -> tuple[str, ...]:
    """Like `_names`, but a name without a module must be an exception of Python or of this library, or a diagnosis."""
    from slurm import errors  # noqa: PLC0415 - as above

    known = {
        name
        for module in (builtins, errors)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    }
    names = tuple(sorted(map(_without_our_module, _names(value))))
    for name in names:
        if "." not in name and name not in known and not name.startswith("exit ") and not name.isupper():
            from difflib import get_close_matches  # noqa: PLC0415 - only for an error message

            by_lower = {each.lower(): each for each in known}
            near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
            hint = f"did you mean {by_lower[near[0]]}? " if near else ""
            raise ValueError(f"exceptions, and there is no {name}: {hint}Name one of another module as 'module.Name'")
    return names


def _without_our_module(name: str) -> str:
    """Return the name in the form of `class_name`."""
    module, _, bare = name.rpartition(".")
    return bare if module in ("builtins", "slurm", "slurm.errors") else name


def _factor(value: Any) -> str:
    try:
        factor = float(str(value).removeprefix("x"))
    except ValueError:
        factor = 0.0
    if isinstance(value, bool) or not 1 < factor < float("inf"):
        raise ValueError('a factor above 1, such as "x2" or "x1.5"')
    return f"x{factor:g}"


def _more_memory(text: str, factor: float, bound: str | None) -> str:
    grown = _rounded_up(kinds.megabytes(text) * factor)
    return f"{max(1, min(grown, int(kinds.megabytes(bound)))) if bound else grown}M"  # 0 means all memory of a node


def _rounded_up(grown: float) -> int:
    """Round up, so that a small amount grows, too; 11.000000000000002 is 11."""
    return math.ceil(round(grown, 6))


def _more_time(text: str, factor: float, bound: str | None) -> str:
    seconds, most = kinds.seconds(text), kinds.seconds(bound) if bound else None
    if seconds is None:
        return text
    grown = _rounded_up(seconds * factor)
    return kinds.clock(min(grown, most) if most is not None else grown)
