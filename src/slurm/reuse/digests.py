"""Digests of functions and values: equal code and equal arguments have the same digest in every process."""

from __future__ import annotations

import copyreg
import io
import logging
import pickle
import sys
import types
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from slurm.errors import NotReusable
from slurm.reuse import definitions
from slurm.reuse.packages import module_identity
from slurm.reuse.scalars import SCALARS, framed
from slurm.runner.reducers import is_of_one_process, reduce_decorated
from slurm.runner.value_pickler import ValuePickler
from slurm.serialization.pickling import Placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Part = tuple[str, Any]

FORMAT = b"slurm-tasks reuse 1"
"""A part of each digest. Change it together with the canonical form."""

_CONTENT = (bytearray, pickle.PickleBuffer)
_OF_THIS_PROCESS = (io.IOBase, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.FrameType)
_RAW = "biufcmMSUV"
"""The kinds of NumPy data types whose arrays hold only their bytes, no references."""


def _is_definition(value: Any) -> bool:
    """Whether a value is a function or a class. In Python 3.10, `isinstance` would take `list[int]` for a class."""
    return isinstance(value, types.FunctionType) or issubclass(type(value), type)


class NoCanonicalForm(Exception):
    """A value has no canonical form; `steps` lead to it, the innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.steps: list[str] = []


class Digester:
    """Computes the digests of one submission. Its parameters define how the layers above treat some values.

    `importable` tells whether the node imports a module by name. `placeholder` returns the digest of a job among the
    arguments. `replaced` has functions that replace an object by another value, by the object's class or a base class.

    Each object is digested once, so no object may change while the digester is in use.
    """

    def __init__(
        self,
        *,
        importable: Callable[[types.ModuleType], bool],
        placeholder: Callable[[Placeholder], bytes],
        replaced: Mapping[type, Callable[[Any], Any]],
    ) -> None:
        self.importable, self.placeholder, self._replaced = importable, placeholder, replaced
        self._known: dict[int, tuple[Any, bytes]] = {}  # by id; the objects are kept alive, so that ids stay unique
        self._open: set[int] = set()  # definitions that are being digested
        self._incomplete = False

    def value(self, value: Any, name: str) -> bytes:
        """Return the digest of a value. `name` names the value in an error. Raises NotReusable."""
        scalar = SCALARS.get(type(value))
        if scalar:
            return sha256(FORMAT + scalar(value)).digest()
        try:
            return self.part(value)
        except NoCanonicalForm as error:
            path = "".join(reversed(error.steps))
            raise NotReusable(
                f"{name}{path} has no digest that is the same in every process: {error}. Pass plain data or an object "
                "that can be pickled, or leave out reuse=True"
            ) from error
        except RecursionError as error:
            raise NotReusable(
                f"{name} is nested too deeply for a digest. Send it in a flat form, or leave out reuse=True"
            ) from error

    def parts(self, function: Any) -> Mapping[str, bytes]:
        """Return the digests of the parts of a function that is sent by value, by name, to find the changed part."""
        if not isinstance(function, types.FunctionType) or self.by_reference(function):
            return {}
        found = definitions.of_function(function, self.is_loose)
        return {"its code": found.content, **{name.lstrip(", "): self.part(part) for name, part in found.parts.items()}}

    def part(self, value: Any) -> bytes:
        """Return the digest of a part of a value, like the digest of a separate value. Raises NoCanonicalForm."""
        known = self._known.get(id(value))
        if known:
            return known[1]
        if _is_definition(value) and id(value) in self._open:
            self._incomplete = True
            return sha256(framed(b"O", value.__qualname__.rpartition(".")[2].encode())).digest()
        outer, self._incomplete = self._incomplete, False
        self._open.add(id(value))
        try:
            digest = _Encoder(self, value).digest()
        finally:
            self._open.discard(id(value))
            complete, self._incomplete = not self._incomplete, outer or self._incomplete
        if complete:
            self._known[id(value)] = value, digest
        return digest

    def replacement(self, value: Any) -> Any:
        """Return the value that replaces an object; the object itself if no value does."""
        for kind, replace in self._replaced.items():
            if isinstance(value, kind):
                return replace(value)
        return value

    def by_reference(self, value: Any) -> types.ModuleType | None:
        """Return the module from which the node imports a function or class by name; None if the node cannot."""
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        if module is None or module.__name__ in ("__main__", "__mp_main__") or not self.importable(module):
            return None
        found: Any = module
        for name in value.__qualname__.split("."):
            found = getattr(found, name, None)
        return module if found is value or getattr(found, "unwrapped", None) is value else None

    def is_loose(self, module: types.ModuleType) -> bool:
        """Whether the node gets a module by value."""
        return module.__name__ in ("__main__", "__mp_main__") or not self.importable(module)


class _Encoder:
    """Computes the digest of the canonical form of one value.

    Mutable objects, functions and classes are numbered. If one occurs again, its number is written. So cycles end, and
    the digest depends on which parts of a value are the same object.
    """

    def __init__(self, digester: Digester, value: Any) -> None:
        self._digester = digester
        self._digest = sha256(FORMAT)
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # objects that reductions make: kept alive, so that ids stay unique
        self._defines = _is_definition(value)
        self._encode(value)

    def digest(self) -> bytes:
        return self._digest.digest()

    def _encode(self, value: Any) -> None:
        kind = type(value)
        scalar = SCALARS.get(kind)
        if scalar:
            self._digest.update(scalar(value))
        elif kind is tuple:
            self._write(b"t", b"", ((f"[{at}]", item) for at, item in enumerate(value)), len(value))
        elif kind in (set, frozenset):
            parts = sorted(self._step("{…}", self._digester.part, item) for item in value)
            self._digest.update(framed(b"f" if kind is frozenset else b"m", b"".join(parts)))
        elif isinstance(value, Placeholder):
            self._digest.update(framed(b"J", self._digester.placeholder(value)))
        elif not self._defines and _is_definition(value):
            self._digest.update(framed(b"D", self._digester.part(value)))
        elif id(value) in self._numbers:
            self._digest.update(framed(b"#", str(self._numbers[id(value)]).encode()))
        else:
            if _can_be_shared(value, kind):
                self._numbers[id(value)] = len(self._numbers)
            self._kept.append(value)
            self._encode_new(value, kind)

    def _encode_new(self, value: Any, kind: type) -> None:
        if kind is list:
            self._write(b"l", b"", ((f"[{at}]", item) for at, item in enumerate(value)), len(value))
        elif kind is dict:
            parts = ((step, part) for key, item in value.items() for step, part in _pair(key, item))
            self._write(b"a", b"", parts, 2 * len(value))
        elif isinstance(value, _CONTENT):
            content = value.raw() if isinstance(value, pickle.PickleBuffer) else value
            self._digest.update(framed(b"r", b"") + sha256(content).digest())
        elif isinstance(value, types.ModuleType):
            self._encode_module(value)
        elif _is_definition(value):
            self._encode_definition(value)
        elif (stand_in := self._digester.replacement(value)) is not value:
            self._encode(stand_in)
        elif not self._encode_array(value):
            self._encode_object(value)

    def _write(self, tag: bytes, content: bytes, parts: Iterable[Part], count: int) -> None:
        self._digest.update(framed(tag, content) + b"%d;" % count)
        for step, part in parts:
            self._step(step, self._encode, part)

    def _step(self, step: str, encode: Callable[[Any], Any], part: Any) -> Any:
        try:
            return encode(part)
        except NoCanonicalForm as error:
            error.steps.append(step)
            raise

    def _named(self, tag: bytes, content: bytes, parts: Mapping[str, Any], how: str) -> None:
        """Write parts by their names, sorted. `how` is the step to a part in an error."""
        names = sorted(parts)
        self._digest.update(framed(tag, content) + framed(b"n", "\0".join(names).encode()))
        for name in names:
            self._step(how.format(name), self._encode, parts[name])

    def _encode_module(self, module: types.ModuleType) -> None:
        if self._digester.is_loose(module):
            self._named(b"L", b"", definitions.of_module(module), ".{}")
        else:
            self._digest.update(framed(b"M", f"{module.__name__} {module_identity(module)}".encode()))

    def _encode_definition(self, value: Any) -> None:
        module = self._digester.by_reference(value)
        if module is not None:
            name = f"{value.__module__}:{value.__qualname__} {module_identity(module)}"
            self._digest.update(framed(b"R", name.encode()))
            return
        reduced = reduce_decorated(value) if isinstance(value, types.FunctionType) else None
        if reduced is not None:
            self._encode_reduction(value, reduced)
            return
        if isinstance(value, types.FunctionType):
            found = definitions.of_function(value, self._digester.is_loose)
        else:
            found = definitions.of_class(value)
        self._named(b"d", found.content, found.parts, "{}")

    def _encode_array(self, value: Any) -> bool:
        """Write an array or a data type of NumPy; returns False for other values. The memory layout does not count."""
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return False
        if isinstance(value, numpy.dtype):
            self._digest.update(framed(b"y", repr(value).encode()))
            return True
        if type(value) not in (numpy.ndarray, numpy.memmap):
            return False
        self._digest.update(framed(b"A", f"{value.shape} {value.dtype!r}".encode()))
        if value.dtype.kind in _RAW and not value.dtype.hasobject:
            self._digest.update(sha256(numpy.ascontiguousarray(value).view(numpy.uint8).data).digest())
        else:
            self._step("", self._encode, list(value.flat))
        return True

    def _encode_object(self, value: Any) -> None:
        kind = type(value)
        if is_of_one_process(kind) or isinstance(value, logging.Logger):
            self._digest.update(framed(b"P", kind.__name__.encode()))  # each process has its own object
            return
        if isinstance(value, _OF_THIS_PROCESS) and not isinstance(value, (io.StringIO, io.BytesIO)):
            raise NoCanonicalForm(f"a {kind.__name__} belongs to this process")
        found = definitions.of_descriptor(value)
        if found is not None:
            self._named(b"x", found.content, found.parts, "{}")
            return
        reduce = ValuePickler.dispatch_table.get(kind) or copyreg.dispatch_table.get(kind)
        try:
            reduced = reduce(value) if reduce else value.__reduce_ex__(5)
        except Exception as error:  # a user's __reduce__ may raise anything
            raise NoCanonicalForm(f"{type(error).__name__}: {error}") from error
        self._encode_reduction(value, reduced)

    def _encode_reduction(self, value: Any, reduced: Any) -> None:
        """Write what pickle would store: a name; or a function, its arguments, and the object's state and items."""
        if isinstance(reduced, str):
            owner = sys.modules.get(pickle.whichmodule(value, reduced))  # type: ignore[attr-defined]
            known = owner is not None and not self._digester.is_loose(owner)
            parts = [("", owner)] if known else [("", type(value)), ("", getattr(value, "__dict__", None))]
            self._write(b"g", reduced.encode(), parts, len(parts))
            return
        make, arguments = reduced[:2]
        more: list[Any] = [*reduced[2:5], None, None, None]
        state, items, pairs = more[:3]
        self._kept.append(reduced)
        self._write(b"o", b"", [("", make), ("", arguments)], 2)
        if type(state) is dict:
            self._named(b"v", b"", {str(name): part for name, part in state.items()}, ".{}")
        elif type(state) is tuple and len(state) == 2 and all(type(part) in (dict, type(None)) for part in state):
            for part in state:  # attributes in __dict__, then those in slots
                self._named(b"v", b"", {str(name): item for name, item in (part or {}).items()}, ".{}")
        else:
            self._step("", self._encode, state)
        self._encode_items(items, pairs)

    def _encode_items(self, items: Any, pairs: Any) -> None:
        listed = [(f"[{at}]", item) for at, item in enumerate(items or ())]
        self._write(b"l", b"", listed, len(listed))
        mapped = [part for key, item in pairs or () for part in _pair(key, item)]
        self._kept += [listed, mapped]
        self._write(b"a", b"", mapped, len(mapped))


def _can_be_shared(value: Any, kind: type) -> bool:
    """Whether it matters that two parts are the same object.

    It does not matter for numbers, dates, paths and other plain values.
    """
    own: object = kind.__hash__
    return own is None or own is object.__hash__ or hasattr(value, "__dict__")


def _pair(key: Any, item: Any) -> Iterable[Part]:
    return (" key", key), (f"[{key!r}]" if type(key) in SCALARS else "[…]", item)
