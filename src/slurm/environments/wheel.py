"""Wheel: the user's project, built as a wheel and installed with its dependencies in a virtual environment."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import shlex
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from slurm.client_cache import new_log
from slurm.environments import installer
from slurm.environments.base import Environment, to_be_made
from slurm.environments.building import Superseded, build_once, look, send
from slurm.environments.current import TAG, find
from slurm.environments.direct_references import copy_without_urls, versions_of, without_url
from slurm.environments.generated import changed, contains, learn, project_files
from slurm.environments.installer import index_arguments
from slurm.environments.local_packages import check_lock, check_requirements, link
from slurm.environments.setup import render_steps
from slurm.environments.sources import combined_digest, is_project, nearest_project, read_files
from slurm.environments.uv_lock import NAME as UV_LOCK
from slurm.environments.uv_lock import export, lock_of
from slurm.environments.wheel_building import build, build_failed, gather
from slurm.environments.wheel_dependencies import deciding, need_more, refuse_password
from slurm.errors import BuildFailed, ConfigurationError, EnvironmentNotReady
from slurm.protocol import ENVS, ResolvedEnvironment
from slurm.protocol.boot import RUN_MODULE, RUN_SOURCE
from slurm.runner import distributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.environments.base import BuildTarget
    from slurm.environments.building import Building
    from slurm.environments.generated import Files
    from slurm.environments.wheel_building import BuiltWheel

    StrPath = str | os.PathLike[str]

_BUILD_VERSION = 2
"""The version of the build. It changes when the same sources produce another environment."""
_ATTEMPTS = 3
_DEFAULT = ("install_in", "login")
_OWN_PATHS = "unset PYTHONPATH PYTHONHOME"
"""A job inherits the submitter's variables. With these two, it would import the working copy instead of the wheel."""


