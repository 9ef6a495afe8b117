"""Which parameter of a function is given the JobContext: the one whose annotation says so, whatever its name."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any

from slurm.runner.job_context import JobContext

if TYPE_CHECKING:
    from collections.abc import Callable


def context_parameter(function: Callable[..., Any]) -> str | None:
    """The name of the parameter annotated `JobContext`, or `JobContext | None`. Raises TypeError for two of them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some of the builtins have none
        return None
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    found = [parameter.name for parameter in parameters if _is_context(parameter.annotation, namespace)]
    if len(found) > 1:
        message = f"{function!r} has two parameters annotated JobContext: {', '.join(found)}"
        raise TypeError(message)
    return found[0] if found else None


def _is_context(annotation: Any, namespace: dict[str, Any]) -> bool:
    if isinstance(annotation, str):
        return _is_context_text(annotation, namespace)
    return annotation is JobContext or any(part is JobContext for part in typing.get_args(annotation))


def _is_context_text(annotation: str, namespace: dict[str, Any]) -> bool:
    if JobContext.__name__ not in annotation:
        return False
    try:
        return _is_context(eval(annotation, namespace), namespace)  # noqa: S307 - the program's own, as `inspect` does
    except NameError:  # imported for type checkers only: the text is all there is
        return annotation.replace(" ", "").removesuffix("|None").rpartition(".")[2] == JobContext.__name__
