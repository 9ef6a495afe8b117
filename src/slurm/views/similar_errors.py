"""Similar errors: compare error messages. Numbers, addresses, paths and hosts in them do not count."""

from __future__ import annotations

import re

_REPLACED = (
    (re.compile(r"0x[0-9a-fA-F]+"), "0x…"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "…"),
    (re.compile(r"(?<![\w.])(?:~|\.{0,2})/[^\s'\",:;()\[\]]+"), "/…"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b"), "…"),
    (re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"), "#"),
)
"""Patterns of text that differs between errors of the same kind, such as addresses, ids, paths, digests and numbers,
with the text that replaces it.
"""


def normalised(text: str, host: str | None = None) -> str:
    """Return a message in one line, without the text that differs between errors of the same kind. `host` is the name
    of the machine where the error was raised.
    """
    text = " ".join(text.split())
    if host:
        text = re.sub(rf"(?<![\w.-]){re.escape(host.partition('.')[0])}(?:\.[\w-]+)*(?![\w-])", "…", text)
    for form, instead in _REPLACED:
        text = form.sub(instead, text)
    return text
