"""Passwords and tokens in URLs, taken out of text before it is shown or written."""

from __future__ import annotations

import re

HIDDEN = "***"

# Either a user and a password, in which a `/` may stand, or one word, such as a token; both up to the last `@`. Lengths
# are bounded, so that no text takes long.
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
    """Text whose URLs have no password: `https://***@host/x?token=***`. The user of an SSH URL stays."""
    return _TOKEN.sub(rf"\g<name>{HIDDEN}", _USER_INFO.sub(_without_password, text)) if "://" in text else text


def has_password(url: str) -> bool:
    """Whether a URL has a password or a token before its host."""
    return any(_without_password(found) != found[0] for found in _USER_INFO.finditer(url))


def _without_password(found: re.Match[str]) -> str:
    if not found["user"] or ((found["scheme"] or "").endswith("ssh") and ":" not in found["user"]):
        return found[0]
    return f"{found['scheme'] or ''}://{HIDDEN}@"
