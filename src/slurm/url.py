"""Cluster URLs: `scheduler[+transport]://[user@]host[:port][/root]`, or just a scheduler's name."""

from __future__ import annotations

import re
from typing import NamedTuple

from slurm.errors import ClusterURLError
from slurm.sanitize.redaction import HIDDEN

_FORM = re.compile(
    r"(?P<scheduler>[a-z][a-z0-9_]*) (?:\+(?P<transport>[a-z][a-z0-9_]*))?"
    r"(?: :// (?:(?P<user>[^@/\s]+)@)? (?P<host>\[[^\]/\s]+\]|[^:/@\s\[\]]*) (?::(?P<port>\d+))? (?P<root>/.*)?)?",
    re.VERBOSE | re.DOTALL,
)


_TRANSPORTS = {"inline": "inline"}
"""The transports of URLs that name none, where it isn't `local`."""


def _without_user(text: str) -> str:
    """A URL as an error may show it: before the last `@` may stand a password."""
    scheme, _, rest = text.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{HIDDEN}@{host}" if at and ":" in user else text


class ClusterURL(NamedTuple):
    """Where a cluster is: which scheduler, reached how, and where its job directories lie.

    A root in the home is `~/…`, and `/~/…` in the text.
    """

    scheduler: str
    transport: str = "local"
    user: str | None = None
    host: str | None = None
    port: int | None = None
    root: str | None = None

    @classmethod
    def parse(cls, text: str) -> ClusterURL:
        """Read a URL. Raises ClusterURLError."""
        found = _FORM.fullmatch(text)
        if found is None:
            shown = _without_user(text)
            message = (
                f"{shown!r} is not a cluster: write scheduler[+transport]://[user@]host[:port][/root], such as "
                "'local', 'slurm', 'slurm:///scratch/ann/jobs'"
            )
            raise ClusterURLError(message)
        parts = found.groupdict()
        if ":" in (parts["user"] or ""):
            message = f"{_without_user(text)!r}: a cluster's URL takes no password: use a key, or let SSH ask for it"
            raise ClusterURLError(message)
        if parts["port"] and not 0 < int(parts["port"]) < 1 << 16:
            message = f"{text!r}: a port is a number from 1 to 65535"
            raise ClusterURLError(message)
        if bool(parts["transport"]) != bool(parts["host"]):
            message = f"{text!r}: a host and a transport go together, such as 'slurm+ssh://ann@login'"
            raise ClusterURLError(message)
        return cls(
            scheduler=parts["scheduler"],
            transport=parts["transport"] or _TRANSPORTS.get(parts["scheduler"], "local"),
            user=parts["user"],
            host=(parts["host"] or "").strip("[]") or None,
            port=int(parts["port"]) if parts["port"] else None,
            root=parts["root"][1:] if (parts["root"] or "").startswith("/~/") else parts["root"],
        )

    def __str__(self) -> str:
        root = f"/{self.root}" if (self.root or "").startswith("~/") else self.root or ""
        if self.host is None:
            return f"{self.scheduler}://{root}" if root else self.scheduler
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheduler}+{self.transport}://{user}{host}{port}{root}"
