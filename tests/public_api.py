"""The public API as text: `python tests/public_api.py > tests/data/public-api.txt`.

One line for each public name and each public member of a class, with its parameters. A star and a slash divide them as
in a definition; a parameter with a default ends with an equals sign.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import slurm
from slurm import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIXES: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def listing() -> str:
    """All lines."""
    names = {name: getattr(slurm, name) for name in slurm.__all__}
    names |= {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and _ours(kind)}
    return "".join(f"{line}\n" for name, thing in sorted(names.items()) for line in _lines(name, thing))


def _lines(name: str, thing: Any) -> Iterator[str]:
    if not inspect.isclass(thing):
        yield f"{name}{_parameters(thing)}"
        return
    bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
    yield f"class {name}({bases})"
    members = {member: found for kind in reversed(thing.__mro__) if _ours(kind) for member, found in vars(kind).items()}
    for member, found in sorted(members.items()):
        if not member.startswith("_"):
            yield f"    {name}.{member}{_parameters(getattr(found, '__func__', found))}"


def _ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "slurm"


def _parameters(thing: Any) -> str:
    """The parameters of a function; nothing for what is not one."""
    if not inspect.isfunction(thing):
        return ""
    parts: list[str] = []
    keyword = False
    parameters = inspect.signature(thing).parameters.values()
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            keyword = True
            parts += [] if any(each.kind is each.VAR_POSITIONAL for each in parameters) else ["*"]
        default = "" if parameter.default is parameter.empty else "="
        parts.append(f"{PREFIXES.get(parameter.kind, '')}{parameter.name}{default}")
    last = max((at for at, each in enumerate(parameters) if each.kind is each.POSITIONAL_ONLY), default=None)
    if last is not None:
        parts.insert(last + 1, "/")
    return f"({', '.join(parts)})"


if __name__ == "__main__":
    print(listing(), end="")
