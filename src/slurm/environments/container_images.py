"""Bring an image to the cluster, in the form that its container runtime takes."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from slurm.client_cache import new_log
from slurm.environments.container_site import in_bash, pinned
from slurm.environments.images import Reference
from slurm.environments.runtimes.base import ARCHIVE, BUNDLE, REFERENCE, SIF, Image
from slurm.errors import BuildFailed, ConfigurationError

if TYPE_CHECKING:
    from slurm.environments.building import Building
    from slurm.environments.container_site import ContainerSite
    from slurm.environments.containerfile import Builder, Containerfile
    from slurm.environments.runtimes.base import Runtime

_SECONDS = 3600.0
_TAIL_LINES = 20
_SIF, _ARCHIVE, _FILES, ROOTFS = "image.sif", "image.tar", "rootfs.tar", "rootfs"
_UNPACK = f"tar -x --no-same-owner --exclude='./dev/*' --exclude='dev/*' -C {ROOTFS}"


class Source(Protocol):
    """Where an image comes from."""

    def identity(self) -> object:
        """Return a value that changes with the image."""

    def bring(self, building: Building, site: ContainerSite, runtime: Runtime) -> Image:
        """Bring the image to the build target. Raises EnvironmentNotReady or ConfigurationError."""


class File(NamedTuple):
    """An existing file or directory on the cluster: apptainer's .sif, enroot's .sqsh, an OCI bundle."""

    path: str

    def identity(self) -> object:
        """The path. The user is responsible for its content."""
        return self

    def bring(self, building: Building, site: ContainerSite, runtime: Runtime) -> Image:
        """Return the file, which needs no transfer."""
        del building, site
        if runtime.takes == ARCHIVE:
            raise ConfigurationError(
                f"{runtime.name} cannot run an image file such as {self.path}: name an image in a registry"
            )
        return Image(name=self.path, source=self.path)


class Tagged(NamedTuple):
    """An image in a registry, pinned to its digest."""

    reference: Reference

    def identity(self) -> object:
        """The reference with the digest."""
        return self.reference.pinned

    def bring(self, building: Building, site: ContainerSite, runtime: Runtime) -> Image:
        """Convert the image for runtimes that take a file or a bundle. Other runtimes pull it on the nodes."""
        name = self.reference.pinned
        source = name
        if runtime.takes == SIF:
            name = _sif(building, site, runtime, f"docker://{name}", plain=self.reference.plain)
        elif runtime.takes == BUNDLE:
            building.step(f"unpacking {name}")
            _unpack(building, site, name, plain=self.reference.plain)
            name = building.directory
        return Image(name=name, source=source)


class CachedImage(NamedTuple):
    """A local image of a builder, existing or to be built."""

    builder: Builder
    tag: str
    recipe: Containerfile | None = None
    digest: str = ""
    """The digest of the recipe and its context, or the id of the image."""
    registry: str | None = None

    def identity(self) -> object:
        """The digest or id of the image, and the registry that it passes through."""
        return self.tag, self.digest, self.registry

    def bring(self, building: Building, site: ContainerSite, runtime: Runtime) -> Image:
        """Build the image if necessary, then push it, or upload it as a file."""
        log = new_log(building.key)
        if runtime.takes == REFERENCE and not self.registry:
            raise ConfigurationError(
                f"{runtime.name} needs a registry: name the one to which to push {self.tag} (registry=…)"
            )
        if self.recipe and self.builder.image_id(self.tag) is None:
            building.step(f"building {self.recipe.file} by {self.builder.program}")
            self.builder.build(self.recipe, self.tag, platform=site.platform, log=log)
        if self.registry:
            building.step(f"pushing {self.tag} to {self.registry}")
            name = f"{self.registry.rstrip('/')}/{self.tag.rpartition('/')[2]}"
            reference = Reference.parse(name)
            self.builder.push(self.tag, name, plain=reference.plain, log=log)
            return Tagged(pinned(building.target, site, reference)).bring(building, site, runtime)
        return self._carried(building, site, runtime, log)

    def _carried(self, building: Building, site: ContainerSite, runtime: Runtime, log: Path) -> Image:
        """Upload the image as a file."""
        flat = runtime.takes == BUNDLE
        sent = f"{building.directory}/{_FILES if flat else _ARCHIVE}"
        building.step(f"sending {self.tag}")
        with tempfile.TemporaryDirectory(prefix="slurm-tasks-image-") as directory:
            file = Path(directory, "image.tar")
            (self.builder.flatten if flat else self.builder.save)(self.tag, file, log=log)
            building.target.transport.put(building.directory, {os.path.basename(sent): file})
        image_id = self.builder.image_id(self.tag) or ""
        image = Image(name=image_id, source=f"{self.tag} {image_id}")
        if flat:
            run_script(building, f"mkdir {ROOTFS} && {_UNPACK} -f {_FILES} && rm {_FILES}", f"cannot unpack {self.tag}")
            return image._replace(name=building.directory)
        if runtime.takes != SIF:
            return image._replace(name=f"docker-archive:{sent}@{image_id}")
        sif = _sif(building, site, runtime, f"docker-archive:{sent}")
        if sif.endswith(_SIF):
            run_script(building, f"rm {_ARCHIVE}", "")
        return image._replace(name=sif)


def _sif(building: Building, site: ContainerSite, runtime: Runtime, source: str, *, plain: bool = False) -> str:
    """Make a SIF of an image, and return its path; the image's own name if only the nodes have apptainer."""
    if runtime.program not in site.runtimes:
        return source
    building.step(f"making a SIF of {source}")
    file = f"{building.directory}/{_SIF}"
    run_script(
        building,
        shlex.join(runtime.make(source, file, plain=plain)),
        f"{runtime.program} cannot make a SIF of {source}",
    )
    return file


def _unpack(building: Building, site: ContainerSite, name: str, *, plain: bool) -> None:
    """Unpack an image of a registry into a directory on the cluster, with podman, docker or apptainer."""
    quoted, failure = shlex.quote(name), f"cannot unpack {name}"
    engine = next((each for each in ("podman", "docker") if each in site.runtimes), None)
    if engine:
        options = " --tls-verify=false" if plain and engine == "podman" else ""
        pulled = f"{engine} pull --quiet{options} {quoted} && container=$({engine} create {quoted} true)"
        run_script(
            building,
            f'set -o pipefail; mkdir {ROOTFS} && {pulled} && {engine} export "$container" | {_UNPACK}; '
            f'status=$?; [ -z "$container" ] || {engine} rm "$container" > /dev/null; exit $status',
            failure,
        )
    elif "apptainer" in site.runtimes:
        flag = " --no-https" if plain else ""
        run_script(building, f"apptainer build{flag} --sandbox {ROOTFS} docker://{quoted}", failure)
    else:
        raise BuildFailed(f"{failure}: this needs podman, docker or apptainer there; or use another runtime")


def run_script(building: Building, script: str, failure: str) -> None:
    """Run lines of bash in the directory of the environment. Raises BuildFailed."""
    done = in_bash(
        building.target, f"cd -- {shlex.quote(building.directory)} || exit\numask 022\n{script}", timeout=_SECONDS
    )
    if done.status != 0:
        tail = "\n".join(done.words.splitlines()[-_TAIL_LINES:])
        raise BuildFailed(f"{failure}:\n{tail}", output=done.words)
