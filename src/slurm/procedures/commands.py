"""Commands and scripts of ska-oso-oet as dataclasses: programs that were written for it can use this service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from slurm.procedures.errors import ScriptError
from slurm.procedures.script import Script
from slurm.procedures.states import ProcedureInput
from slurm.protocol.procedures import MAIN

if TYPE_CHECKING:
    from typing import Protocol

    class ExecutableScript(Protocol):
        """A script of one of the classes of this module."""

        def as_script(self) -> Script:
            """Return the script as a `Script` of this library. Raises ScriptError."""


@dataclass(frozen=True)
class FileSystemScript:
    """A script in a file: `file:///path/to/observe.py`, or a path."""

    script_uri: str

    def as_script(self) -> Script:
        """Return the file as a `Script`. Raises ScriptError for another kind of URI."""
        return Script.file(_path(self.script_uri, "file"))


@dataclass(frozen=True)
class EmbeddedStringScript:
    """A script given as text."""

    script_text: str

    def as_script(self) -> Script:
        """Return the text as a `Script`."""
        return Script.text(self.script_text)


@dataclass(frozen=True)
class GitArgs:
    """A repository, and its commit, or else its branch."""

    git_repo: str
    git_branch: str | None = None
    git_commit: str | None = None


@dataclass(frozen=True)
class GitScript:
    """A script in a repository: `git://scripts/observe.py`, or a path.

    With `create_env`, the project of the repository is installed in the environment of the script.
    """

    script_uri: str
    git_args: GitArgs
    create_env: bool = False

    def as_script(self) -> Script:
        """Return the file in the repository as a `Script`. Raises ScriptError."""
        args = self.git_args
        branch = None if args.git_commit else args.git_branch
        path = _path(self.script_uri, "git").lstrip("/")
        return Script.git(args.git_repo, path, branch=branch, commit=args.git_commit, environment=self.create_env)


@dataclass(frozen=True)
class PrepareProcessCommand:
    """Prepare a script."""

    script: ExecutableScript
    init_args: ProcedureInput = field(default_factory=ProcedureInput)


@dataclass(frozen=True)
class StartProcessCommand:
    """Call a function of a script."""

    process_uid: int
    fn_name: str = MAIN
    run_args: ProcedureInput = field(default_factory=ProcedureInput)
    force_start: bool = False


@dataclass(frozen=True)
class StopProcessCommand:
    """End a script. With `run_abort`, the abort script of the service runs after it."""

    process_uid: int
    run_abort: bool = False


def _path(uri: str, scheme: str) -> str:
    """Return the path of a URI. Raises ScriptError."""
    parts = urlsplit(uri)
    if parts.scheme not in ("", scheme):
        raise ScriptError(f"{uri!r} is no URI of such a script: write {scheme}://PATH")
    return unquote(parts.netloc + parts.path) if parts.scheme else uri
