"""The page at /: one HTML file without data. The page requests the data with the token in its address."""

from __future__ import annotations

import secrets
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

_NONCE = "NONCE"
"""The text in the file that is replaced by the nonce."""


@lru_cache(maxsize=1)
def _file() -> str:
    return files("slurm.server").joinpath("page.html").read_text("utf-8")


async def show_page(request: Request) -> Response:
    """Send the page. A browser uses only the script and the style with the nonce of this answer."""
    del request
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(_file().replace(f'nonce="{_NONCE}"', f'nonce="{nonce}"'), headers=headers, media_type="text/html")
