"""Signatures: the arguments that the functions of a script take, so that a call with wrong arguments is refused."""

from __future__ import annotations

from slurm.protocol.procedures import MAIN
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def parameters_of(function: Callable[..., Any]) -> list[Any] | None:
    """Return the parameters of a function as JSON: the name and kind of each, and whether it has a default."""
    from inspect import signature  # noqa: PLC0415 - only the process of the script needs it

    try:
        found = signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have no signature
        return None
    return [[each.name, int(each.kind), each.default is not each.empty] for each in found]


def misfit_of_call(functions: Mapping[str, list[Any] | None], fields: Mapping[str, Any]) -> str:
    """Return why a script with these functions cannot make the call of a command; "" if it can."""
    function = str(fields.get("function", MAIN))
    if function not in functions:
        return f"the script has no function {function!r}. Its functions: {', '.join(functions) or 'none'}"
    wrong = misfit(functions[function], fields)
    return f"{function} cannot be called so: {wrong}" if wrong else ""


def misfit(parameters: list[Any] | None, fields: Mapping[str, Any]) -> str:
    """Return why a function with these parameters cannot take the arguments of a command; "" if it can."""
    from inspect import Parameter, Signature, _ParameterKind  # noqa: PLC0415 - it is slow to import

    args, kwargs = fields.get("args", []), fields.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return "its arguments are no list and no object"
    if parameters is not None:
        made = [
            Parameter(name, _ParameterKind(kind), default=None if has_default else Parameter.empty)
            for name, kind, has_default in parameters
        ]
        try:
            Signature(made).bind(*args, **kwargs)
        except TypeError as error:
            return str(error)
    return ""
