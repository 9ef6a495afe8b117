"""Signature: the parameters of a function as options of a command."""

from __future__ import annotations

import collections.abc
import inspect
import json
import types
import typing
from enum import Enum
from inspect import Parameter, cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    OfAny = click.ParamType[Any]
else:
    OfAny = click.ParamType  # click 8.1 does not allow subscripting it

_PLAIN: Mapping[Any, click.ParamType[Any]] = {
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    bool: click.BOOL,
    Path: click.Path(path_type=Path),
    types.NoneType: click.Choice(["null"]),
}
_SEQUENCES: Mapping[Any, Callable[[Sequence[Any]], Any]] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}


class _Named(OfAny):
    """A value that has a name: a member of an Enum, or a value of a Literal."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.name, self._values = "choice", values

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The names, as help shows them."""
        del param, ctx
        return f"[{'|'.join(self._values)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of a name; fail for an unknown name."""
        if value not in self._values:
            self.fail(f"{value!r} is not one of {', '.join(self._values)}.", param, ctx)
        return self._values[value]


class _Json(OfAny):
    """A value of a JSON type, or of any type if `of` is None. Text that is not JSON is then a string."""

    def __init__(self, of: Any, shown: str) -> None:
        self.name, self._of, self._shown = "JSON", of, shown

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value; fail for text that is not JSON, or JSON of another type."""
        try:
            read = json.loads(value)
        except ValueError as error:
            if self._of is None:
                return value
            self.fail(f"{value!r} is not JSON: {error}. {self._shown} is given as JSON.", param, ctx)
        if self._of in (tuple, set, frozenset) and isinstance(read, list):
            return self._of(read)
        if not _is_a(read, self._of):
            self.fail(f"{value!r} is {_json_name(read)} in JSON, not {self._shown}.", param, ctx)
        return read


class _Either(OfAny):
    """A value of the first of several types that accepts the text."""

    def __init__(self, kinds: Sequence[click.ParamType[Any]]) -> None:
        self.name, self._kinds = " or ".join(kind.name for kind in kinds), kinds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value; fail if no type accepts the text."""
        for kind in self._kinds:
            try:
                return kind.convert(value, param, ctx)
            except click.BadParameter:
                continue
        return self.fail(f"{value!r} is not {self.name}.", param, ctx)


class _Kind(NamedTuple):
    """The form in which the values of a parameter are written."""

    type: click.ParamType[Any]
    collect: Callable[[Sequence[Any]], Any] | None = None
    """Makes one value from several that are given one by one; None if a single value is given."""


class _Function(click.Command):
    """A command that takes only options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options. Fails for a value without the name of its parameter."""
        if args and not args[0].startswith("-") and self.params:
            ctx.fail(f"{args[0]!r} is no option: name the parameter, such as {self.params[0].opts[0]} {args[0]}")
        return super().parse_args(ctx, args)


def command_of(
    name: str, function: Callable[..., Any], signature: inspect.Signature, call: Callable[..., None]
) -> click.Command:
    """A command whose options are the parameters of a function. It passes the arguments to `call`."""
    parameters = signature.parameters.values()
    kinds = {each.name: _kind(each, function) for each in parameters}
    places = {each.name for each in parameters if each.kind in (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL)}

    @click.pass_context
    def invoke(ctx: click.Context, /, **values: Any) -> None:
        given: dict[str, Any] = {}
        for parameter, kind in kinds.items():
            if ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE:
                value = values[parameter]
                given[parameter] = kind.collect(value) if kind.collect else value
        bound = signature.bind_partial()
        bound.arguments.update(given)
        if given.keys() & places:
            bound.apply_defaults()  # a parameter before a given one may have been left out
        call(*bound.args, **bound.kwargs)

    return _Function(
        name,
        callback=invoke,
        params=[_option(each, kinds[each.name]) for each in parameters],
        help=_help(function),
        context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
        options_metavar="[ARGUMENTS]",
        add_help_option=True,
    )


def _option(parameter: Parameter, kind: _Kind) -> click.Option:
    word = parameter.name.replace("_", "-")
    flag = kind.type is click.BOOL and kind.collect is None
    has_default = parameter.default is not Parameter.empty
    variadic = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    about = ["repeatable"] if kind.collect else []
    about += [f"default: {parameter.default!r:.60}"] if has_default else []
    return click.Option(
        [parameter.name, f"--{word}/--no-{word}" if flag else f"--{word}"],
        type=kind.type,
        multiple=kind.collect is not None,
        required=not has_default and not variadic,
        help=f"[{'; '.join(about)}]" if about else None,
    )


def _kind(parameter: Parameter, function: Callable[..., Any]) -> _Kind:
    hint = _hint(parameter, function)
    if parameter.kind is Parameter.VAR_KEYWORD:
        return _Kind(_Json(dict, "an object"))
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return _Kind(_single(hint), tuple)
    members = [each for each in _members(hint) if each is not types.NoneType]
    hint = members[0] if len(members) == 1 else hint
    origin, items = typing.get_origin(hint) or hint, typing.get_args(hint)
    if (
        isinstance(origin, typing.Hashable)
        and origin in _SEQUENCES
        and (origin is not tuple or (len(items) == 2 and items[1] is Ellipsis))
    ):
        return _Kind(_single(items[0] if items else Any), _SEQUENCES[origin])
    return _Kind(_single(hint))


def _hint(parameter: Parameter, function: Callable[..., Any]) -> Any:
    """The annotation; the type of the default if there is none; Any if it cannot be evaluated."""
    hint = parameter.annotation
    if hint is Parameter.empty:
        return type(parameter.default) if type(parameter.default) in _PLAIN and parameter.default is not None else Any
    holder = types.SimpleNamespace(__annotations__={"hint": hint})
    plain = inspect.unwrap(function)
    try:
        found = typing.get_type_hints(holder, getattr(plain, "__globals__", {}))["hint"]
    except Exception:  # noqa: BLE001 - any expression may stand there, of names that only a type checker knows
        return Any
    return getattr(found, "__supertype__", found)


def _members(hint: Any) -> Sequence[Any]:
    """The members of a union, or the hint itself if it is no union."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _single(hint: Any) -> click.ParamType[Any]:
    """The type of an option for one value."""
    members = _members(hint)
    if len(members) > 1:
        last = sorted((each for each in members if each is not types.NoneType), key=lambda each: each is str)
        kinds = [_single(each) for each in last]
        return kinds[0] if len(kinds) == 1 else _Either(kinds)
    if typing.get_origin(hint) is typing.Literal:
        return _Named({str(value): value for value in typing.get_args(hint)})
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _Named({**hint.__members__})
    if isinstance(hint, typing.Hashable) and hint in _PLAIN:
        return _PLAIN[hint]
    if hint in (Any, object) or isinstance(hint, typing.TypeVar):
        return _Json(None, "a value")
    origin = typing.get_origin(hint) or hint
    return _Json(origin, f"a {getattr(hint, '__name__', hint)}" if hint is origin else f"{hint}")


def _is_a(value: Any, of: Any) -> bool:
    try:
        return of is None or isinstance(value, of)
    except TypeError:  # a protocol, a TypedDict
        return True


def _json_name(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", types.NoneType: "null"}
    return names.get(type(value), "a number")


def _help(function: Callable[..., Any]) -> str:
    """The docstring of a function as help. Paragraphs with indented lines are not wrapped."""
    paragraphs = cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{each}" if "\n " in each else each for each in paragraphs)
