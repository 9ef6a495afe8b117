"""The environment seam."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from typing_extensions import Self

    from slurm.protocol import ResolvedEnvironment
    from slurm.transports.base import Completed, Transport

    RunInJob = Callable[[ResolvedEnvironment, Sequence[str], bytes], Completed]

_log = logging.getLogger("slurm.environments")


class Interpreter(NamedTuple):
    """How a Python is asked for: by its path or name, None for the one that fits, after some steps of bash."""

    python: str | None = None
    setup: tuple[str, ...] = ()
    from_setup: bool = False
    """Whether the steps bring it, so that there is none where one of them fails."""


class BuildListener:
    """What is told while an environment is made; of one that is there already, nothing. This one logs it.

    `key` names the environment, as the submissions that use it have it.
    """

    def begin(self, key: str) -> None:
        """It isn't there, and this process makes it."""
        _log.info("making the environment %s", key)

    def step(self, key: str, step: str) -> None:
        """What comes next, such as "building the wheel"; also whom it is waited for, where another process makes it."""
        _log.info("%s: %s", key, step)

    def end(self, key: str, error: BaseException | None) -> None:
        """It is ready, or `error` is why not."""
        if error is None:
            _log.info("the environment %s is ready", key)


def _no_jobs(environment: ResolvedEnvironment, argv: Sequence[str], stdin: bytes) -> Completed:
    del environment, stdin
    message = f"{argv[0]} can't be run in a job from here"
    raise ConfigurationError(message)


class Ground(Protocol):
    """Where a place keeps its environments, and how a quick look goes there."""

    @property
    def root(self) -> str:
        """The root of the store: environments are made under `<root>/envs/`."""

    def ask(self, argv: Sequence[str]) -> Completed:
        """Run a short command, which finds the root in its variable SLURMTASKS_ROOT."""


class KnownGround(NamedTuple):
    """One whose root is known: each look is a command of its own."""

    transport: Transport
    root: str

    def ask(self, argv: Sequence[str]) -> Completed:
        """Run it."""
        return self.transport.run(["env", f"SLURMTASKS_ROOT={self.root}", *argv], timeout=60)


@dataclass(frozen=True)
class Place:
    """Where an environment is made ready, and what it finds there."""

    transport: Transport
    ground: Ground
    interpreter: Interpreter = field(default_factory=Interpreter)
    """The Python that was asked for, after the steps that every job takes before the environment's own."""
    known: Mapping[Interpreter, Callable[[], ResolvedEnvironment]] = field(default_factory=dict)
    """Those that have been looked for already, or can be by a command that runs in any case."""
    packaging: BuildListener = field(default_factory=BuildListener)
    run_in_job: RunInJob = _no_jobs
    """Runs a command with its input in a job, where the task may run, in an environment that is there; waits for it."""

    @classmethod
    def at(
        cls,
        transport: Transport,
        root: str,
        interpreter: Interpreter = Interpreter(),  # noqa: B008 - a value
        *,
        packaging: BuildListener = BuildListener(),  # noqa: B008 - one that keeps nothing
    ) -> Self:
        """A place whose root is known."""
        return cls(transport, KnownGround(transport, root), interpreter, packaging=packaging)

    @property
    def root(self) -> str:
        """The ground's."""
        return self.ground.root


class Environment(Protocol):
    """A Python, and what is installed with it, for tasks to run in: a value, equal to one made in the same way.

    Constructors do no I/O. What stands in a Slurmfile under the environment's name is given to the constructor: a
    mapping as keyword arguments, a list or a text by place.
    """

    local_paths: ClassVar[Collection[str]] = ()
    """Parameters that are paths of this machine: in a Slurmfile they are relative to it."""

    def prepare(self, place: Place) -> ResolvedEnvironment:
        """Make it ready there, and say how to start it. The setup of the result holds that of the place, too.

        What is costly is made once (`slurm.environments.building.build_once`), and told to `place.packaging`. Raises
        EnvironmentNotReady.
        """

    def before(self, place: Place) -> Place:
        """The place as the next environment of a list finds it. Raises ConfigurationError if it must be the last."""
        del place
        message = f"{self!r} must be the last of a list of environments: nothing can be put on top of it"
        raise ConfigurationError(message)

    def fingerprint(self) -> str:
        """What changes where an equal environment must be prepared anew, such as the hash of its sources.

        Asked before each submission, so it is quick, and does I/O on this machine only.
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
    """One environment, or several to be combined, as a tuple; none for None. Raises ConfigurationError."""
    found = tuple(environment) if isinstance(environment, (list, tuple)) else (environment,) if environment else ()
    for one in found:
        if not hasattr(one, "prepare") or isinstance(one, type):
            advice = f"{one.__name__}(…), with parentheses" if isinstance(one, type) else "such as slurm.Wheel()"
            message = f"environment={one!r}: expected an environment, {advice}"
            raise ConfigurationError(message)
    return found


def prepare_all(environments: Sequence[Environment], place: Place) -> ResolvedEnvironment:
    """Prepare the last of some environments, on top of those before it."""
    *below, top = environments
    for environment in below:
        place = environment.before(place)
    return top.prepare(place)
