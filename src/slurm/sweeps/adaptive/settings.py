"""Settings: the ranges, the sampler and the metric of an adaptive search, as `sweep.json` keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from slurm.errors import ConfigurationError, ProtocolError
from slurm.spaces.ranges import Range, range_of, ranges_of
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.records import SweepRecord

SAMPLERS = ("tpe", "random")
DIRECTIONS = ("minimize", "maximize")
PRUNERS = ("median",)


class SearchOptions(TypedDict, total=False):
    """The arguments of `Sweep` that make it an adaptive search."""

    sampler: Literal["tpe", "random"]
    metric: str
    direction: Literal["minimize", "maximize"]
    trials: int | None
    seed: int
    prune: Literal["median"] | None


class Search(NamedTuple):
    """The settings of an adaptive search."""

    ranges: Mapping[str, Range]
    metric: str
    """The name of the metric that the search minimizes or maximizes."""
    sampler: str = "tpe"
    direction: str = "minimize"
    trials: int | None = None
    """How many points a driver asks for in all; None if only `Sweep.ask` asks for points."""
    seed: int = 0
    prune: str | None = None

    @property
    def largest(self) -> bool:
        """Whether the largest value is the best."""
        return self.direction == "maximize"

    @property
    def example(self) -> dict[str, Any]:
        """A point of the space, with which a task can be checked."""
        return {name: each.values[0] if each.values else each.low for name, each in self.ranges.items()}

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise ConfigurationError for a point that is not in the space of the search."""
        if params.keys() == self.ranges.keys() and all(each.has(params[name]) for name, each in self.ranges.items()):
            return
        space = ", ".join(f"{name}: {each.to_json()}" for name, each in self.ranges.items())
        raise ConfigurationError(f"the point {dict(params)} is not in the space of the search, which is {space}")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return self._asdict() | {"ranges": {name: each.to_json() for name, each in self.ranges.items()}}

    @classmethod
    def of(cls, record: SweepRecord, *, where: str) -> Search | None:
        """Return the search of a sweep; None for a sweep of given points. Raises ProtocolError if it is damaged."""
        try:
            return cls.from_json(record.search) if record.search is not None else None
        except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"the search of {where} is damaged: {error!r}") from error

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Search:
        """Return what `to_json` encoded. Raises ConfigurationError, KeyError or TypeError."""
        known = {name: data[name] for name in cls._fields if name in data}
        return cls(**known | {"ranges": {name: range_of(each) for name, each in data["ranges"].items()}})


def search_of(space: Mapping[str, Any] | Iterable[Mapping[str, Any]], options: SearchOptions) -> Search | None:
    """Make a search of a space with the arguments of `Sweep`; None for a space of points. Raises ConfigurationError."""
    if not options and not isinstance(space, Mapping):
        return None
    if not options and isinstance(space, Mapping) and not any(isinstance(each, Range) for each in space.values()):
        raise ConfigurationError(
            "a mapping is a space of ranges, for a sampler. For all combinations of some values, write a grid: "
            f"Sweep(…, grid({next(iter(space), 'x')}=[…]))"
        )
    if not options.get("sampler"):
        what = ", ".join(options) or "a mapping of ranges"
        raise ConfigurationError(f'{what} goes with a sampler: Sweep(…, sampler="tpe", metric="loss")')
    for name, known in (("sampler", SAMPLERS), ("direction", DIRECTIONS), ("prune", (None, *PRUNERS))):
        if name in options and options[name] not in known:  # type: ignore[literal-required]
            value = options[name]  # type: ignore[literal-required]
            raise ConfigurationError(f"{name}={value!r}: known are {', '.join(map(repr, known))}{_near(value, known)}")
    if not isinstance(options.get("metric"), str):
        raise ConfigurationError('sampler=… needs the number to search for: metric="loss" for a task that returns it')
    return with_trials(Search(ranges_of(space), **options), options.get("trials"))


def check_same(opened: SweepDirectory, search: Search | None) -> None:
    """Raise ConfigurationError unless the sweep is a search of the same space, or neither of the two has a sampler."""
    known, name = Search.of(opened.record, where=str(opened.path)), opened.path.name
    if (known is None) != (search is None):
        has = "has a sampler, which chooses its points" if known else "has no sampler"
        raise ConfigurationError(f"the sweep {name!r} exists, and {has}: choose another name")
    if known and search and known.ranges != search.ranges:
        others = [
            each for each in {**known.ranges, **search.ranges} if known.ranges.get(each) != search.ranges.get(each)
        ]
        raise ConfigurationError(
            f"the sweep {name!r} exists, and searches another space: {', '.join(others)}. Choose another name"
        )


def with_trials(search: Search, trials: Any) -> Search:
    """Return the search with another number of trials. Raises ConfigurationError if `trials` is not such a number."""
    if trials is None:
        return search
    if type(trials) is not int or trials < 1:
        raise ConfigurationError(f"trials={trials!r}: write how many points the search asks for in all, such as 100")
    return search._replace(trials=trials)


def _near(value: Any, known: tuple[Any, ...]) -> str:
    return near(str(value), [each for each in known if each])
