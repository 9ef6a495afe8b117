"""Container: a container image with a Python, run by the container runtime of the cluster."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from slurm.environments.base import Environment, to_be_made
from slurm.environments.building import build_once, look, send, sent_paths
from slurm.environments.container_images import ROOTFS, CachedImage, File, Tagged
from slurm.environments.container_site import RUNTIMES, ContainerSite, in_bash, pinned
from slurm.environments.containerfile import Builder, Containerfile
from slurm.environments.current import TAG, find
from slurm.environments.images import Reference
from slurm.environments.runtimes.base import BUNDLE, Image, Mount, Run, launcher
from slurm.environments.runtimes.oci import bundle
from slurm.errors import ConfigurationError, EnvironmentNotReady, PythonNotFound
from slurm.protocol import ResolvedEnvironment
from slurm.protocol.shell import program

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from slurm.environments.base import BuildTarget
    from slurm.environments.building import Building
    from slurm.environments.container_images import Source
    from slurm.environments.runtimes.base import Runtime

_GPUS = {False: "", True: "nvidia", "nvidia": "nvidia", "amd": "amd"}
_VERSION = "import sys; print('Python %d.%d' % sys.version_info[:2])"
_PULL_SECONDS = 3600.0
_SHELL = "shell"
"""The directory of the shell for an image that has none, in the directory of the environment."""
_NO_PYTHON = "{image} is for programs of commands only (python=None), and this task is a function: name its Python"

_log = logging.getLogger("slurm.environments")


class Container(Environment):
    """A container image that has a Python of the client's minor version. The image needs nothing else.

    `image` is a reference (`docker.io/library/python:3.12-slim`), which the first submission of a program pins to its
    digest; or a file on the cluster (`/path/image.sif`); or `localhost/…`, a local image of podman, docker or buildah.
    Instead of `image`, `dockerfile` and `context` name an image to build on this machine when they have changed. The
    builder is `builder`, or the first of podman, docker and buildah that is installed. A local image is pushed to
    `registry`, or uploaded as an archive if no registry is given.

    `runtime` is apptainer, singularity, podman, docker, pyxis (experimental) or slurm (`srun --container`). The default
    is the first one found on the cluster, except slurm. `mounts` are `source[:target[:ro]]`. The root is always
    mounted, and also the working directory of the job, unless `workdir` names another directory. `env` holds variables
    for the task; None takes the value from the shell of the job. `gpus` is True or "nvidia", or "amd". `network=False`
    disconnects the container. `runtime_options` are passed to the runtime unchanged. `python` is the interpreter in the
    image. Commands need no Python: None says that the image has none, or that the runner must not use it.
    """

    local_paths: ClassVar = ("dockerfile", "context")
    without_python: ClassVar = True

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        image: str | None = None,
        *,
        dockerfile: str | os.PathLike[str] | None = None,
        context: str | os.PathLike[str] | None = None,
        build_args: Mapping[str, str] | None = None,
        builder: str | None = None,
        registry: str | None = None,
        runtime: str | None = None,
        python: str | None = "python3",
        mounts: Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
        gpus: bool | str = False,
        workdir: str | None = None,
        network: bool = True,
        runtime_options: Sequence[str] = (),
    ) -> None:
        self.image = image
        self.dockerfile = str(dockerfile) if dockerfile is not None else None
        self.context = str(context) if context is not None else None
        self.build_args = tuple((build_args or {}).items())
        self.builder, self.registry, self.runtime, self.python = builder, registry, runtime, python
        self.mounts = (mounts,) if isinstance(mounts, str) else tuple(mounts)
        self.env = tuple((env or {}).items())
        self.gpus, self.workdir, self.network = gpus, workdir, network
        self.runtime_options = tuple(runtime_options)
        self._check()

    def _check(self) -> None:
        """Check the arguments. Raises ConfigurationError."""
        built = self.dockerfile is not None or self.context is not None
        if built == (self.image is not None):
            raise ConfigurationError(
                f"{self!r}: pass either an image, or what to build it from (dockerfile=…, context=…)"
            )
        if self.runtime not in {None, *RUNTIMES}:
            raise ConfigurationError(
                f"{self!r}: unknown runtime {self.runtime!r}; known runtimes: {', '.join(RUNTIMES)}"
            )
        if self.gpus not in _GPUS:
            raise ConfigurationError(f"{self!r}: gpus must be True, 'nvidia' or 'amd'")
        for name, value in self.env:
            if not name.isidentifier() or not name.isascii() or not isinstance(value, (str, type(None))):
                raise ConfigurationError(f"{self!r}: env must map names of variables to texts, not {name!r}: {value!r}")
        if self.image and not self.image.startswith(("/", "~/")):
            Reference.parse(self.image)
        for mount in self.mounts:
            Mount.parse(mount)

    def fingerprint(self) -> str:
        """Return a hash of what the image is built from."""
        return "" if self.image else self._recipe().fingerprint()

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        """Bring the image to the cluster in the form that the runtime takes, and check its Python if it runs there.

        Raises EnvironmentNotReady: PythonNotFound, BuildFailed.
        """
        site = ContainerSite.survey(target)
        runtime, source, run = site.runtime(self.runtime), self._source(target, site), self._run(target, site)
        name = self._name(source, runtime, run)

        def make(building: Building) -> ResolvedEnvironment:
            image = source.bring(building, site, runtime)
            if runtime.takes == BUNDLE and image.name == building.directory:
                config = bundle(f"{building.directory}/{ROOTFS}", run, uid=site.uid, gid=site.gid)
                target.transport.put(building.directory, {"config.json": json.dumps(config, indent=1).encode()})
            lacks = self._lacks_python(target, site, runtime, image, run)
            if lacks:
                _copy_shell(building)
            return ResolvedEnvironment(
                key=building.key,
                python=self.python or "",
                tag=TAG,
                digest=image.source,
                runtime=runtime.name,
                image=image.name,
                program=f"{building.directory}/{_SHELL}" if lacks else None,
                no_python=lacks,
            )

        return self._launched(target, build_once(target, name, make), site, runtime, run, send=send)

    def planned(self, target: BuildTarget) -> ResolvedEnvironment:
        """Look for the image on the cluster. Raises EnvironmentNotReady for the same reasons as `prepare`."""
        site = ContainerSite.survey(target)
        runtime, source, run = site.runtime(self.runtime), self._source(target, site), self._run(target, site)
        key, made = look(target, self._name(source, runtime, run))
        if made is None:
            return to_be_made(key, target.interpreter.setup).replace(runtime=runtime.name)
        return self._launched(target, made, site, runtime, run, send=sent_paths)

    def by_hand(self, directories: Sequence[str], env: Mapping[str, str]) -> str:
        """Return words of bash that run a command in the image without a job: see `Runtime.by_hand`.

        The default runtime is apptainer. Raises ConfigurationError for an image that is built on this machine, because
        it has no name before it is built.
        """
        if self.image is None:
            raise ConfigurationError(f"{self!r} is built when a job is submitted: name its image to run it without one")
        run = Run(
            root="",
            mounts=tuple(map(Mount.parse, self.mounts)),
            env=(*env.items(), *self.env),
            gpus=_GPUS[self.gpus],
            network=self.network,
            options=self.runtime_options,
        )
        return RUNTIMES[self.runtime or "apptainer"]().by_hand(self.image, run, directories)

    def _name(self, source: Source, runtime: Runtime, run: Run) -> str:
        facts = (source.identity(), runtime.name, self.python, TAG, run if runtime.takes == BUNDLE else None)
        return f"container-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"

    def _source(self, target: BuildTarget, site: ContainerSite) -> Source:
        if self.image is None:
            recipe = self._recipe()
            digest = hashlib.sha256(f"{recipe.fingerprint()} {site.platform}".encode()).hexdigest()
            name = re.sub(r"[^a-z0-9]+", "-", recipe.context.resolve().name.lower()).strip("-") or "image"
            tag = f"localhost/slurm-tasks/{name}:{digest[:16]}"
            return CachedImage(Builder.find(self.builder), tag, recipe, digest, self.registry)
        if self.image.startswith(("/", "~/")):
            return File(self.image)
        reference = Reference.parse(self.image)
        if reference.registry != "localhost":
            return Tagged(pinned(target, site, reference))
        builder = Builder.find(self.builder)
        image_id = builder.image_id(self.image)
        if image_id is None:
            raise EnvironmentNotReady(f"{builder.program} has no local image {self.image}")
        return CachedImage(builder, self.image, digest=image_id, registry=self.registry)

    def _recipe(self) -> Containerfile:
        return Containerfile.find(self.dockerfile, self.context, self.build_args)

    def _run(self, target: BuildTarget, site: ContainerSite) -> Run:
        mounts = map(Mount.parse, self.mounts)
        return Run(
            root=target.root,
            mounts=tuple(Mount(site.expanded(m.source), site.expanded(m.target), m.readonly) for m in mounts),
            env=self.env,
            gpus=_GPUS[self.gpus],
            workdir=site.expanded(self.workdir) if self.workdir else None,
            network=self.network,
            options=self.runtime_options,
        )

    def _lacks_python(
        self, target: BuildTarget, site: ContainerSite, runtime: Runtime, image: Image, run: Run
    ) -> str | None:
        """Return why an image has no Python for tasks; None if it has one, or if this is unknown on this host.

        Raises EnvironmentNotReady for what cannot work on a node, and PythonNotFound unless only a program needs it.
        """
        if runtime.program in site.runtimes:
            launched = shlex.join(["bash", "-c", launcher(runtime, image, run), "container"])
            ready = in_bash(target, launched, timeout=_PULL_SECONDS)
            if ready.status != 0:
                raise EnvironmentNotReady(f"cannot get {image.source} there: {ready.words}")
            try:
                if self.python:
                    self._check_python(target, launched, image)
            except PythonNotFound as error:
                if not target.for_program:
                    raise
                return str(error)
        return None if self.python else _NO_PYTHON.format(image=image.source)

    def _check_python(self, target: BuildTarget, launched: str, image: Image) -> None:
        """Check the version of the Python in an image. Raises EnvironmentNotReady for what cannot work on a node."""
        python = self.python or ""
        done = in_bash(target, f"{launched} {shlex.join([python, '-c', _VERSION])} 2>&1 < /dev/null", timeout=600)
        found = re.search(r"^Python (\d+\.\d+)$", done.stdout, re.MULTILINE)
        if found and found[1] != TAG:
            what = f"has Python {found[1]}, and this program runs on Python {TAG} and needs the same version there"
            raise PythonNotFound(
                f"{image.source} {what}: use another image, or name that Python in it (python='python{TAG}')"
            )
        if not found and "exec format error" in done.words.lower():
            raise EnvironmentNotReady(f"{image.source} is for another architecture than the cluster's: {done.words}")
        if not found and re.search(rf"{re.escape(python)}.*(not found|no such file)", done.words, re.IGNORECASE):
            raise PythonNotFound(f"{image.source} has no {python}: {done.words}")
        if not found:  # it may work on nodes, although it does not work on this host
            _log.warning(
                "cannot run %s on the host that submits jobs; nodes may be able to: %s", image.source, done.words
            )

    def _launched(
        self,
        target: BuildTarget,
        prepared: ResolvedEnvironment,
        site: ContainerSite,
        runtime: Runtime,
        run: Run,
        *,
        send: Callable[..., dict[str, str]],
    ) -> ResolvedEnvironment:
        """Add the launcher that runs the image on a node, and the Python outside it. `send` sends the launcher.

        Raises PythonNotFound if there is no Python that can run the task or the runner.
        """
        if prepared.no_python and not target.for_program:
            raise PythonNotFound(prepared.no_python)
        image = Image(prepared.image or "", prepared.digest or "")
        script = launcher(runtime, image, run._replace(shell=prepared.program))
        with tempfile.TemporaryDirectory(prefix="slurm-tasks-launcher-") as directory:
            file = Path(directory, "container.sh")
            file.write_text(script, encoding="utf-8")
            launch = send(target, {file.name: file})[file.name]
        setup = (*target.interpreter.setup, f"bash {shlex.quote(launch)}")
        if prepared.no_python:
            return prepared.replace(setup=setup, python=find(target).python, program=launch)
        try:
            outside = find(target).python
        except PythonNotFound:
            outside = "python3"
        single, is_step = runtime.single(site.srun), runtime.is_step or None
        return prepared.replace(setup=setup, launch=("bash", launch), outside=outside, single=single, is_step=is_step)


def _copy_shell(building: Building) -> None:
    """Store the cluster's shell, with its libraries, beside an image that has none.

    Raises EnvironmentNotReady if the copy does not run.
    """
    script = program(__name__, "copy_shell.sh")
    done = building.target.transport.run(["sh", "-c", script, "sh", f"{building.directory}/{_SHELL}"], timeout=60)
    if done.status != 0:
        raise EnvironmentNotReady(f"cannot copy the shell of the cluster, which starts programs: {done.words}")
