"""Survey the container runtimes of a cluster, and look up images in a registry."""

from __future__ import annotations

import json
import logging
from pkgutil import get_data
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.environments.runtimes.apptainer import Apptainer, Singularity
from slurm.environments.runtimes.engines import Docker, Podman
from slurm.environments.runtimes.oci import SlurmOCI
from slurm.environments.runtimes.pyxis import Pyxis
from slurm.environments.setup import render_steps
from slurm.errors import EnvironmentNotReady
from slurm.protocol.boot import RUN_SOURCE
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.environments.base import BuildTarget
    from slurm.environments.images import Reference
    from slurm.environments.runtimes.base import Runtime
    from slurm.transports.base import Completed

RUNTIMES: Mapping[str, type[Runtime]] = {
    kind.name: kind for kind in (Pyxis, Apptainer, Singularity, Podman, Docker, SlurmOCI)
}
"""Runtimes by name, in order of preference. Slurm's own runtime cannot be detected, so the user must name it."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}

_log = logging.getLogger("slurm.environments")


class ContainerSite(NamedTuple):
    """The container support of the host that submits jobs. The nodes may have other support."""

    platform: str
    """The platform, such as "linux/amd64"."""
    uid: int
    gid: int
    home: str
    python: str
    """The path of a Python 3, or ""."""
    srun: str
    """The output of `srun --version`, such as "slurm 23.02.7", or ""."""
    runtimes: tuple[str, ...]

    @classmethod
    def survey(cls, target: BuildTarget) -> ContainerSite:
        """Survey a build target with one command. Raises EnvironmentNotReady, TransportError."""
        done = in_bash(target, program(__name__, "survey.sh"))
        lines = done.stdout.splitlines()
        if done.status != 0 or len(lines) < 6:
            raise EnvironmentNotReady(f"cannot find out which container runtimes exist there: {done.words}")
        machine, uid, gid, home, python, srun, *rest = lines
        platform = f"linux/{_ARCHITECTURES.get(machine, machine)}"
        return cls(platform, int(uid), int(gid), home, python, srun, tuple(" ".join(rest).split()))

    def expanded(self, path: str) -> str:
        """Replace a leading ~/ with the home directory."""
        return f"{self.home}{path[1:]}" if path.startswith("~/") else path

    def runtime(self, name: str | None) -> Runtime:
        """Return the runtime with this name, or the first one found. Raises EnvironmentNotReady if there is none."""
        if name is None and not self.runtimes:
            raise EnvironmentNotReady(
                "no container runtime found: none of apptainer, singularity, podman, docker, pyxis is on the PATH of "
                "the host that submits jobs. If a module provides one: [Modules('apptainer'), Container(…)]. If only "
                "the nodes have one, name it: Container(…, runtime='apptainer')"
            )
        return RUNTIMES[name or next(known for known in RUNTIMES if known in self.runtimes)]()


def in_bash(target: BuildTarget, script: str, *, timeout: float = 60) -> Completed:
    """Run lines of bash on the target, after the setup steps of a job."""
    text = "\n".join(["{", *render_steps(target.interpreter.setup), "} > /dev/null", '[ -z "$step" ] || exit', script])
    return target.transport.run(["bash", "-s"], stdin=text.encode(), timeout=timeout)


def pinned(target: BuildTarget, site: ContainerSite, reference: Reference) -> Reference:
    """Return the reference with the current digest of its tag. Raises EnvironmentNotReady."""
    answer = _look_up(target, site, reference)
    refused = answer.get("refused") or answer.get("unreachable")
    if refused and (answer.get("refused") or reference.digest is None):
        advice = "log in there first (podman login, docker login, apptainer registry login)"
        advice = advice if "HTTP 401" in refused or "HTTP 403" in refused else "check its name and tag"
        advice = advice if answer.get("refused") else "or name it by its digest (…@sha256:…), which needs no look-up"
        message = f"the registry {reference.registry} {'refused' if answer.get('refused') else 'cannot be asked for'}"
        raise EnvironmentNotReady(f"{message} {reference}: {refused}; {advice}")
    platforms = answer.get("platforms") or ()
    if platforms and site.platform not in platforms:
        raise EnvironmentNotReady(f"{reference} is for {', '.join(platforms)}, but the cluster is {site.platform}")
    return reference._replace(digest=answer.get("digest", reference.digest))


def _look_up(target: BuildTarget, site: ContainerSite, reference: Reference) -> dict[str, Any]:
    """Ask the registry from the cluster, which will pull the image; if that fails, ask it from this machine."""
    arguments = [reference.registry, reference.repository, reference.digest or reference.tag]
    arguments.append("plain" if reference.plain else "tls")
    if site.python:
        source = get_data("slurm.environments", "image_lookup.py") or b""
        done = target.transport.run([site.python, "-c", RUN_SOURCE, source.decode(), *arguments], timeout=300)
        try:
            answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            _log.debug("cannot ask a registry from there: %s", done.words)
        else:
            if "unreachable" not in answer:
                return answer
    from slurm.environments import image_lookup  # noqa: PLC0415 - loads ssl

    return image_lookup.answer(*arguments)
