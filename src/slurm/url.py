"""Cluster URLs: `scheduler[+transport]://[user@]host[:port][/root]`, or only the name of a scheduler."""

from __future__ import annotations

import re
import shutil
from typing import NamedTuple

from slurm.errors import ClusterURLError
from slurm.sanitize.redaction import HIDDEN

_PATTERN = re.compile(
    r"(?P<scheduler>[a-z][a-z0-9_]*) (?:\+(?P<transport>[a-z][a-z0-9_]*))?"
    r"(?: :// (?:(?P<user>[^@/\s]+)@)? (?P<host>\[[^\]/\s]+\]|[^:/@\s\[\]]*) (?::(?P<port>\d+))? (?P<root>/.*)?)?",
    re.VERBOSE | re.DOTALL,
)


_TRANSPORTS = {"inline": "inline"}
"""The transports of URLs that name none, if the transport is not `local`."""


def _without_user(text: str) -> str:
    """Return a URL that is safe to show in an error, because the part before the last `@` may contain a password."""
    scheme, _, rest = text.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{HIDDEN}@{host}" if at and ":" in user else text


class ClusterURL(NamedTuple):
    """The parts of a cluster URL: scheduler, transport, host, and the root of its job directories.

    A root in the home directory is `~/…` here and `/~/…` in the URL's text.
    """

    scheduler: str
    transport: str = "local"
    user: str | None = None
    host: str | None = None
    port: int | None = None
    root: str | None = None

    @classmethod
    def parse(cls, text: str) -> ClusterURL:
        """Parse a URL. The scheduler "auto" becomes the result of `_here()`. Raises ClusterURLError."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ClusterURLError(
                f"{_without_user(text)!r} is not a cluster URL: write scheduler[+transport]://[user@]host[:port][/root]"
                ", such as 'local', 'slurm', 'slurm:///scratch/ann/jobs'"
            )
        parts = match.groupdict()
        if ":" in (parts["user"] or ""):
            raise ClusterURLError(
                f"{_without_user(text)!r}: a cluster URL cannot contain a password: use an SSH key, or let SSH ask"
            )
        if parts["port"] and not 0 < int(parts["port"]) < 1 << 16:
            raise ClusterURLError(f"{text!r}: the port must be a number from 1 to 65535")
        if bool(parts["transport"]) != bool(parts["host"]) and parts["transport"] != "local":
            path = f"; for a directory of this machine, write an absolute path after '{parts['scheduler']}://'"
            raise ClusterURLError(
                f"{text!r}: give both a transport and a host, such as 'slurm+ssh://ann@login'"
                + (f"{path}, such as '{parts['scheduler']}:///scratch/ann/jobs'" if parts["host"] else "")
            )
        scheduler = parts["scheduler"]
        if scheduler == "auto":
            if parts["transport"]:
                raise ClusterURLError(f"{text!r}: auto looks at this machine; for another one, name its scheduler")
            scheduler = _here()
        return cls(
            scheduler=scheduler,
            transport=parts["transport"] or _TRANSPORTS.get(scheduler, "local"),
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


_PROGRAMS = {"slurm": ("sbatch",), "sge": ("qsub", "qconf"), "pbs": ("qsub", "qselect")}
"""The programs by which a scheduler of this machine is known. Both Grid Engine and PBS have a qsub."""


def _here() -> str:
    """Return the scheduler of this machine, by the programs on PATH."""
    return next((name for name, needed in _PROGRAMS.items() if all(map(shutil.which, needed))), "local")


def why_here(scheduler: str) -> str:
    """Return why "auto" has become this scheduler, as text."""
    if scheduler not in _PROGRAMS:
        return "because no sbatch and no qsub is on PATH"
    needed = _PROGRAMS[scheduler]
    return f"because {' and '.join(needed)} {'are' if len(needed) > 1 else 'is'} on PATH"
