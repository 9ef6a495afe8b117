"""Script: the program of a procedure. A file, a text, or a file in a repository, read when a procedure is prepared."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from slurm.environments.sources import is_project
from slurm.procedures.errors import ScriptError
from slurm.procedures.git import checked_url, files_of, find_commit
from slurm.protocol.procedures import ScriptRecord

if TYPE_CHECKING:
    from typing_extensions import Self

_MOST_BYTES = 1 << 20


class Script(NamedTuple):
    """The program of a procedure. Make one with `file`, `text` or `git`; it is read when a procedure is prepared."""

    kind: str
    path: str
    source: str | None = None
    """The text, or the URL of the repository."""
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None
    environment: bool = True

    @classmethod
    def file(cls, path: str | os.PathLike[str]) -> Self:
        """Make a script of a local file, which is read when a procedure is prepared. Later changes do not matter."""
        return cls("file", os.path.abspath(os.path.expanduser(path)))

    @classmethod
    def text(cls, text: str, name: str = "script.py") -> Self:
        """Make a script of a text. Tracebacks show `name` as its file name."""
        return cls("text", name, text)

    @classmethod
    def git(
        cls,
        url: str,
        path: str,
        *,
        branch: str | None = None,
        tag: str | None = None,
        commit: str | None = None,
        environment: bool = True,
    ) -> Self:
        """Make a script of a file in a git repository, from a branch, a tag or a commit, by default from HEAD.

        The branch or tag is looked up when a procedure is prepared. If the repository has a pyproject.toml, the script
        runs in an environment with this project and its dependencies, which is built once for each commit; with
        `environment=False`, it does not. Raises ScriptError.
        """
        if sum(each is not None for each in (branch, tag, commit)) > 1:
            raise ScriptError("name one of branch, tag and commit")
        clean = os.path.normpath(path)
        if clean.startswith(("/", "..")) or not path:
            raise ScriptError(f"{path!r} is not the path of a file in a repository")
        return cls("git", clean, checked_url(url), branch, tag, commit, environment)

    def read(self) -> ScriptRecord:
        """Read the script, and check that it can be parsed. Raises ScriptError."""
        if self.kind == "git":
            return self._read_commit()
        return self._read(self._bytes())

    def _read_commit(self) -> ScriptRecord:
        url = str(self.source)
        commit = find_commit(url, branch=self.branch, tag=self.tag, commit=self.commit)
        files = files_of(url, commit)
        file = files / self.path
        if file.is_symlink() or not file.is_file():
            raise ScriptError(f"commit {commit} of {url} has no file {self.path}")
        return self._read(file.read_bytes()).replace(
            digest=commit,
            repository=url,
            asked=self.branch or self.tag or self.commit or "HEAD",
            project=self.environment and is_project(str(files)),
        )

    def _read(self, data: bytes) -> ScriptRecord:
        if len(data) > _MOST_BYTES:
            raise ScriptError(f"{self.path} has {len(data)} bytes: a script has at most {_MOST_BYTES}")
        try:
            text = data.decode()
            compile(text, self.path, "exec", dont_inherit=True)
        except UnicodeDecodeError as error:
            raise ScriptError(f"{self.path} is not text in UTF-8: {error}") from error
        except (SyntaxError, ValueError) as error:
            raise ScriptError(f"{self.path} is not valid Python: {_where(error)}") from error
        return ScriptRecord(kind=self.kind, path=self.path, digest=hashlib.sha256(data).hexdigest(), text=text)

    def _bytes(self) -> bytes:
        try:
            if self.kind == "text":
                return str(self.source).encode()
            with open(self.path, "rb") as file:
                return file.read()
        except UnicodeEncodeError as error:
            raise ScriptError(f"{self.path} is not text in UTF-8: {error}") from error
        except OSError as error:
            raise ScriptError(f"the script {self.path} cannot be read: {error.strerror or error}") from error


def _where(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    return f"line {line}: {error.msg}" if line and isinstance(error, SyntaxError) else str(error)
