"""Pickling by value, on the client and on the node: cloudpickle that keeps the file names of code objects."""

from __future__ import annotations

from collections import ChainMap
from io import BytesIO
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar

import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE_NAME = 10
"""The position of `co_filename` among the arguments of `types.CodeType`, the same from Python 3.8 to 3.14."""

_reduce = cloudpickle.Pickler.dispatch_table[CodeType]


def _reduce_code(code: CodeType) -> Any:
    """Reduce a code object as cloudpickle does, but keep its file name.

    cloudpickle 3.1.3 replaces it by "<dynamic-code>", and tracebacks then show neither file nor source line. The name
    is copied to a new string: the pickler would write a string that other objects share as a reference, and pickles of
    equal functions would differ.
    """
    make, args, *state = _reduce(code)
    if make is CodeType:
        args = (*args[:_FILE_NAME], "".join(code.co_filename), *args[_FILE_NAME + 1 :])
    return (make, args, *state)


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, which pickles functions and classes by value if their module is not on the node."""

    dispatch_table: ClassVar[Mapping[type, Any]] = ChainMap(
        {CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table
    )


def dumps_by_value(value: Any) -> bytes:
    """Return the pickle of a value, by the newest protocol."""
    buffer = BytesIO()
    ValuePickler(buffer, protocol=-1).dump(value)
    return buffer.getvalue()
