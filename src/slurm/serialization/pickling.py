"""Serialization: pickles calls on the client, with jobs as placeholders for their results.

Functions of installed modules go by reference, all others by value. An error names the part that cannot be pickled.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
import types
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from slurm.errors import NotPicklable
from slurm.runner.argument_loader import unwrapped
from slurm.runner.reconstructors import concatenated
from slurm.runner.reducers import FUNCTIONS, has_own_reduction, reduces_to_name
from slurm.runner.value_pickler import ValuePickler
from slurm.serialization.calls import Calls, packed
from slurm.serialization.explanations import explain
from slurm.serialization.installed import is_installed
from slurm.serialization.script import ScriptModules, script
from slurm.serialization.sharing import LEAST_BYTES, MOST_PARTS, has_identity, is_simple, shared_objects
from slurm.tracebacks import without_users

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    Reducers = Mapping[type, Callable[[Any], Any]]


class Reference(NamedTuple):
    """Results of one submission: `kind` is "job" or "array", `which` an index or (start, stop, step).

    A reference of kind "put" is to something that was sent once: `key` has its type and its digest, `chunk` its size.
    """

    kind: str
    key: str
    which: int | tuple[int, int, int]
    chunk: int
    """How many calls each element of the submission makes."""
    home: str
    """The URL of its cluster. It is not pickled, because on the node there is only this cluster."""

    @property
    def indices(self) -> range:
        """The indices of the calls for whose results it stands."""
        return range(self.which, self.which + 1) if isinstance(self.which, int) else range(*self.which)


class Placeholder:
    """Base class of placeholders for future results: a job, an array, a slice of an array."""

    __slots__ = ()

    @property
    def reference(self) -> Reference:
        """The reference that the node replaces with results."""
        raise NotImplementedError

    @property
    def several(self) -> tuple[Placeholder, ...]:
        """The placeholders of which it consists, if it has no reference of its own."""
        return ()

    @property
    def by_value(self) -> bool:
        """Whether the results themselves are sent, because the call cannot read them."""
        return False

    def reduced(self) -> tuple[Any, ...]:
        """How it is pickled without a reference."""
        return concatenated, self.several


class Pickled(NamedTuple):
    """The pickled calls of a submission, and the references in each call."""

    calls: Calls
    references: tuple[frozenset[Reference], ...]


class Function(NamedTuple):
    """The parts that all calls of a submission share."""

    function: Any
    """A callable; a tuple of them for a batch."""
    name: str
    parameters: Sequence[str]
    """Names of the parameters, for errors."""
    context: Any
    """The name and position of the parameter for the context, or None; a tuple of these for a batch."""
    edges: tuple[Any, ...]
    workflow: bool = False
    several: tuple[Function, ...] = ()  # the functions of a batch


Arguments = tuple[tuple[Any, ...], "Mapping[str, Any]"]
OneOfSeveral = tuple[tuple[Any, ...], "Mapping[str, Any]", int]
"""The arguments of a call of a batch, and the number of its function."""


def pickle_calls(
    head: Function, calls: Iterable[Arguments | OneOfSeveral], *, reducers: Reducers, there: Collection[str] = ()
) -> Pickled:
    """Pickle a function once, then the arguments of each call. `reducers` pickle the types of higher layers.

    Objects of the top-level modules `there` go by reference, like those of installed modules. Raises NotPicklable with
    the path to the part that cannot be pickled.
    """
    calls = list(calls)  # before taking the lock: a user's generator may submit jobs itself
    buffer, function, arguments = io.BytesIO(), io.BytesIO(), io.BytesIO()
    starts: list[int] = []
    references: list[frozenset[Reference]] = []
    with loose_modules_by_value(there):
        pickler = _CallPickler(function, reducers, there)
        shared = (head.function, head.context, head.edges, *([True] if head.workflow else []))
        pickler.write(shared, lambda: {f"the function {each.name}": each.function for each in head.several or (head,)})
        buffer.write(pickle.dumps(script(pickler.imported, there), 5))
        head_at = buffer.tell()
        buffer.write(function.getbuffer())
        in_function = frozenset(pickler.references)
        sharing = _SharedPickler(buffer, reducers, there)
        for value in shared_objects(calls, apart=Placeholder):
            sharing.share(value, least=LEAST_BYTES)
        pickler = _CallPickler(arguments, reducers, there)
        if len(calls) > 1:
            pickler = _ArgumentsPickler(arguments, reducers, there, sharing=sharing)
        for call in calls:
            starts.append(arguments.tell())
            if is_simple(*call[:2], pickler.shared):
                arguments.write(pickle.dumps(call, 5))
                references.append(in_function)
            else:
                pickler.write(call, partial(_named, head, *call))
                references.append(in_function | pickler.references if pickler.references else in_function)
    begin = buffer.tell()
    buffer.write(arguments.getbuffer())
    offsets = [head_at, *(begin + start for start in starts), buffer.tell()]
    return Pickled(Calls(buffer.getvalue(), packed(offsets)), tuple(references))


def pickle_callbacks(
    callbacks: Iterable[object], *, cluster: Collection[object] = (), reducers: Reducers, there: Collection[str] = ()
) -> bytes:
    """Pickle callbacks for `callbacks.pkl`: one by one, so that one that cannot be loaded does not affect the others.

    Each entry says whether the callback belongs to the cluster: a workflow uses those, too. Raises NotPicklable.
    """
    pickled = []
    with loose_modules_by_value(there):
        for callback in callbacks:
            name, buffer = type(callback).__qualname__, io.BytesIO()
            pickler = _CallPickler(buffer, reducers, there, into_modules=False)  # they are loaded before the script
            pickler.write(callback, partial(dict, [(f"the callback {name}", callback)]))
            pickled.append((name, buffer.getvalue(), callback in cluster))
    return pickle.dumps(tuple(pickled), 5) if pickled else b""


def pickle_value(value: Any, file: IO[bytes], *, reducers: Reducers, buffers: Callable[[Any], object]) -> bool:
    """Pickle one value as an argument is pickled. Returns whether it refers to jobs. Raises NotPicklable.

    `buffers` gets the data of arrays as PickleBuffer, and the data is left out of the pickle.
    """
    with loose_modules_by_value(()):
        pickler = _CallPickler(file, reducers, buffers=buffers)
        pickler.write(value, lambda: {"the value": value})
    return bool(pickler.references)


def _named(head: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any], which: int = 0) -> Mapping[str, Any]:
    """Map a description of each argument, for errors, to its value."""
    head = head.several[which] if head.several else head
    names = [*head.parameters[: len(args)], *map(str, range(len(head.parameters), len(args)))]
    both = {**dict(zip(names, args, strict=True)), **kwargs}
    return {f"argument {name} of {head.name}": value for name, value in both.items()}


class _CallPickler(ValuePickler):
    """Pickles by value, placeholders as persistent ids, and a task's function by the name of the task."""

    def __init__(
        self,
        file: IO[bytes],
        reducers: Reducers,
        there: Collection[str] = (),
        *,
        into_modules: bool = True,
        buffers: Callable[[Any], object] | None = None,
    ) -> None:
        self._there = there
        self._reducers = reducers
        self.shared: dict[int, tuple[Any, tuple[str, int, int | None] | None]] = {}
        """Shared objects and their parts, by id, with the references to them. Kept alive, so that ids stay unique."""
        self._modules = ScriptModules() if into_modules else None
        self._ordinary: dict[type, bool] = {}
        self.dispatch_table = {**ValuePickler.dispatch_table, **reducers}  # type: ignore[misc] # an instance's own
        super().__init__(file, protocol=5, buffers=buffers)  # reads dispatch_table
        self.references: set[Reference] = set()
        """The references in the value that was written last."""

    def write(self, value: Any, parts: Callable[[], Mapping[str, Any]]) -> None:
        """Write a value as a separate pickle. `parts` returns its parts by name; it is called only for an error."""
        self.clear_memo()
        self.forget_namespaces()
        self.references = set()
        try:
            self.dump(value)
        except Exception as error:  # noqa: BLE001 - a user's __reduce__ may raise anything
            cause = None if without_users(error.__traceback__, packages=("slurm", "cloudpickle")) else error
            raise NotPicklable(explain(error, parts(), self._pickles)) from cause

    @property
    def imported(self) -> Collection[str]:
        """The top-level modules that the functions among the values import when they are called."""
        return self._modules.imported if self._modules else ()

    def _pickles(self, value: Any) -> bool:
        try:
            _CallPickler(io.BytesIO(), self._reducers, self._there).dump(value)
        except Exception:  # noqa: BLE001 - a user's __reduce__ may raise anything
            return False
        return True

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        if self.shared and (found := self.shared.get(id(obj))) and found[1]:
            return found[1]
        if not isinstance(obj, Placeholder) or obj.several or obj.by_value:
            return None
        reference = obj.reference
        if reference.indices or reference.kind == "put":  # an empty array has no results to wait for
            self.references.add(reference)
        return reference.kind, reference.key, reference.which, reference.chunk

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in self._plain:
            return NotImplemented
        if isinstance(obj, Placeholder):
            return obj.reduced()
        if isinstance(obj, FUNCTIONS) and _is_reached_by_task(obj, self._there):
            return unwrapped, (obj.__module__, getattr(obj, "__qualname__"))  # noqa: B009 - no type has both
        if self._may_reduce_to_name(type(obj)) and reduces_to_name(obj):
            named = self._modules and self._modules.reduce_named(obj)
            if not named:
                raise pickle.PicklingError(
                    f"it is pickled by its name {obj.__reduce_ex__(5)}, which the node does not have. Define it in an "
                    "installed module, or send a value such as None or a member of an Enum"
                )
            return named
        found = super().reducer_override(obj)
        slots = vars(obj).get("__slots__") if isinstance(obj, type) else None
        if slots and isinstance(found, tuple):
            # cloudpickle drops __slots__ from the class, so its instances would have a __dict__, unlike the original's.
            make, (kind, name, bases, namespace, *more), *state = found
            found = (make, (kind, name, bases, {**namespace, "__slots__": slots}, *more), *state)
        if self._modules is not None and isinstance(found, tuple):
            return self._modules.reduce(obj, found)
        return found

    def _is_plain(self, kind: type) -> bool:
        return super()._is_plain(kind) and not self._may_reduce_to_name(kind)

    def _may_reduce_to_name(self, kind: type) -> bool:
        if kind not in self._ordinary:
            self._ordinary[kind] = kind in self.dispatch_table or not has_own_reduction(kind)
        return not self._ordinary[kind]


