"""ArgumentLoader: load the calls of an element from the submission's `calls.pkl`."""

from __future__ import annotations

import os
import sys
from _io import BytesIO
from _pickle import Unpickler  # `pickle` re-exports it, but imports `re`
from functools import partial

from slurm.protocol import CALLS, INDEX, OFFSET_BYTES
from slurm.protocol.files import is_private, open_own
from slurm.protocol.records import TYPE_CHECKING, Record
from slurm.runner.job_context import drop_stop_functions, print_to_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import IO, Any

    from slurm.runner.sent_modules import Sources

    Resolve = Callable[[Any], Any]
    Script = tuple[tuple[str, ...], tuple[tuple[str, int], ...], Sources]


class Call(Record):
    """A function and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: tuple[str, int | None] | None = None
    """The name of the parameter for the context, and its position if it is positional; None without a context."""
    edges: tuple[Any, ...] = ()
    """The dependencies of `.after(…)`: tuples of key, on, indices, and the number of calls of an element."""
    workflow: bool = False

    def make(self, context: object) -> Any:
        """Call the function, with the context as an argument if a parameter takes it."""
        args, kwargs = self.args, self.kwargs
        if self.context:
            name, position = self.context
            if position is None or position > len(args):
                kwargs = {**kwargs, name: context}
            else:
                args = (*args[:position], context, *args[position:])
        me = os.getpid()
        try:
            return self.function(*args, **kwargs)
        finally:
            if os.getpid() != me:
                _end_child()
            drop_stop_functions()


class ArgumentLoader:
    """Reads single calls from `calls.pkl` by their offsets in `calls.idx`."""

    def __init__(self, directory: str, resolve: Resolve) -> None:
        self._directory = directory
        self._resolve = resolve
        self._shared: dict[int, tuple[Any, _Unpickler]] = {}
        self._memos: dict[int, dict[int, Any]] = {}

    def load(self, index: int) -> Call:
        """Return call `index` with its placeholders resolved.

        Raises UntrustedFile if another user could have written the calls, IndexError if there is no such call, and any
        exception of unpickling.
        """
        head_at, call_at = self._offsets(index)
        with self._open(CALLS) as calls:
            head = self._load_head(calls, head_at)
            call = self._unpickle(calls, call_at)
        self._announce(index)
        return _call(head, *call)

    def load_function(self) -> Callable[..., Any]:
        """Return only the function, in a child process of a call. Raises the errors of `load`."""
        head_at, _ = self._offsets(0)
        with self._open(CALLS) as calls:
            enter_script(*Unpickler(calls).load())
            function: Callable[..., Any] = self._load_head(calls, head_at)["function"]
        return function

    def load_many(self, first: int, most: int) -> Iterator[Callable[[], Call]]:
        """Return a loader for each of up to `most` calls from `first`, so that one call can fail to load alone.

        The function is loaded immediately; the arguments of all calls are read at once.
        """
        with self._open(INDEX) as offsets, self._open(CALLS) as calls:
            head = int.from_bytes(offsets.read(OFFSET_BYTES), "little")
            offsets.seek((first + 1) * OFFSET_BYTES)
            packed = offsets.read((most + 1) * OFFSET_BYTES)
            begins = [
                int.from_bytes(packed[i : i + OFFSET_BYTES], "little") for i in range(0, len(packed), OFFSET_BYTES)
            ]
            shared = self._load_head(calls, head)
            calls.seek(begins[0])
            data = BytesIO(calls.read(begins[-1] - begins[0]))

        def load(index: int, offset: int) -> Call:
            call = self._unpickle(data, offset)
            self._announce(index)
            return _call(shared, *call)

        return (partial(load, index, begin - begins[0]) for index, begin in enumerate(begins[:-1], first))

    def load_shared(self) -> Callable[[bytes], Call]:
        """Load what the calls share. Return a function that makes a call from its pickled arguments, kept elsewhere."""
        with self._open(INDEX) as offsets, self._open(CALLS) as calls:
            shared = self._load_head(calls, int.from_bytes(offsets.read(OFFSET_BYTES), "little"))
        return lambda data: _call(shared, *unpickled(BytesIO(data), self._dereference))

    def _open(self, name: str) -> IO[bytes]:
        return open_own(f"{self._directory}/{name}")

    def _load_head(self, calls: IO[bytes], offset: int) -> dict[str, Any]:
        """Load what all calls share. The script comes first: modules may read `sys.argv` when they are imported."""
        if offset and OWN_PROCESS:  # earlier versions wrote the head first
            calls.seek(0)
            enter_script(*Unpickler(calls).load())
        function, context, edges, *more = self._unpickle(calls, offset)
        return {"function": function, "context": context, "edges": edges, "workflow": bool(more)}

    def _announce(self, index: int) -> None:
        if script_modules := sys.modules.get("slurm.runner.script_modules"):
            script_modules.announce(self._directory, index)

    def _offsets(self, index: int) -> tuple[int, int]:
        with self._open(INDEX) as offsets:
            head = offsets.read(OFFSET_BYTES)
            offsets.seek((index + 1) * OFFSET_BYTES)
            call, end = offsets.read(OFFSET_BYTES), offsets.read(OFFSET_BYTES)
        if len(end) < OFFSET_BYTES:
            raise IndexError(f"{self._directory}/{INDEX} has no call {index}")
        return int.from_bytes(head, "little"), int.from_bytes(call, "little")

    def _unpickle(self, calls: IO[bytes], offset: int) -> Any:
        calls.seek(offset)
        return unpickled(calls, self._dereference)

    def _dereference(self, reference: Any) -> Any:
        """Return a result, or an object that several calls share: `("shared", offset, position in its memo)`."""
        if reference[0] != "shared":
            return self._resolve(reference)
        _, offset, position = reference
        if offset not in self._shared:
            with self._open(CALLS) as calls:
                calls.seek(offset)
                unpickler = _Unpickler(calls, self._dereference)
                self._shared[offset] = unpickler.load(), unpickler
        value, unpickler = self._shared[offset]
        if position is None:
            return value
        if offset not in self._memos:
            self._memos[offset] = unpickler.memo.copy()
        return self._memos[offset][position]


def _call(head: dict[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], which: int | None = None) -> Call:
    """Make a call from its parts. In a batch, `which` is the number of the function of the call."""
    if which is not None:
        head = {**head, "function": head["function"][which], "context": head["context"][which]}
    return Call(args=args, kwargs=kwargs, **head)


_main = vars(sys.modules["__main__"])
OWN_PROCESS = "boot" in _main and "__file__" not in _main
"""Whether `slurm.protocol.boot` has started this process to run calls; false in a test or a user's program."""

