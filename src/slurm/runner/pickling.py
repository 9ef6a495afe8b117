"""Pickle a task's values with the standard pickler or, if it fails, with cloudpickle, which is slow to import."""

from __future__ import annotations

import sys
from _io import BytesIO
from _pickle import Pickler, PicklingError  # `pickle` re-exports them, but imports `re`

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Protocol

    class RestartableFile(Protocol):
        """A file whose content can be discarded."""

        def write(self, data: bytes, /) -> int:
            """Write at the end."""

        def restart(self) -> None:
            """Discard the content."""


class _StandardPickler(Pickler):
    """The standard pickler for a process with modules of the script. It refuses their objects by name.

    Elsewhere, the names of these modules mean nothing.
    """

    def reducer_override(self, obj: Any) -> Any:
        if getattr(obj, "__module__", None) in sys.modules["slurm.runner.script_modules"].names:
            raise PicklingError
        return NotImplemented


def _standard(file: Any) -> Pickler:
    script_modules = sys.modules.get("slurm.runner.script_modules")
    return (_StandardPickler if script_modules and script_modules.names else Pickler)(file, -1)


def pickle_into(file: RestartableFile, value: Any) -> None:
    """Pickle with the standard pickler, or with cloudpickle for values such as lambdas and classes of the script."""
    try:
        _standard(file).dump(value)
    except OSError:
        raise  # an error of the disk, not of the value
    except Exception:  # noqa: BLE001 - a user's __reduce__ may raise anything; cloudpickle's error is the better one
        # Imports cloudpickle, which takes half of the time of a start by value and is rarely needed here.
        from slurm.runner.value_pickler import ValuePickler  # noqa: PLC0415

        file.restart()
        ValuePickler(file, protocol=-1).dump(value)


def pickled(value: Any) -> bytes:
    """Return the bytes that `pickle_into` would write."""
    buffer = BytesIO()
    try:
        _standard(buffer).dump(value)
        return buffer.getvalue()
    except Exception:  # noqa: BLE001 - as in pickle_into
        from slurm.runner.value_pickler import dumps_by_value  # noqa: PLC0415

        return dumps_by_value(value)
