"""Which parameter of a function receives the context: its annotation decides, and not its name."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any

from slurm.runner.job_context import JobContext
from slurm.runner.workflow_context_builder import WorkflowContext

if TYPE_CHECKING:
    from collections.abc import Callable


_CONTEXTS = (JobContext, WorkflowContext)
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def context_parameter(function: Callable[..., Any], *, workflow: bool = False) -> tuple[str, int | None] | None:
    """The parameter annotated with a context, or a context `| None`: its name, and its position if it is positional.

    Raises TypeError if there are two, or if a function that is not a workflow has a WorkflowContext.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some builtins have no signature
        return None
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    found = [parameter.name for parameter in parameters if _is_context(parameter.annotation, namespace, _CONTEXTS)]
    if not workflow and any(_is_context(p.annotation, namespace, (WorkflowContext,)) for p in parameters):
        raise TypeError(f"{function!r} has a parameter annotated WorkflowContext, which only a @workflow is given")
    if len(found) > 1:
        raise TypeError(f"{function!r} has two parameters annotated with a context: {', '.join(found)}")
    if not found:
        return None
    by_place = [parameter.name for parameter in parameters if parameter.kind in _BY_PLACE]
    return found[0], by_place.index(found[0]) if found[0] in by_place else None


def _is_context(annotation: Any, namespace: dict[str, Any], contexts: tuple[type, ...]) -> bool:
    if isinstance(annotation, str):
        return _is_context_text(annotation, namespace, contexts)
    return any(part in contexts for part in (annotation, *typing.get_args(annotation)))


def _is_context_text(annotation: str, namespace: dict[str, Any], contexts: tuple[type, ...]) -> bool:
    names = [context.__name__ for context in contexts]
    if not any(name in annotation for name in names):
        return False
    try:
        found = eval(annotation, namespace)  # noqa: S307 - the program's own, as `inspect` does
    except NameError:  # imported for type checkers only: then only the text of the annotation is available
        return annotation.replace(" ", "").removesuffix("|None").rpartition(".")[2] in names
    return _is_context(found, namespace, contexts)
