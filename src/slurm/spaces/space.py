"""Space: the points of a study as an object; spaces can be multiplied, added, filtered and sampled."""

from __future__ import annotations

import math
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError
from slurm.spaces.conditions import condition
from slurm.spaces.identity import nested as as_mappings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Params = dict[str, Any]


class Space(ABC, Iterable[Params]):
    """The points of a parameter study, in a fixed order. Iteration gives each point's parameters as a dict.

        space = grid(lr=[1e-3, 1e-2], depth=range(2, 6)) * paired(data=["a", "b"], seed=[1, 2])
        space = (space + points([{"lr": 1.0, "depth": 2, "data": "a", "seed": 0}])).where("lr < 0.5 or depth == 2")

    `a * b` has each point of `a` combined with each point of `b`; `a + b` has the points of `a`, then the points of
    `b`. Points are made only during iteration.
    """

    names: tuple[str, ...]
    """The names of all parameters."""
    size: int
    """The number of points before `where`."""
    exact = True
    """Whether `size` is the exact number of points, because no `where` leaves points out."""

    def __init__(self, names: Iterable[str], size: int) -> None:
        self.names, self.size = tuple(names), size

    @abstractmethod
    def at(self, index: int) -> Params:
        """Return the point with an index from 0 to `size` - 1."""

    def __iter__(self) -> Iterator[Params]:
        return map(self.at, range(self.size))

    @property
    def nested(self) -> Iterator[Params]:
        """The points with nested mappings, as a task takes them: {"model.depth": 2} becomes {"model": {"depth": 2}}."""
        return map(as_mappings, self)

    @property
    def axes(self) -> Mapping[str, Sequence[Any]] | None:
        """The values of each parameter, if the space has exactly all their combinations; None for other spaces."""
        return None

    def __len__(self) -> int:
        """The number of points. After `where`, this enumerates all points."""
        return self.size

    def __bool__(self) -> bool:
        return self.size > 0

    def __mul__(self, other: Space) -> Space:
        return _Product(self, other) if isinstance(other, Space) else NotImplemented

    def __add__(self, other: Space) -> Space:
        return _Sum(self, other) if isinstance(other, Space) else NotImplemented

    def where(self, predicate: str | Callable[[Params], object]) -> Space:
        """Keep the points that meet a condition: a text like "lr < 0.1 and depth in [2, 4]", or a function of a point.

        Raises ConfigurationError if the text is not a condition on the parameters.
        """
        if isinstance(predicate, str):
            return _Where(self, condition(predicate, self.names))
        if not callable(predicate):
            raise ConfigurationError(
                f"where({predicate!r:.80}): pass a text such as 'lr < 0.1', or a function of a point"
            )
        return _Where(self, predicate)

    def sample(self, n: int, *, seed: int) -> Space:
        """Choose `n` points at random, in their order, or all if there are fewer. The same seed gives the same points.

        After `where`, this enumerates the points twice. Raises ConfigurationError unless `n` and `seed` are integers,
        and `n` is not negative.
        """
        if type(n) is not int or n < 0 or type(seed) is not int:
            raise ConfigurationError(f"sample({n!r}, seed={seed!r}): both are integers, and n is not negative")
        chosen = _positions(self.size if self.exact else len(self), n, seed)
        if self.exact:
            return _Some(self, chosen)
        kept = set(chosen)
        return _Points(self.names, [params for i, params in enumerate(self) if i in kept])

    def __repr__(self) -> str:
        return f"<Space of {'' if self.exact else 'at most '}{self.size} points: {', '.join(self.names)}>"


def grid(**axes: Iterable[Any]) -> Space:
    """Make a space of all combinations of the values; the last parameter changes fastest.

    Write a name with dots as `grid(**{"model.lr": […]})`. Raises ConfigurationError for a parameter without a list of
    values.
    """
    found = _axes("grid", axes)
    return _Grid(found, math.prod(map(len, found.values())) if found else 0)


def paired(**axes: Iterable[Any]) -> Space:
    """Make a space of the first values of all parameters, then the second values, and so on.

    Raises ConfigurationError if the lists have different lengths.
    """
    found = _axes("paired", axes)
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ConfigurationError(f"paired() takes as many values of each parameter: {told}")
    return _Paired(found, next(iter(lengths.values()), 0))


