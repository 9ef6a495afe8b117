"""Put: an object, file or directory that is sent once, and can be an argument of any number of calls."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm.errors import NotPicklable, SubmissionError
from slurm.protocol.records import encode
from slurm.runner.put_loader import ALIGNED
from slurm.serialization.pickling import Placeholder, Reference, pickle_value
from slurm.storage.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pickle import PickleBuffer

    from slurm.serialization.pickling import Reducers
    from slurm.storage.uploads import BlobStore

_DIFFER = (pickle.EMPTY_SET, pickle.FROZENSET, b"cloudpickle")
"""Marks of pickles that differ between processes: sets have another order, and code contains the name of its file."""


class Put(Placeholder):
    """Represents an object, file or directory that `cluster.put` has sent to a cluster.

    A task receives the object, which is loaded once in each process, or the path of the file or directory, which is
    read-only. The data of NumPy arrays is not loaded but mapped into memory; it is also read-only.
    """

    __slots__ = ("_home", "_value", "_what", "bytes", "sha256")

    def __init__(
        self, what: str, sha256: str, size: int, home: str, value: Callable[[], str | None] | str | None = None
    ) -> None:
        self._what, self.sha256, self.bytes, self._home, self._value = what, sha256, size, home, value

    @property
    def identity(self) -> str:
        """The same for equal values: the digest of the value if its pickles differ between processes, else the blob's.

        The digests of calls of a task that reuses results contain this identity.
        """
        if callable(self._value):
            self._value = self._value()
        return self._value or self.reference.key

    @property
    def reference(self) -> Reference:
        """The reference that the node replaces with the object or the path."""
        return Reference("put", f"{self._what}/{self.sha256}", (0, 0, 1), self.bytes, self._home)

    def __repr__(self) -> str:
        return f"<Put {self._what} of {self.bytes} bytes, {self.sha256[:12]}… on {self._home}>"

    def __reduce__(self) -> tuple[Any, ...]:
        value = self.identity
        return Put, (self._what, self.sha256, self.bytes, self._home, value)


def _with_arrays(value: io.BytesIO, arrays: Sequence[PickleBuffer]) -> bytes:
    """Return a file that the node maps into memory: the data of arrays, then the pickle, and the sizes of all."""
    file = io.BytesIO()
    sizes = []
    for array in arrays:
        file.write(bytes(-file.tell() % ALIGNED))
        sizes.append(file.write(array.raw()))
    file.write(value.getbuffer())
    file.write(struct.pack(f"<{len(sizes) + 2}Q", *sizes, len(value.getbuffer()), len(sizes)))
    return file.getvalue()


def _identity(
    value: Any, pickled: bytes, digest: Callable[[Any], str | None], *, copied: bool
) -> Callable[[], str | None] | str | None:
    """The digest of a value whose pickles differ between processes, or a function that computes it from the pickle."""
    if not any(mark in pickled for mark in _DIFFER):
        return None
    return (lambda: digest(pickle.loads(pickled))) if copied else digest(value)  # noqa: S301 - it is of this process


def put(value: Any, blobs: BlobStore, *, home: str, reducers: Reducers, digest: Callable[[Any], str | None]) -> Put:
    """Send a value to `blobs`, unless it is there: a `Path` names a file or directory, anything else is an object.

    Raises NotPicklable; TypeError for a str or bytes; SubmissionError for a directory without files. `home` is the
    cluster's URL. `digest` returns the digest of an object whose pickles differ between processes.
    """
    uploads = Uploads()
    made = _add(value, uploads, home, reducers, digest)
    blobs.send(uploads)
    return made


def _add(value: Any, uploads: Uploads, home: str, reducers: Reducers, digest: Callable[[Any], str | None]) -> Put:
    if isinstance(value, (str, bytes)):
        what = f"Path({value!r})" if isinstance(value, str) else "Path(…)"
        raise TypeError(f"put() takes objects and paths: for a file or directory, write put({what:.80})")
    if not isinstance(value, os.PathLike):
        buffer = io.BytesIO()
        arrays: list[PickleBuffer] = []
        if pickle_value(value, buffer, reducers=reducers, buffers=arrays.append):
            raise NotPicklable("put() takes no jobs: pass a job as an argument, where it stands for its result")
        what, content = ("mapped", _with_arrays(buffer, arrays)) if arrays else ("object", buffer.getvalue())
        file = uploads.add_bytes(what, content)
        identity = _identity(value, buffer.getvalue(), digest, copied=not arrays)
        return Put(what, file.sha256, file.bytes, home, identity)
    path = Path(value).absolute()
    files = uploads.add({path.name: str(path)}, task="put()")
    if not files:
        raise SubmissionError(f"put(): {path} holds no files")
    listing = encode([path.name, [list(file.to_json().items()) for file in files]]).encode()
    file = uploads.add_bytes("list", listing)
    return Put("tree", file.sha256, file.bytes, home)
