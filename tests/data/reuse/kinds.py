"""Functions and values whose digests must be equal in every process. Run as a program, it prints them as JSON."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import json
import logging
import math
import operator
import pathlib
import random
import re
import sys
import threading
import typing
import uuid

import loose_helpers
import numpy as np

import slurm
from slurm.reuse.digests import Digester
from slurm.serialization.pickling import is_importable_there
from slurm.tasks.task import Task

NAMES = {"alpha", "beta", "gamma", "delta"}
SCALE = {"factor": 2.5, "offsets": [1, 2, 3]}
LOCK = threading.Lock()
LOG = logging.getLogger(__name__)
MISSING = object()


def plain(x):
    """A docstring."""
    return x + 1


def with_global(x):
    return x * SCALE["factor"] + len(NAMES)


def with_set_literal(x):
    return x in {"alpha", "beta", "gamma", "delta"}


def with_default(x, *, names=frozenset(NAMES), none=None):
    return x in names


def recursive(n):
    return n if n < 2 else recursive(n - 1) + recursive(n - 2)


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


def with_lock(x):
    with LOCK:
        LOG.info("x")
        return x


def with_module(x):
    return np.linalg.norm(x) + math.pi


def with_loose_module(x):
    return loose_helpers.twice(x)


def with_import(x):
    import json

    from loose_helpers import twice

    return json.dumps(twice(x))


def with_nested(x):
    def inner(y):
        return y + SCALE["factor"]

    class Local:
        """A class in a function."""

        size = 3

        def __init__(self) -> None:
            self.a = self.b = self.c = self.d = 1

    return inner(x) + Local.size


def adder(amount):
    def add(x):
        return x + amount

    return add


def with_attribute(x):
    return x * with_attribute.factor


with_attribute.factor = 3


def logged(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)

    return call


@logged
def decorated(x):
    return x


@functools.lru_cache
def cached(x):
    return x


@functools.singledispatch
def dispatched(x):
    return x


@dispatched.register
def _(x: int):
    return x + 1


@slurm.task(mem="1G")
def a_task(x):
    return with_global(x)


def with_task(x):
    return a_task.unwrapped(x)


def with_comprehension(xs):
    return {x: [y for y in xs if y in NAMES] for x in xs}, (lambda z: z + SCALE["factor"])


def with_annotation(x: int, y: list[int] | None = None) -> int:
    return x


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0
    tags: set = dataclasses.field(default_factory=set)

    def norm(self):
        return math.hypot(self.x, self.y)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: float


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"

    def warm(self):
        return self in WARM


WARM = frozenset({Colour.RED})


class Flags(enum.Flag):
    A = enum.auto()
    B = enum.auto()


Pair = collections.namedtuple("Pair", "first second")


class Named(typing.NamedTuple):
    a: int
    b: str = "x"


class Base:
    def size(self):
        return len(NAMES)


class Model(Base):
    """A model."""

    kind = "linear"

    def __init__(self, weights, name) -> None:
        self.weights, self.name, self.parent, self.depth = weights, name, None, 1

    @property
    def total(self):
        return sum(self.weights)

    @staticmethod
    def make():
        return Model([1], "m")

    @classmethod
    def other(cls):
        return super().__name__

    @functools.cached_property
    def slow(self):
        return self.size()


class Slots:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a, self.b = 1, [2]


def cyclic():
    first, second = Model([1], "a"), Model([2], "b")
    first.parent, second.parent = second, first
    return first


structured = np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", ">f8")])

FUNCTIONS = {
    function.__name__: function
    for function in (
        *(plain, with_global, with_set_literal, with_default, recursive, even, with_lock, with_module),
        *(with_loose_module, with_import, with_nested, with_attribute, decorated, with_task, with_comprehension),
        *(with_annotation,),
    )
}
KINDS = {
    **FUNCTIONS,
    "lambda": lambda x: x + SCALE["factor"],
    "closure": adder(3),
    "cached": cached,
    "dispatched": dispatched,
    "partial": functools.partial(plain, x=NAMES),
    "method": Model([1], "m").size,
    "class": Model,
    "builtin": len,
    "installed": json.dumps,
    "ufunc": np.sin,
    "getter": operator.itemgetter(1, "a"),
    "task": a_task,
    "scalars": (None, True, 1, 1.0, -0.0, 2**200, 3j, "é\ud800", b"x", ...),
    "nested": {"a": [1, (2, {3, 4}), frozenset("abc")], 1: {"b": None}},
    "set": {"alpha", "beta", ("gamma", 1), frozenset({"delta"}), Colour.RED, Frozen(1.0)},
    "dataclass": Point(1.0, 2.0, {"p", "q"}),
    "slots": (Slots(), Frozen(1.0)),
    "enum": (Colour.RED, WARM, Flags.A | Flags.B),
    "namedtuple": (Pair(1, 2), Named(1)),
    "object": Model([1, 2], "m"),
    "cyclic": cyclic(),
    "sentinel": MISSING,
    "dates": (datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), datetime.timedelta(1)),
    "numbers": (decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=7), range(3), slice(1, 2)),
    "path": pathlib.PurePosixPath("/a/b"),
    "pattern": re.compile(r"a+", re.IGNORECASE),
    "collections": (collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1], maxlen=3)),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "random": random.Random(7),
    "types": (int, list[int], typing.Optional[int], dict[str, typing.Any]),
    "arrays": (np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.array(3), structured),
    "odd arrays": (np.array(["a", {"b"}], dtype=object), np.array(["2026-01-01"], "M8[D]"), np.float32(1.5)),
    "generator": np.random.default_rng(3),
    "masked": np.ma.masked_array([1, 2], [True, False]),
    "bytes": (bytearray(b"x"), memoryview(b"abc")),
}


def digester():
    return Digester(
        importable=lambda module: is_importable_there(module.__name__, module, ()),
        placeholder=lambda job: b"",
        replaced={Task: lambda task: ("task", task.unwrapped)},
    )


if __name__ == "__main__":
    made = digester()
    names = list(KINDS)
    random.Random(int(sys.argv[1])).shuffle(names)  # the order in which they are met does not count
    names.sort(key=["x", "cyclic", "class"][int(sys.argv[1]) % 3].__eq__, reverse=True)
    print(json.dumps({name: made.value(KINDS[name], name).hex() for name in names}))