class _SharedPickler(_CallPickler):
    """Pickles the objects that calls share."""

    def __init__(self, file: io.BytesIO, reducers: Reducers, there: Collection[str]) -> None:
        super().__init__(file, reducers, there)
        self._buffer = file
        self._parts = 0

    def share(self, value: Any, *, least: int = 0) -> bool:
        """Write a value. Later pickles refer to it by its offset, and to its parts by their positions in its memo.

        Writes nothing if it has fewer bytes than `least` or has placeholders, or if it cannot be pickled: its call then
        raises the error. Returns whether it was written.
        """
        begin = self._buffer.tell()
        self._parts = 0
        try:
            self.write(value, dict)
            written = not self.references and self._buffer.tell() - begin >= least
        except NotPicklable:
            written = False
        if not written:
            self._buffer.seek(begin)
            self._buffer.truncate()
            return False
        self.shared[id(value)] = value, ("shared", begin, None)
        for position, part in self.memo.copy().values() if self._parts < MOST_PARTS else ():
            if has_identity(part):
                self.shared.setdefault(id(part), (part, ("shared", begin, position)))
        return True

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        self._parts += 1
        return super().persistent_id(obj)


class _ArgumentsPickler(_CallPickler):
    """Pickles the arguments of calls, with references to objects that they share, also to classes of the script."""

    def __init__(self, file: IO[bytes], reducers: Reducers, there: Collection[str], *, sharing: _SharedPickler) -> None:
        super().__init__(file, reducers, there)
        self._sharing = sharing
        self.shared = sharing.shared

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        found = self.shared.get(id(obj))
        if found is not None:
            return found[1]
        if not isinstance(obj, _REFERRED):
            return None
        if isinstance(obj, type):
            reduced = self.reducer_override(obj)
            by_value = isinstance(reduced, tuple) and len(reduced) > 2
            if by_value and self._sharing.share(obj):
                return self.shared[id(obj)][1]
            self.shared[id(obj)] = obj, None
        return super().persistent_id(obj)