def points(some: Iterable[Mapping[str, Any]]) -> Space:
    """Make a space of given points, each a mapping of names to values. Raises ConfigurationError for other items."""
    if isinstance(some, str | Mapping) or not isinstance(some, Iterable):
        raise ConfigurationError(f"points({some!r:.80}): pass a list of mappings, such as [{{'lr': 0.1}}]")
    found = []
    for number, each in enumerate(some):
        if not isinstance(each, Mapping):
            raise ConfigurationError(f"points: item {number} is {each!r:.80}, not a mapping such as {{'lr': 0.1}}")
        found.append(dict(each))
    return _Points(tuple(dict.fromkeys(name for each in found for name in each)), found)


def _positions(count: int, n: int, seed: int) -> list[int]:
    """Choose `n` different numbers from 0 to `count` - 1, in order, or all if there are fewer."""
    source = random.Random(seed)  # noqa: S311 - a sample, no secret
    if count <= sys.maxsize:
        return sorted(source.sample(range(count), min(n, count)))
    found: set[int] = set()
    while len(found) < n:  # n is much smaller than count, so few numbers are repeated
        found.add(source.randrange(count))
    return sorted(found)


def _axes(what: str, axes: Mapping[str, Iterable[Any]]) -> dict[str, Sequence[Any]]:
    """Return the values of each parameter as sequences. Raises ConfigurationError for other values."""
    for name, values in axes.items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise ConfigurationError(
                f"{what}({name}={values!r:.80}): write a list of its values, such as [{values!r:.80}]"
            )
    return {name: values if isinstance(values, range) else list(values) for name, values in axes.items()}


class _Grid(Space):
    def __init__(self, axes: Mapping[str, Sequence[Any]], size: int) -> None:
        super().__init__(axes, size)
        self._axes = axes

    @property
    def axes(self) -> Mapping[str, Sequence[Any]]:
        return self._axes

    def at(self, index: int) -> Params:
        picked = []
        for values in reversed(list(self._axes.values())):
            index, position = divmod(index, len(values))
            picked.append(values[position])
        return dict(zip(self._axes, reversed(picked), strict=True))


class _Paired(Space):
    def __init__(self, axes: Mapping[str, Sequence[Any]], size: int) -> None:
        super().__init__(axes, size)
        self._axes = axes

    def at(self, index: int) -> Params:
        return {name: values[index] for name, values in self._axes.items()}


class _Points(Space):
    def __init__(self, names: Iterable[str], some: Sequence[Params]) -> None:
        super().__init__(names, len(some))
        self._points = some

    def at(self, index: int) -> Params:
        return dict(self._points[index])


class _Product(Space):
    def __init__(self, one: Space, other: Space) -> None:
        both = [name for name in one.names if name in other.names]
        if both:
            raise ConfigurationError(
                f"{both[0]} is a parameter of both spaces, so they cannot be multiplied: rename one"
            )
        super().__init__((*one.names, *other.names), one.size * other.size)
        self._one, self._other = one, other
        self.exact = one.exact and other.exact

    @property
    def axes(self) -> Mapping[str, Sequence[Any]] | None:
        one, other = self._one.axes, self._other.axes
        return None if one is None or other is None else {**one, **other}

    def at(self, index: int) -> Params:
        first, second = divmod(index, self._other.size)
        return {**self._one.at(first), **self._other.at(second)}

    def __iter__(self) -> Iterator[Params]:
        return ({**one, **other} for one in self._one for other in self._other)

    def __len__(self) -> int:
        return len(self._one) * len(self._other)


class _Sum(Space):
    def __init__(self, one: Space, other: Space) -> None:
        super().__init__(dict.fromkeys((*one.names, *other.names)), one.size + other.size)
        self._one, self._other = one, other
        self.exact = one.exact and other.exact

    def at(self, index: int) -> Params:
        return self._one.at(index) if index < self._one.size else self._other.at(index - self._one.size)

    def __iter__(self) -> Iterator[Params]:
        yield from self._one
        yield from self._other

    def __len__(self) -> int:
        return len(self._one) + len(self._other)


class _Some(Space):
    def __init__(self, of: Space, indices: Sequence[int]) -> None:
        super().__init__(of.names, len(indices))
        self._of, self._indices = of, indices

    def at(self, index: int) -> Params:
        return self._of.at(self._indices[index])


class _Where(Space):
    """The points of another space that meet a condition. They are unknown until the points are enumerated."""

    def __init__(self, of: Space, holds: Callable[[Params], object]) -> None:
        super().__init__(of.names, of.size)
        self._of, self._holds = of, holds
        self.exact = False

    def at(self, index: int) -> Params:
        raise ConfigurationError(f"point {index} is not known before the points are enumerated, because of `where`")

    def __iter__(self) -> Iterator[Params]:
        return filter(self._holds, self._of)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(True for _ in self)
