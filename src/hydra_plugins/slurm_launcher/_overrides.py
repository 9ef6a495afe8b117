"""Overrides of a job as the parameters of a point, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.core.override_parser.types import Override


def params_of(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of overrides, by their keys as they are written before the equals sign: "x", "+db@source", "~y"."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {each.get_key_element(): _value(each) for each in parsed}


def overrides_of(params: Mapping[str, Any]) -> list[str]:
    """Overrides with the values of a point."""
    return [key if key.startswith("~") and value is None else f"{key}={_text(value)}" for key, value in params.items()]


def _value(override: Override) -> Any:
    value = override.value()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    return value


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return QuotedString(text=value, quote=Quote.single).with_quotes()
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_text(each)}" for name, each in value.items()) + "}"
    return repr(value)
