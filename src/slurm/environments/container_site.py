"""What a place has to run containers by, and what its registry says of an image."""

from __future__ import annotations

import json
import logging
from pkgutil import get_data
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.environments.runtimes.apptainer import Apptainer, Singularity
from slurm.environments.runtimes.engines import Docker, Podman
from slurm.environments.runtimes.oci import SlurmOCI
from slurm.environments.runtimes.pyxis import Pyxis
from slurm.environments.setup import take
from slurm.errors import EnvironmentNotReady
from slurm.protocol.boot import RUN_SOURCE
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.environments.base import Place
    from slurm.environments.images import Reference
    from slurm.environments.runtimes.base import Runtime
    from slurm.transports.base import Completed

RUNTIMES: Mapping[str, type[Runtime]] = {
    kind.name: kind for kind in (Pyxis, Apptainer, Singularity, Podman, Docker, SlurmOCI)
}
"""By their names, in the order in which they are looked for; Slurm's own shows nowhere, so it must be named."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}

_log = logging.getLogger("slurm.environments")


class ContainerSite(NamedTuple):
    """A place, as far as containers go. What the nodes have may differ."""

    platform: str
    """Such as "linux/amd64"."""
    uid: int
    gid: int
    home: str
    python: str
    """Any Python 3, or nothing."""
    srun: str
    """What it says of its version, such as "slurm 23.02.7", or nothing."""
    runtimes: tuple[str, ...]

    @classmethod
    def survey(cls, place: Place) -> ContainerSite:
        """Ask a place. Raises EnvironmentNotReady, TransportError."""
        done = in_bash(place, program(__name__, "survey.sh"))
        lines = done.stdout.splitlines()
        if done.status != 0 or len(lines) < 6:
            raise EnvironmentNotReady(f"what runs containers there can't be found out: {done.words}")
        machine, uid, gid, home, python, srun, *rest = lines
        platform = f"linux/{_ARCHITECTURES.get(machine, machine)}"
        return cls(platform, int(uid), int(gid), home, python, srun, tuple(" ".join(rest).split()))

    def expanded(self, path: str) -> str:
        """A path there; from ~/ it is in the home."""
        return f"{self.home}{path[1:]}" if path.startswith("~/") else path

    def runtime(self, name: str | None) -> Runtime:
        """The one of a name, or the first that is there. Raises EnvironmentNotReady."""
        if name is None and not self.runtimes:
            raise EnvironmentNotReady(
                "there is nothing to run containers by: no apptainer, singularity, podman, docker or pyxis is on PATH "
                "where jobs are submitted from. A module may bring one: [Modules('apptainer'), Container(…)]; if only "
                "the nodes have it, say which: Container(…, runtime='apptainer')"
            )
        return RUNTIMES[name or next(known for known in RUNTIMES if known in self.runtimes)]()


def in_bash(place: Place, script: str, *, timeout: float = 60) -> Completed:
    """Run lines of bash there, after the steps that a job takes."""
    text = "\n".join(["{", *take(place.interpreter.setup), "} > /dev/null", '[ -z "$step" ] || exit', script])
    return place.transport.run(["bash", "-s"], stdin=text.encode(), timeout=timeout)


def pinned(place: Place, site: ContainerSite, reference: Reference) -> Reference:
    """The reference with the digest that its tag has now. Raises EnvironmentNotReady."""
    told = _look_up(place, site, reference)
    refused = told.get("refused") or told.get("unreachable")
    if refused and (told.get("refused") or reference.digest is None):
        advice = "log in there first (podman login, docker login, apptainer registry login)"
        advice = advice if "HTTP 401" in refused or "HTTP 403" in refused else "look at its name and tag"
        advice = advice if told.get("refused") else "name it by its digest (…@sha256:…), and nobody need ask"
        verb = "doesn't give" if told.get("refused") else "can't be asked for"
        raise EnvironmentNotReady(f"the registry {reference.registry} {verb} {reference}: {refused}; {advice}")
    platforms = told.get("platforms") or ()
    if platforms and site.platform not in platforms:
        raise EnvironmentNotReady(f"{reference} is for {', '.join(platforms)}, and the cluster is {site.platform}")
    return reference._replace(digest=told.get("digest", reference.digest))


def _look_up(place: Place, site: ContainerSite, reference: Reference) -> dict[str, Any]:
    """Ask the registry from there, where the image will be pulled; from here if that can't be done."""
    arguments = [reference.registry, reference.repository, reference.digest or reference.tag]
    arguments.append("plain" if reference.plain else "tls")
    if site.python:
        source = get_data("slurm.environments", "image_lookup.py") or b""
        done = place.transport.run([site.python, "-c", RUN_SOURCE, source.decode(), *arguments], timeout=300)
        try:
            told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            _log.debug("no registry can be asked from there: %s", done.words)
        else:
            if "unreachable" not in told:
                return told
    from slurm.environments import image_lookup  # noqa: PLC0415 - loads ssl

    return image_lookup.asked(*arguments)
