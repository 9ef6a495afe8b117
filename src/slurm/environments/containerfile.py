"""Images that are built here: from a Containerfile (Dockerfile) by podman, docker or buildah."""

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

from slurm.environments.sources import described, source_files
from slurm.errors import BuildFailed, ConfigurationError, EnvironmentNotReady

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMES = ("Containerfile", "Dockerfile")
_IGNORES = (".containerignore", ".dockerignore")
_BUILDERS = ("podman", "docker", "buildah")
_TAIL_LINES = 20


class Containerfile(NamedTuple):
    """A Containerfile and its context: what can be copied into the image."""

    file: Path
    context: Path
    build_args: tuple[tuple[str, str], ...] = ()

    @classmethod
    def find(cls, file: str | None, context: str | None, build_args: tuple[tuple[str, str], ...] = ()) -> Containerfile:
        """The one that is named, or that of a context. Raises ConfigurationError."""
        directory = Path(context) if context else Path(str(file)).parent
        files = [Path(file)] if file else [directory / name for name in NAMES]
        found = next((path for path in files if path.is_file()), None)
        if found is None:
            message = f"there is no {' or '.join(map(str, files))} to build an image from"
            raise ConfigurationError(message)
        if not directory.is_dir():
            raise ConfigurationError(f"{directory}, the context of {found}, is not a directory")
        return cls(found, directory, build_args)

    def files(self) -> Sequence[str]:
        """The files of the context, by their paths in it, sorted.

        What .containerignore or .dockerignore leaves; without such a file what git would take, or else all but .git.
        """
        ignored = next((self.context / name for name in _IGNORES if (self.context / name).is_file()), None)
        if ignored is not None:
            return sorted(_left(self.context, Ignored(ignored.read_text(encoding="utf-8"))))
        return [name for name in source_files(str(self.context)) if os.path.lexists(self.context / name)]

    def fingerprint(self) -> str:
        """A hash of all that goes in."""
        whole = hashlib.sha256(repr(self.build_args).encode())
        for name in self.files():
            whole.update(repr((name, *described(str(self.context / name)))).encode())
        whole.update(self.file.read_bytes())
        return whole.hexdigest()

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """The context as it was hashed, in a directory of its own: nothing else can get into the image."""
        with tempfile.TemporaryDirectory(prefix="slurm-tasks-context-") as directory:
            for name in self.files():
                target = Path(directory, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = self.context / name
                if source.is_dir() and not source.is_symlink():  # a repository within the repository
                    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(".git"))
                else:
                    shutil.copy2(source, target, follow_symlinks=False)
            yield Path(directory)


def _left(context: Path, ignored: Ignored) -> Iterator[str]:
    for directory, names, files in os.walk(context):
        if directory == str(context) and ".git" in names:
            names.remove(".git")
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in (*files, *links):
            path = os.path.relpath(os.path.join(directory, name), context)
            if path not in ignored:
                yield path


class Ignored:
    """What a .dockerignore leaves out: the last of its patterns that matches a path, or a directory of it, counts."""

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
    """A pattern of Go's filepath.Match, with ** for any number of directories."""
    parts = re.findall(r"\*\*/?|\*|\?|\[\^?[^]]*\]|\\.|.", os.path.normpath(text).lstrip("/"))
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            known.get(part) or (part if len(part) > 2 and part[0] == "[" else re.escape(part[-1])) for part in parts
        )
    )


class Builder(NamedTuple):
    """The program that builds and keeps images on this machine."""

    program: str

    @classmethod
    def find(cls, program: str | None) -> Builder:
        """The one that is named, or the first there is. Raises EnvironmentNotReady."""
        for name in (program,) if program else _BUILDERS:
            if shutil.which(name):
                return cls(name)
        wanted = program or ", ".join(_BUILDERS)
        raise EnvironmentNotReady(f"there is nothing here to build or keep images by ({wanted}): install one of them")

    def build(self, what: Containerfile, tag: str, *, platform: str, log: Path) -> None:
        """Build an image. Raises BuildFailed."""
        arguments = [f"--build-arg={name}={value}" for name, value in what.build_args]
        with what.staged() as context:
            options = [f"--file={what.file}", f"--tag={tag}", f"--platform={platform}", *arguments]
            self._logged("build", *options, str(context), doing=f"{what.file} doesn't build", log=log)

    def push(self, tag: str, name: str, *, plain: bool, log: Path) -> None:
        """Send an image to a registry, under a name. Raises BuildFailed."""
        doing = f"{name} can't be pushed"
        if self.program == "docker":  # which decides itself which registries are plain
            self._logged("tag", tag, name, doing=doing, log=log)
            self._logged("push", name, doing=doing, log=log)
        else:
            self._logged("push", f"--tls-verify={str(not plain).lower()}", tag, name, doing=doing, log=log)

    def image_id(self, tag: str) -> str | None:
        """The id of an image that is kept here."""
        inspect = {"buildah": ("inspect", "--type=image", "--format={{.FromImageID}}")}
        argv = [self.program, *inspect.get(self.program, ("image", "inspect", "--format={{.Id}}")), tag]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = done.stdout.strip().removeprefix("sha256:")
        return f"sha256:{found}" if done.returncode == 0 and found else None

    def save(self, tag: str, file: Path, *, log: Path) -> None:
        """Write an image to a file, as a docker-archive. Raises BuildFailed."""
        doing = f"{tag} can't be saved"
        if self.program == "buildah":
            self._logged("push", tag, f"docker-archive:{file}:{tag}", doing=doing, log=log)
        else:
            self._logged("save", "--output", str(file), tag, doing=doing, log=log)

    def flatten(self, tag: str, file: Path, *, log: Path) -> None:
        """Write the files of an image, as they are in a container, to a tar file. Raises BuildFailed."""
        doing = f"{tag} can't be exported"
        if self.program == "buildah":
            raise EnvironmentNotReady(f"{doing}: buildah can't; install podman or docker")
        container = f"slurm-tasks-{os.urandom(6).hex()}"
        self._logged("create", f"--name={container}", tag, "true", doing=doing, log=log)
        try:
            self._logged("export", "--output", str(file), container, doing=doing, log=log)
        finally:
            subprocess.run([self.program, "rm", container], capture_output=True, check=False)

    def _logged(self, *arguments: str, doing: str, log: Path) -> None:
        argv = [self.program, *arguments]
        with open(log, "wb") as file:
            status = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False
            ).returncode
        if status != 0:
            output = log.read_text(errors="replace").strip()
            tail = "\n".join(output.splitlines()[-_TAIL_LINES:])
            raise BuildFailed(
                f"{doing} ({self.program}, status {status}):\n{tail}\nAll of it: {log}", output=output, log=str(log)
            )
