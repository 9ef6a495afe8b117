"""References to container images, as docker, podman and apptainer write them."""

from __future__ import annotations

import re
from typing import NamedTuple

from slurm.errors import ConfigurationError

_REFERENCE = re.compile(
    r"(?:docker://)?"
    r"(?:(?P<registry>localhost(?::\d+)?|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::\d+)|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)/)?"
    r"(?P<repository>[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3})(:\d+)?(/.*)?")


class Reference(NamedTuple):
    """The reference of an image: registry, repository, and tag or digest."""

    registry: str
    repository: str
    tag: str
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a reference. Defaults are the registry Docker Hub and the tag `latest`. Raises ConfigurationError."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                f"image {text!r}: expected a reference, such as docker.io/library/python:3.12-slim or name@sha256:…"
            )
        registry, repository, tag, digest = found.group("registry", "repository", "tag", "digest")
        if registry is None and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry or "docker.io", repository, tag or "latest", digest)

    @property
    def plain(self) -> bool:
        """Whether the registry may use HTTP without TLS: only if it is on this machine."""
        return on_loopback(self.registry)

    @property
    def pinned(self) -> str:
        """The reference by digest, or by tag if the digest is unknown."""
        name = f"{self.registry}/{self.repository}"
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag}"

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


def on_loopback(name: str) -> bool:
    """Whether a registry, or the registry of an image, is on this machine. It may then use HTTP without TLS."""
    return _LOOPBACK.fullmatch(name) is not None