class Wheel(Environment):
    """The user's project as it is when a task is submitted, installed with its dependencies.

    The wheel is built on this machine. It is installed on the cluster, into a virtual environment under the root that
    all tasks share. An unchanged project costs one command. An edit of the code reinstalls the project only: the
    dependencies live in a separate environment, which is rebuilt only when the requirements change. Modified and
    uncommitted files are included. Files that git ignores are included if the build puts them into the wheel. Functions
    of the project's modules are pickled by reference, functions of a script or notebook by value.

    `project` is the directory of the project. The default is the nearest directory upward from the working directory
    that has a pyproject.toml. `packages` are directories of more projects to install, such as those that the project
    requires by a path. `extras` are extras of the project, `dependencies` more requirements in pip's syntax. `lock` is
    a file of exact versions: a requirements file, used as constraints, or a `uv.lock`. Unless it is an existing path,
    it is looked for beside the project, and a `uv.lock` also in the project's workspace.

    Dependencies come from the index that pip is configured for on the cluster, or from `index_url`, `extra_index_url`
    and `find_links`. For a cluster without Internet, `wheelhouse` uploads the wheels: True downloads them on this
    machine, a path names a directory that has them. They are installed where the scheduler's commands run, or, with
    `install_in="job"`, in a job with the account and partition of the task. With `system_site_packages` the environment
    sees the packages of its base Python, such as the Python of a Conda before it in a list.
    """

    local_paths = ("project", "packages", "wheelhouse", "lock")

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        project: StrPath | None = None,
        *,
        packages: Sequence[StrPath] | StrPath = (),
        extras: Sequence[str] | str = (),
        dependencies: Sequence[str] | str = (),
        lock: StrPath | None = None,
        index_url: str | None = None,
        extra_index_url: Sequence[str] | str = (),
        find_links: Sequence[str] | str = (),
        wheelhouse: bool | StrPath = False,
        install_in: Literal["login", "job"] = "login",
        system_site_packages: bool = False,
    ) -> None:
        if install_in not in {"login", "job"}:
            raise ConfigurationError(f"Wheel(install_in={install_in!r}): expected 'login' or 'job'")
        for url in filter(None, [index_url, *_texts(extra_index_url), *_texts(find_links), *_texts(dependencies)]):
            refuse_password(url, "a URL")
        self.project = os.fspath(project) if project is not None else None
        self.packages = _texts(packages)
        self.extras = _texts(extras)
        self.dependencies = _texts(dependencies)
        self.lock = os.fspath(lock) if lock is not None else None
        self.index_url = index_url
        self.extra_index_url = _texts(extra_index_url)
        self.find_links = _texts(find_links)
        self.wheelhouse = wheelhouse if isinstance(wheelhouse, bool) else os.fspath(wheelhouse)
        self.install_in: str = install_in
        self.system_site_packages = system_site_packages

    def __repr__(self) -> str:
        shown = {name: value for name, value in vars(self).items() if value and (name, value) != _DEFAULT}
        return f"Wheel({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def fingerprint(self) -> str:
        """Return a hash of everything that goes into the environment. Reads only changed sources."""
        return self._fingerprint(self._files())

    def _fingerprint(self, files: Sequence[Files]) -> str:
        parts = [_BUILD_VERSION, TAG, sys.platform, [combined_digest(each) for each in files]]
        return _digest([*parts, self._settings(), self._lock_text()])

    def _files(self) -> list[Files]:
        """The files of each project, with their hashes."""
        return [project_files(project) for project in self._projects()]

    def _settings(self) -> list[Any]:
        """The arguments, except the projects and the lock file."""
        given = read_files("", map(str, self._given_wheels()))
        wheels = [(os.path.basename(path), *found) for path, found in given.items()]
        sources = [self.index_url, self.extra_index_url, self.find_links, bool(self.wheelhouse), wheels]
        return [self.extras, self.dependencies, sources, self.install_in, self.system_site_packages]

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        """Build the environment unless it exists. Raises BuildFailed, PythonNotFound."""
        changes = _SourcesChanged()
        with tempfile.TemporaryDirectory(prefix="slurm-wheel-") as scratch:
            for _ in range(_ATTEMPTS):
                files = self._files()
                sources = self._fingerprint(files)
                name = self._name(sources, target)
                wheels = changes.wheels if changes.sources == sources else ()
                try:
                    return build_once(target, name, partial(self._make, scratch, sources, files, wheels))
                except _SourcesChanged as found:
                    changes = found
        paths = ", ".join(changes.paths) or "its sources"
        raise BuildFailed(
            f"{self!r} could not be built, because each build changes {paths}, or another program does. Let git ignore "
            "what is written there"
        )

    def planned(self, target: BuildTarget) -> ResolvedEnvironment:
        """Look for the environment of the current sources. Raises ConfigurationError for an invalid project."""
        key, made = look(target, self._name(self.fingerprint(), target))
        return made or to_be_made(key, target.interpreter.setup)

    def _name(self, sources: str, target: BuildTarget) -> str:
        return f"wheel-{_digest([sources, target.interpreter])[:20]}-py{TAG}"

    def _projects(self) -> list[str]:
        main = os.path.expanduser(self.project) if self.project is not None else nearest_project()
        projects = [os.path.abspath(path) for path in (main, *map(os.path.expanduser, self.packages))]
        for path in projects:
            if not is_project(path):
                raise ConfigurationError(f"Wheel: {path} is not a project: it has no pyproject.toml")
        return projects

    def _given_wheels(self) -> list[Path]:
        """The wheels in the directory `wheelhouse`; none for a bool. Raises ConfigurationError if it is missing."""
        if isinstance(self.wheelhouse, bool):
            return []
        directory = Path(self.wheelhouse).expanduser()
        if not directory.is_dir():
            raise ConfigurationError(f"Wheel(wheelhouse={self.wheelhouse!r}): there is no such directory")
        return sorted(directory.glob("*.whl"))

    def _lock_path(self) -> str | None:
        if self.lock is None:
            return None
        path, project = os.path.expanduser(self.lock), self._projects()[0]
        beside = os.path.join(project, path)
        if os.path.basename(path) != path and os.path.exists(path):
            return path
        if os.path.exists(beside):
            return beside
        return (lock_of(project) if os.path.basename(path) == UV_LOCK else None) or path

    def _lock_text(self) -> str | None:
        path = self._lock_path()
        if path is None:
            return None
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"Wheel(lock={self.lock!r}): {error.strerror}") from error
        refuse_password(text, f"a URL in {path}")
        return text

    def _make(
        self, scratch: str, sources: str, files: Sequence[Files], wheels: Sequence[BuiltWheel], building: Building
    ) -> ResolvedEnvironment:
        python = find(building.target)
        python = python.replace(setup=(_OWN_PATHS, *python.setup))
        log = new_log(building.key)
        wheels = wheels or self._built(building, scratch, log, sources, files)
        projects = dict(zip(self._projects(), wheels, strict=True))
        check_requirements(projects, self.extras, self.dependencies, lock=self.lock)
        wheels = link(wheels, Path(scratch, "linked"))
        work = _Work(python, wheels, self._constraints(log), scratch, log)
        base = self._dependencies(building, work)
        made = self._installed(building, work, dependencies=base)
        programs = shlex.quote(os.path.dirname(made.python))
        return made.replace(
            setup=(*made.setup, f'export PATH={programs}:"$PATH"'),
            packages=tuple(f"{wheel.name}=={wheel.version}" for wheel in wheels),
            modules=tuple(sorted({module for wheel in wheels for module in wheel.modules})),
            below=base.key if base else None,
        )

    def _dependencies(self, building: Building, work: _Work) -> ResolvedEnvironment | None:
        """Build the environment with the dependencies, which edits of the code do not change."""
        if not self.dependencies and not need_more(work.wheels, extras=bool(self.extras)):
            return None
        base = [work.base.python, work.base.setup]
        digest = _digest([_BUILD_VERSION, TAG, base, self._settings(), work.constraints, deciding(work.wheels)])
        make = partial(self._installed, work=work, only_dependencies=True)
        return building.base(f"dependencies-{digest[:20]}-py{TAG}", make)

    def _built(
        self, building: Building, scratch: str, log: Path, sources: str, files: Sequence[Files]
    ) -> list[BuiltWheel]:
        """Build the wheels. Raises _SourcesChanged if files differ from `sources`, before the build or during it."""
        if self.fingerprint() != sources:  # while this process waited for another
            raise _SourcesChanged
        projects, wheels = self._projects(), []
        for project in projects:
            building.step(f"building the wheel of {project}")
            wheels.append(build(project, tempfile.mkdtemp(dir=scratch), log))
            learn(project, wheels[-1].path)
        after = self._files()
        found = self._fingerprint(after)
        if found == sources:
            return wheels
        # A build may write files, such as a file with the version. They are harmless if the wheel has their content.
        different = [
            os.path.join(project, name)
            for project, wheel, old, new in zip(projects, wheels, files, after, strict=True)
            for name, content in changed(project, old, new).items()
            if not contains(wheel.path, name, content)
        ]
        raise _SourcesChanged(different) if different else _SourcesChanged((), found, wheels)

    def _with_extras(self, wheels: Sequence[BuiltWheel]) -> list[tuple[str, BuiltWheel]]:
        first, *others = wheels
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return [(f"{first.name}{extras}", first), *((wheel.name, wheel) for wheel in others)]

    def _constraints(self, log: Path) -> str | None:
        path = self._lock_path()
        if path is None or os.path.basename(path) != UV_LOCK:
            return self._lock_text()
        projects = self._projects()
        own = lock_of(projects[0])
        if own is None or not os.path.samefile(own, path):
            raise ConfigurationError(f"Wheel(lock={self.lock!r}): {path} is not the lock of {projects[0]}")
        constraints, paths = export(projects[0], self.extras, log)
        check_lock(path, paths, projects, self.dependencies)
        return constraints

    def _dependency_wheels(self, building: Building, work: _Work) -> Sequence[Path]:
        """The wheels to upload besides the wheels of the projects."""
        if self.wheelhouse is not True:
            return self._given_wheels()
        here = platform.machine() if sys.platform == "linux" else sys.platform
        if here != building.machine:
            raise EnvironmentNotReady(
                f"wheelhouse=True gathers wheels for machines like this one ({here}), and the cluster is "
                f"{building.machine}: fill a directory with `pip download --platform …`, and pass it: wheelhouse='…'"
            )
        building.step("gathering the wheels of the dependencies")
        requirements = [f"{named} @ {wheel.path.as_uri()}" for named, wheel in self._with_extras(work.wheels)]
        requirements += [*self.dependencies, *index_arguments(vars(self))]
        if work.constraints is not None:
            file = Path(work.scratch, "constraints.txt")
            file.write_text(work.constraints)
            requirements.append(f"--constraint={file}")
        found = gather(requirements, os.path.join(work.scratch, "wheelhouse"), work.log)
        own = {wheel.path.name for wheel in work.wheels}
        return [path for path in found if path.name not in own]

    def _installed(
        self,
        building: Building,
        work: _Work,
        *,
        only_dependencies: bool = False,
        dependencies: ResolvedEnvironment | None = None,
    ) -> ResolvedEnvironment:
        """Run the installer for everything, for the dependencies, or for the projects on top of the dependencies."""
        wheelhouse = () if dependencies else self._dependency_wheels(building, work)
        building.step("uploading missing wheels")
        request = self._request(building, work, wheelhouse)
        request |= {"only_dependencies": only_dependencies, "base_python": dependencies and dependencies.python}
        what = "installing the dependencies" if only_dependencies else "installing"
        made = self._run_installer(building, work.base, request, what)
        return ResolvedEnvironment(
            key=building.key, python=made["python"], tag=TAG, setup=work.base.setup, digest=made["digest"]
        )

    def _request(self, building: Building, work: _Work, wheelhouse: Sequence[Path]) -> dict[str, Any]:
        """Upload the wheels, and return the installer's request. Wheels of `wheelhouse` replace URLs of packages."""
        target, versions, copies = building.target, versions_of(wheelhouse), Path(work.scratch, "without-urls")
        wheels = [copy_without_urls(wheel.path, copies, versions) for wheel in work.wheels]
        wheelhouse = [copy_without_urls(path, copies, versions) for path in wheelhouse]
        lines = None if work.constraints is None else work.constraints.splitlines()
        return {
            **vars(self),
            "directory": building.directory,
            "log": f"{target.root}/{ENVS}/{building.key}.log",
            "wheels": send(target, {path.name: path for path in wheels}),
            "wheelhouse": send(target, {path.name: path for path in wheelhouse}),
            "projects": [(named, wheel.path.name) for named, wheel in self._with_extras(work.wheels)],
            "dependencies": [without_url(text, versions) for text in self.dependencies],
            "constraints": None if lines is None else "\n".join(without_url(line, versions) for line in lines),
            "offline": self.wheelhouse is not False,
            "run_module": RUN_MODULE,
            "run_source": RUN_SOURCE,
            "digest": f"{inspect.getsource(distributions)}\nprint(distributions_digest())\n",
        }

    def _run_installer(
        self, building: Building, base: ResolvedEnvironment, request: Mapping[str, Any], what: str
    ) -> Mapping[str, str]:
        target, data = building.target, json.dumps(request).encode()
        argv = [base.python, "-c", RUN_SOURCE, inspect.getsource(installer)]
        if self.install_in == "job":
            building.step(f"{what}, in a job")
            done = target.run_in_job(base, argv, data)
        else:
            building.step(what)
            script = "\n".join(["{", *render_steps(base.setup), '} >&2; [ -z "$step" ] && exec "$0" "$@"'])
            done = target.transport.run(["bash", "-c", script, *argv], stdin=data)
        if done.status != 0:
            raise build_failed(f"{self!r} could not be installed", done.stderr, request["log"], remote=True)
        found: Mapping[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found


class _Work(NamedTuple):
    """The inputs of a build."""

    base: ResolvedEnvironment
    wheels: Sequence[BuiltWheel]
    constraints: str | None
    scratch: str
    """A temporary directory of this machine."""
    log: Path


class _SourcesChanged(Superseded):
    """The sources changed, so the environment needs another name. The wheels, if any, were built from `sources`."""

    def __init__(self, paths: Sequence[str] = (), sources: str = "", wheels: Sequence[BuiltWheel] = ()) -> None:
        super().__init__(*paths)
        self.paths, self.sources, self.wheels = paths, sources, wheels


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _texts(value: Sequence[StrPath] | StrPath) -> tuple[str, ...]:
    return tuple(os.fspath(item) for item in ((value,) if isinstance(value, (str, os.PathLike)) else value))
