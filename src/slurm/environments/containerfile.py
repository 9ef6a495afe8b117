"""Build images on this machine from a Containerfile (Dockerfile), with podman, docker or buildah."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from slurm.environments.sources import read_files, source_files
from slurm.errors import BuildFailed, ConfigurationError, EnvironmentNotReady

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMES = ("Containerfile", "Dockerfile")
_IGNORES = (".containerignore", ".dockerignore")
_BUILDERS = ("podman", "docker", "buildah")
_TAIL_LINES = 20


class Containerfile(NamedTuple):
    """A Containerfile, its context (the files that it can copy), and build arguments."""

    file: Path
    context: Path
    build_args: tuple[tuple[str, str], ...] = ()

    @classmethod
    def find(cls, file: str | None, context: str | None, build_args: tuple[tuple[str, str], ...] = ()) -> Containerfile:
        """Find the named Containerfile, or the Containerfile of a context. Raises ConfigurationError."""
        directory = Path(context) if context else Path(str(file)).parent
        files = [Path(file)] if file else [directory / name for name in NAMES]
        found = next((path for path in files if path.is_file()), None)
        if found is None:
            raise ConfigurationError(f"there is no {' or '.join(map(str, files))} to build an image from")
        if not directory.is_dir():
            raise ConfigurationError(f"{directory}, the context of {found}, is not a directory")
        return cls(found, directory, build_args)

    def files(self) -> Sequence[str]:
        """Return the sorted paths of the context's files.

        .containerignore or .dockerignore excludes files. Without them, these are the files that git tracks or would
        add, or all except .git if the context is not in a repository.
        """
        ignored = next((self.context / name for name in _IGNORES if (self.context / name).is_file()), None)
        if ignored is not None:
            return sorted(_not_ignored(self.context, Ignored(ignored.read_text(encoding="utf-8"))))
        return [name for name in source_files(str(self.context)) if os.path.lexists(self.context / name)]

    def fingerprint(self) -> str:
        """Return a hash of the Containerfile, the context and the build arguments."""
        whole = hashlib.sha256(repr(self.build_args).encode())
        for name, (kind, content) in read_files(str(self.context), self.files()).items():
            whole.update(repr((name, kind, content)).encode())
        whole.update(self.file.read_bytes())
        return whole.hexdigest()

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """Copy the hashed files to a directory, so that nothing else can get into the image."""
        with tempfile.TemporaryDirectory(prefix="slurm-tasks-context-") as directory:
            for name in self.files():
                target = Path(directory, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = self.context / name
                if source.is_dir() and not source.is_symlink():  # a nested repository
                    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(".git"))
                else:
                    shutil.copy2(source, target, follow_symlinks=False)
            yield Path(directory)


def _not_ignored(context: Path, ignored: Ignored) -> Iterator[str]:
    for directory, names, files in os.walk(context):
        if directory == str(context) and ".git" in names:
            names.remove(".git")
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in (*files, *links):
            path = os.path.relpath(os.path.join(directory, name), context)
            if path not in ignored:
                yield path


class Ignored:
    """The patterns of a .dockerignore. The last pattern that matches a path, or a parent directory of it, decides."""

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        self._patterns = [
            (not line.startswith("!"), _pattern(line.lstrip("!").strip())) for line in lines if line and line[0] != "#"
        ]

    def __contains__(self, path: str) -> bool:
        parts = path.split("/")
        ways = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        out = False
        for leaves_out, pattern in self._patterns:
            if out is not leaves_out and any(pattern.fullmatch(way) for way in ways):
                out = leaves_out
        return out


def _pattern(text: str) -> re.Pattern[str]:
    """Translate a pattern of Go's filepath.Match, extended by ** for any number of directories."""
    parts = re.findall(r"\*\*/?|\*|\?|\[\^?[^]]*\]|\\.|.", os.path.normpath(text).lstrip("/"))
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            known.get(part) or (part if len(part) > 2 and part[0] == "[" else re.escape(part[-1])) for part in parts
        )
    )


class Builder(NamedTuple):
    """The program that builds and stores images on this machine."""

    program: str

    @classmethod
    def find(cls, program: str | None) -> Builder:
        """Find the named builder, or the first one installed. Raises EnvironmentNotReady."""
        for name in (program,) if program else _BUILDERS:
            if shutil.which(name):
                return cls(name)
        wanted = program or ", ".join(_BUILDERS)
        raise EnvironmentNotReady(f"no image builder found on this machine ({wanted}): install one")

    def build(self, what: Containerfile, tag: str, *, platform: str, log: Path) -> None:
        """Build an image. Raises BuildFailed."""
        arguments = [f"--build-arg={name}={value}" for name, value in what.build_args]
        with what.staged() as context:
            options = [f"--file={what.file}", f"--tag={tag}", f"--platform={platform}", *arguments]
            self._logged("build", *options, str(context), failure=f"cannot build {what.file}", log=log)

    def push(self, tag: str, name: str, *, plain: bool, log: Path) -> None:
        """Push an image to a registry under a name. Raises BuildFailed."""
        failure = f"cannot push {name}"
        if self.program == "docker":  # its daemon decides which registries use plain HTTP
            self._logged("tag", tag, name, failure=failure, log=log)
            self._logged("push", name, failure=failure, log=log)
        else:
            self._logged("push", f"--tls-verify={str(not plain).lower()}", tag, name, failure=failure, log=log)

    def image_id(self, tag: str) -> str | None:
        """Return the id of a local image, or None."""
        inspect = {"buildah": ("inspect", "--type=image", "--format={{.FromImageID}}")}
        argv = [self.program, *inspect.get(self.program, ("image", "inspect", "--format={{.Id}}")), tag]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = done.stdout.strip().removeprefix("sha256:")
        return f"sha256:{found}" if done.returncode == 0 and found else None

    def save(self, tag: str, file: Path, *, log: Path) -> None:
        """Write an image to a file, as a docker-archive. Raises BuildFailed."""
        failure = f"cannot save {tag}"
        if self.program == "buildah":
            self._logged("push", tag, f"docker-archive:{file}:{tag}", failure=failure, log=log)
        else:
            self._logged("save", "--output", str(file), tag, failure=failure, log=log)

    def flatten(self, tag: str, file: Path, *, log: Path) -> None:
        """Write the file system of an image to a tar file. Raises BuildFailed."""
        failure = f"cannot export {tag}"
        if self.program == "buildah":
            raise EnvironmentNotReady(f"{failure}: buildah cannot; install podman or docker")
        container = f"slurm-tasks-{os.urandom(6).hex()}"
        self._logged("create", f"--name={container}", tag, "true", failure=failure, log=log)
        try:
            self._logged("export", "--output", str(file), container, failure=failure, log=log)
        finally:
            subprocess.run([self.program, "rm", container], capture_output=True, check=False)

    def _logged(self, *arguments: str, failure: str, log: Path) -> None:
        argv = [self.program, *arguments]
        with open(log, "wb") as file:
            status = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False
            ).returncode
        if status != 0:
            output = log.read_text(errors="replace").strip()
            tail = "\n".join(output.splitlines()[-_TAIL_LINES:])
            raise BuildFailed(
                f"{failure} ({self.program}, status {status}):\n{tail}\nWhole output: {log}",
                output=output,
                log=str(log),
            )