received: list[Script] = []
"""The parts of the script that were sent with the function that this process runs."""


def enter_script(argv: tuple[str, ...], path: tuple[tuple[str, int], ...], sources: Sources | None = None) -> None:
    """Set `sys.argv` to the script's, and add the script's search directories to the end of `sys.path`.

    Modules that are not in any directory are found among the `sources` that were sent.

    Another user may have made a directory of the same name on this machine. So a directory is used only if its inode
    is the same, or if only this user can write to it.
    """
    received[:] = [(argv, path, sources or {})]
    sys.argv[:] = argv or sys.argv
    for directory, inode in path:
        if directory not in sys.path:
            try:
                status = os.stat(directory)
            except OSError:
                continue
            if status.st_ino == inode or is_private(status):
                sys.path.append(directory)
    if sources:
        from slurm.runner.sent_modules import find_sent  # noqa: PLC0415 - few calls need it

        find_sent(sources)


def _end_child() -> None:
    """End a child process that the function forked and that returned or raised: only the parent may save a result."""
    import traceback  # noqa: PLC0415 - rarely needed

    error = sys.exc_info()[0] is not None
    if error:
        print_to_log(traceback.format_exc())
    os._exit(int(error))


def unpickled(file: IO[bytes], resolve: Resolve, buffers: Iterable[Any] | None = None) -> Any:
    """Unpickle an object from a file, with its placeholders resolved. `buffers` has data outside of the pickle."""
    return _Unpickler(file, resolve, buffers).load()


class _Unpickler(Unpickler):
    def __init__(self, file: IO[bytes], resolve: Resolve, buffers: Iterable[Any] | None = None) -> None:
        super().__init__(file, buffers=buffers)
        self._resolve = resolve

    def persistent_load(self, reference: Any) -> Any:
        return self._resolve(reference)


def unwrapped(module: str, qualname: str) -> Callable[..., Any]:
    """Return the plain function of a task of an installed module. Pickles of tasks refer to this function by name."""
    __import__(module)
    task: Any = sys.modules[module]
    for name in qualname.split("."):
        task = getattr(task, name)
    function: Callable[..., Any] = task.unwrapped
    return function
