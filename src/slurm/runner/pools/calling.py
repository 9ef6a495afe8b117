"""Calling: what calls of a pool do whose function differs from call to call, and so is an argument."""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Return what the function returns."""
    return function(*args, **kwargs)
