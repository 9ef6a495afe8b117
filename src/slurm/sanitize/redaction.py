"""Redaction: remove passwords and tokens in URLs from text before it is shown or written."""

from __future__ import annotations

import re

HIDDEN = "***"

# Either a user and a password, which may contain `/`, or one word such as a token; both end at the last `@`. Limited
# lengths make the match fast on any text.
_USER_INFO = re.compile(
    r"""
    (?P<scheme>[A-Za-z][\w+.-]{0,40})?://
    (?P<user>
        [^\s/:@'"<>\[]{0,256} : (?!\d{1,5}(?:[/?\#]|$)) [^\s@'"<>]{0,256} (?:@[^\s@/'"<>]{1,256})* (?=@)
      | [^\s/?\#'"<>]{0,256} (?=@)
    )@
    """,
    re.VERBOSE,
)
_TOKEN = re.compile(
    r"(?P<name>[?&;](?:access_token|api_?key|auth|key|passw(?:or)?d|secret|sig|signature|token)=)[^\s&;#'\"<>]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Return the text with credentials in URLs hidden: `https://***@host/x?token=***`. An SSH URL keeps its user."""
    return _TOKEN.sub(rf"\g<name>{HIDDEN}", _USER_INFO.sub(_without_password, text)) if "://" in text else text


def has_password(url: str) -> bool:
    """Whether a URL has a password or a token before its host."""
    return any(_without_password(match) != match[0] for match in _USER_INFO.finditer(url))


def _without_password(match: re.Match[str]) -> str:
    if not match["user"] or ((match["scheme"] or "").endswith("ssh") and ":" not in match["user"]):
        return match[0]
    return f"{match['scheme'] or ''}://{HIDDEN}@"
