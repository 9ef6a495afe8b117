"""The environment seam: what an environment is, and where it is built."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from slurm.errors import ConfigurationError
from slurm.protocol import ResolvedEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from typing_extensions import Self

    from slurm.transports.base import Completed, Transport

    RunInJob = Callable[[ResolvedEnvironment, Sequence[str], bytes], Completed]

_log = logging.getLogger("slurm.environments")

UNKNOWN_PYTHON = "<python>"
"""Stands for the path of an interpreter that is not known before its environment is made."""
_TO_BE_MADE = "to be made: "


class Interpreter(NamedTuple):
    """The requested Python, and the bash steps to run before it. A path or a name; None for any Python that fits."""

    python: str | None = None
    setup: tuple[str, ...] = ()
    from_setup: bool = False
    """Whether the steps provide the Python, so that a failed step means that there is none."""


class BuildListener:
    """Receives the events of a build; not called for an environment that exists already. The default logs them.

    `key` names the environment, as in the submissions that use it.
    """

    def begin(self, key: str) -> None:
        """A build of the environment begins in this process."""
        _log.info("building the environment %s", key)

    def step(self, key: str, step: str) -> None:
        """A step begins, such as "building the wheel", or a wait for another process that builds it."""
        _log.info("%s: %s", key, step)

    def end(self, key: str, error: BaseException | None) -> None:
        """The build is over. It failed if there is an `error`; the environment may also be built with another key."""
        if error is None:
            _log.info("finished the build of the environment %s", key)


def _no_jobs(environment: ResolvedEnvironment, argv: Sequence[str], stdin: bytes) -> Completed:
    del environment, stdin
    raise ConfigurationError(f"cannot run {argv[0]} in a job: this build target submits no jobs")


class RootAccess(Protocol):
    """Access to the root that contains the directory of the environments."""

    @property
    def root(self) -> str:
        """The root. Environments are built under `<root>/envs/`."""

    def ask(self, argv: Sequence[str]) -> Completed:
        """Run a short command with the root in the variable SLURMTASKS_ROOT."""


class KnownRoot(NamedTuple):
    """Access to a known root: each `ask` is one command over the transport."""

    transport: Transport
    root: str

    def ask(self, argv: Sequence[str]) -> Completed:
        """Run the command."""
        return self.transport.run(["env", f"SLURMTASKS_ROOT={self.root}", *argv], timeout=60)


@dataclass(frozen=True)
class BuildTarget:
    """Where an environment is built, and what is known about that machine."""

    transport: Transport
    access: RootAccess
    interpreter: Interpreter = field(default_factory=Interpreter)
    """The requested Python, with the steps that every job runs before those of the environment."""
    known: Mapping[Interpreter, Callable[[], ResolvedEnvironment]] = field(default_factory=dict)
    """Pythons that are known already, or that are found by a command that runs in any case."""
    listener: BuildListener = field(default_factory=BuildListener)
    for_program: bool = False
    """Whether the environment is for a program, which needs no Python; the runner may then be outside of it."""
    run_in_job: RunInJob = _no_jobs
    """Runs a command with its standard input in a job, in an existing environment, and waits for it."""

    @classmethod
    def at(
        cls,
        transport: Transport,
        root: str,
        interpreter: Interpreter = Interpreter(),  # noqa: B008 - a value
        *,
        listener: BuildListener = BuildListener(),  # noqa: B008 - it has no state
    ) -> Self:
        """A build target with a known root."""
        return cls(transport, KnownRoot(transport, root), interpreter, listener=listener)

    @property
    def root(self) -> str:
        """The root under which environments are built."""
        return self.access.root


class Environment(Protocol):
    """A Python with its packages, in which tasks run. A value: equal to any other with the same arguments.

    The constructor does no I/O. It receives what a Slurmfile has under the environment's name: a mapping as keyword
    arguments, a list or a text as positional arguments.
    """

    local_paths: ClassVar[Collection[str]] = ()
    """Names of parameters that are local paths. In a Slurmfile these paths are relative to the file."""
    without_python: ClassVar[bool] = False
    """Whether the programs of commands can run in it if it has no Python: see `BuildTarget.for_program`."""

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        """Make the environment ready, and return how to start its Python. Its setup includes the steps of the target.

        Costly parts are built once, by `slurm.environments.building.build_once`, which reports to `target.listener`.
        Raises EnvironmentNotReady.
        """

    def planned(self, target: BuildTarget) -> ResolvedEnvironment:
        """Return what `prepare` would return, but make nothing; `to_be_made` if the environment is missing."""
        del target
        return to_be_made(repr(self))

    def before(self, target: BuildTarget) -> BuildTarget:
        """Return the target for the next environment of a list. Raises ConfigurationError if this one must be last."""
        del target
        raise ConfigurationError(
            f"{self!r} must be the last in a list of environments, because no other can build on it"
        )

    def fingerprint(self) -> str:
        """Return a text that changes when an equal environment must be built again, such as a hash of its sources.

        Called before each submission, so it must be quick. It does I/O on this machine only.
        """
        return ""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if value)
        return f"{type(self).__name__}({arguments})"


def as_list(environment: Environment | Sequence[Environment] | None) -> tuple[Environment, ...]:
    """Return one environment, or a list of environments, as a tuple; () for None. Raises ConfigurationError."""
    found = tuple(environment) if isinstance(environment, (list, tuple)) else (environment,) if environment else ()
    for one in found:
        if not hasattr(one, "prepare") or isinstance(one, type):
            advice = f"{one.__name__}(…), with parentheses" if isinstance(one, type) else "such as slurm.Wheel()"
            raise ConfigurationError(f"environment={one!r}: expected an environment, {advice}")
    return found


def planned_by_prepare(self: Environment, target: BuildTarget) -> ResolvedEnvironment:
    """Return what `prepare` returns: the method `planned` of an environment that makes nothing."""
    return self.prepare(target)


def before_all(environments: Sequence[Environment], target: BuildTarget) -> BuildTarget:
    """Return the target for the environment after those of a list."""
    for environment in environments:
        target = environment.before(target)
    return target


def prepare_all(environments: Sequence[Environment], target: BuildTarget) -> ResolvedEnvironment:
    """Prepare the last environment of a list, on top of those before it."""
    return environments[-1].prepare(before_all(environments[:-1], target))


def planned_all(environments: Sequence[Environment], target: BuildTarget) -> ResolvedEnvironment:
    """Plan the last environment of a list, on top of those before it."""
    return environments[-1].planned(before_all(environments[:-1], target))


def to_be_made(name: str, setup: tuple[str, ...] = ()) -> ResolvedEnvironment:
    """Describe an environment that does not exist yet. Its Python, its packages and its modules are unknown."""
    tag = "{}.{}".format(*sys.version_info[:2])
    return ResolvedEnvironment(key=f"{_TO_BE_MADE}{name}", python=UNKNOWN_PYTHON, tag=tag, setup=setup)


def is_made(environment: ResolvedEnvironment) -> bool:
    """Whether an environment exists already."""
    return not environment.key.startswith(_TO_BE_MADE)
