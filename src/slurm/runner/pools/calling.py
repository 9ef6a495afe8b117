"""Calling: the function of pool calls whose real function is an argument, because it differs from call to call."""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call the function, and return its result."""
    return function(*args, **kwargs)
