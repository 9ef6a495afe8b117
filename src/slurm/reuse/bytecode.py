"""Canonical bytecode: the instructions of a code object without its file name, line numbers and docstrings."""

from __future__ import annotations

import dis
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.serialization.local_imports import imports_in

if TYPE_CHECKING:
    from types import CodeType

_HAS_DOCSTRING = 0x4000000
"""The flag for a docstring, in Python 3.13 and later."""

_DESCRIPTIVE = frozenset(("__doc__", "__firstlineno__", "__qualname__", "__static_attributes__"))
"""Variables that the body of a class sets, and that only describe the source. The last one has no fixed order."""

_LOADS_GLOBAL = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"))
_LOADS_ATTRIBUTE = frozenset(("LOAD_ATTR", "LOAD_METHOD"))
_BY_VALUE = frozenset((*dis.hasconst, *dis.hasname, *dis.haslocal, *dis.hasfree, *dis.hasjrel, *dis.hasjabs))


class Bytecode(NamedTuple):
    """A code object in canonical form."""

    signature: tuple[Any, ...]
    """The flags, and the numbers and names of the parameters and variables."""
    steps: tuple[tuple[str, Any], ...]
    """Each instruction: its name, and its argument (a constant, a name, a number)."""
    names: tuple[tuple[str, ...], ...]
    """The global names that the code loads, each with the attributes that it uses: `("np", "linalg", "norm")`."""
    imports: tuple[tuple[str, int], ...]
    """The modules that the code imports when it runs, each with its level: 1 or more for relative imports."""
    nested: tuple[CodeType, ...]
    """The code of the functions and classes that the code defines."""


@lru_cache(maxsize=4096)
def bytecode(code: CodeType) -> Bytecode:
    """Return the canonical form of a code object, without the canonical forms of nested functions.

    Instructions refer to constants and names by their values, because a docstring changes their positions.
    """
    found = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE")]
    steps = _without_descriptions([_with_constant(step, code) for step in found])
    signature = (
        code.co_flags & ~_HAS_DOCSTRING,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_varnames, code.co_cellvars, code.co_freevars),
        getattr(code, "co_exceptiontable", b""),
    )
    nested = tuple(step.argval for step in steps if isinstance(step.argval, type(code)))
    return Bytecode(signature, tuple(map(_step, steps)), _names(steps), _imports(steps), nested)


def _with_constant(step: dis.Instruction, code: CodeType) -> dis.Instruction:
    """Add the constant to an instruction: `dis` of Python 3.11 and 3.12 leaves out some, such as names of keyword
    arguments.
    """
    unknown = step.opcode in dis.hasconst and type(step.argval).__name__ == "_Unknown"
    return step._replace(argval=code.co_consts[step.arg or 0]) if unknown else step


def _step(step: dis.Instruction) -> tuple[str, Any]:
    """Return an instruction without the flags beside a name (whether a call follows).

    The next instructions show the same.
    """
    return step.opname, step.argval if step.opcode in _BY_VALUE else step.arg


def _without_descriptions(steps: list[dis.Instruction]) -> list[dis.Instruction]:
    """Leave out the instructions that set a docstring, a line number, or another text about the source."""
    left: list[dis.Instruction] = []
    for step in steps:
        describes = step.opname == "STORE_NAME" and step.argval in _DESCRIPTIVE
        if describes and left and left[-1].opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            left.pop()
        else:
            left.append(step)
    return left


def _names(steps: list[dis.Instruction]) -> tuple[tuple[str, ...], ...]:
    found: dict[tuple[str, ...], None] = {}
    chain: list[str] = []
    for step in [*steps, None]:
        if step and chain and step.opname in _LOADS_ATTRIBUTE:
            chain.append(step.argval)
            continue
        if chain:
            found[tuple(chain)] = None
        chain = [step.argval] if step and step.opname in _LOADS_GLOBAL else []
    return tuple(sorted(found))


def _imports(steps: list[dis.Instruction]) -> tuple[tuple[str, int], ...]:
    """Return the modules that `import` statements name."""
    return tuple(sorted(set(imports_in(steps))))
