"""Conditions: make functions of the parameters from texts such as "lr < 0.1 and depth in [2, 4]".

Only such expressions are evaluated; no other code can run.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Read = Callable[[Mapping[str, Any]], Any]

_COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda one, many: one in many, ast.NotIn: lambda one, many: one not in many,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip
_COMPUTED: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_OF_NUMBERS = (ast.Mult, ast.Mod)  # "a" * 10**9 and "%999999999d" % 1 would fill the memory
_SIGNED: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
_CALLED: Mapping[str, Callable[..., Any]] = {"abs": abs, "len": len, "max": max, "min": min}
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


def condition(text: str, names: Collection[str]) -> Callable[[Mapping[str, Any]], bool]:
    """Return a function that tells whether parameters meet a condition. `names` are the names of the parameters.

    A condition may have comparisons, `and`, `or`, `not`, `in`, arithmetic without powers, lists, and the functions
    abs, len, max and min. A dotted name, such as model.lr, is the name of a parameter. Raises ConfigurationError for
    anything else.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        read = _Reader(text, names).read(tree.body)
    except SyntaxError as error:
        raise ConfigurationError(f"where: {text!r} is not a condition: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError):  # ast.parse: deep nesting, deep nesting, null bytes
        raise ConfigurationError(f"where: {text[:80]!r}… is not a condition, or nests too deeply") from None

    def holds(params: Mapping[str, Any]) -> bool:
        try:
            return bool(read(params))
        except (TypeError, ArithmeticError, ValueError) as error:
            raise ConfigurationError(f"where: {text!r} cannot be said of {dict(params)}: {error}") from None

    return holds


class _Reader:
    """Makes functions from the parts of an expression."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._text, self._names = text, names

    def read(self, node: ast.expr) -> Read:
        """Return a function that computes a part of the expression from parameters. Raises ConfigurationError."""
        if isinstance(node, ast.Constant) and not isinstance(node.value, bytes | complex | type(...)):
            value = node.value
            return lambda _: value
        if isinstance(node, ast.Name | ast.Attribute):
            return self._parameter(node)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            parts = [self.read(each) for each in node.elts]
            return lambda params: [part(params) for part in parts]
        if isinstance(node, ast.BoolOp):
            parts = [self.read(each) for each in node.values]
            every = all if isinstance(node.op, ast.And) else any
            return lambda params: every(part(params) for part in parts)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNED:
            sign, operand = _SIGNED[type(node.op)], self.read(node.operand)
            return lambda params: sign(operand(params))
        if isinstance(node, ast.BinOp) and type(node.op) in _COMPUTED:
            compute, left, right = _COMPUTED[type(node.op)], self.read(node.left), self.read(node.right)
            if isinstance(node.op, _OF_NUMBERS):
                return lambda params: compute(_number(left(params)), _number(right(params)))
            return lambda params: compute(left(params), right(params))
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if isinstance(node, ast.Call) and name in _CALLED and not node.keywords:
            function, parts = _CALLED[name], [self.read(each) for each in node.args]
            return lambda params: function(*(part(params) for part in parts))
        what = ast.get_source_segment(self._text.strip(), node) or self._text
        raise ConfigurationError(
            f"where: {self._text!r} has {what!r}: a condition compares parameters, with and, or, not, in, arithmetic "
            "without powers, abs, len, max, min. Write a function in Python for anything else"
        )

    def _parameter(self, node: ast.Name | ast.Attribute) -> Read:
        name = _dotted(node)
        if name in self._names:
            return lambda params: params.get(name)
        if name in _CONSTANTS:
            value = _CONSTANTS[name]
            return lambda _: value
        raise ConfigurationError(f"where: {self._text!r} names {name}, which is no parameter{near(name, self._names)}")

    def _comparison(self, node: ast.Compare) -> Read:
        parts = [self.read(each) for each in (node.left, *node.comparators)]
        compared = [_COMPARED[type(op)] for op in node.ops]

        def holds(params: Mapping[str, Any]) -> bool:
            left = parts[0](params)
            for compare, part in zip(compared, parts[1:], strict=True):
                right = part(params)
                if not compare(left, right):
                    return False
                left = right
            return True

        return holds


def _number(value: Any) -> Any:
    if isinstance(value, str | bytes | list | tuple):
        raise TypeError(f"{value!r:.80} is not a number")
    return value


def _dotted(node: ast.expr) -> str:
    """Return the dotted name that an expression is; "" if it is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""