_REFERRED = (type, Placeholder)


def _is_reached_by_task(function: Any, there: Collection[str]) -> bool:
    """Whether the name of a function, in a module that the node can import, refers to the task made from it."""
    module = sys.modules.get(function.__module__ or "")
    if module is None or module.__name__ == "__main__" or not is_importable_there(module.__name__, module, there):
        return False
    try:
        return unwrapped(function.__module__, function.__qualname__) is function
    except AttributeError:
        return False


_registry = threading.RLock()
if hasattr(os, "register_at_fork"):  # in a child, a thread that exists only in the parent could hold the lock
    os.register_at_fork(before=_registry.acquire, after_in_parent=_registry.release, after_in_child=_registry.release)


@contextmanager
def loose_modules_by_value(there: Collection[str]) -> Iterator[None]:
    """Make cloudpickle send the user's own modules by value, because the node cannot import them.

    cloudpickle has one registry of such modules per process, hence the lock.
    """
    with _registry:
        before = cloudpickle.list_registry_pickle_by_value()
        loose = [module for module in _loose_modules(there) if module.__name__ not in before]
        for module in loose:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in loose:
                cloudpickle.unregister_pickle_by_value(module)


def _loose_modules(there: Collection[str]) -> Iterator[types.ModuleType]:
    for name, module in tuple(sys.modules.items()):
        if (
            isinstance(module, types.ModuleType)
            and module.__name__ == name
            and not is_importable_there(name, module, there)
        ):
            yield module


def is_importable_there(name: str, module: types.ModuleType, there: Collection[str]) -> bool:
    """Whether the node can import a module (installed, or in the runner's zip), or the module is `__main__`."""
    top = name.partition(".")[0]
    if name.startswith("slurm.tools."):  # not in the zip, and another version may be installed there
        return False
    return name == "__main__" or top in ("slurm", "cloudpickle") or top in there or is_installed(module)
