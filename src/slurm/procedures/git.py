"""Git: find a commit of a repository, and get its files on this machine. Runs the command `git` without prompts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slurm.client_cache import cached
from slurm.procedures.errors import ScriptError
from slurm.protocol.directories import make_private
from slurm.sanitize.redaction import has_password, redacted
from slurm.sanitize.terminal import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SECONDS = 600.0
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAME = re.compile(r"[\w.+@/][\w.+@/-]*")
_URL = re.compile(r"(?:(?:https?|ssh|git|file)://|[\w.-]+@[\w.-]+:|/).+")
_SAFE = (
    *("-c", "protocol.ext.allow=never", "-c", "protocol.fd.allow=never", "-c", "core.hooksPath=/dev/null"),
    *("-c", "fetch.recurseSubmodules=false", "-c", "credential.interactive=false"),
)
"""Settings against programs that a URL names, hooks, submodules and prompts."""
_UNSET = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_ASKPASS", "SSH_ASKPASS")


def checked_url(url: str) -> str:
    """Return the URL of a repository. Raises ScriptError for a password, and for a text that git may misread."""
    if has_password(url):
        raise ScriptError("the URL of the repository contains a password, which would be stored: put it into ~/.netrc")
    if not _URL.fullmatch(url) or "::" in url.partition("/")[0] or not url.isprintable():
        raise ScriptError(
            f"{url!r} is no URL of a repository: write https://…, ssh://…, git@host:… or an absolute path"
        )
    return url


def find_commit(url: str, *, branch: str | None, tag: str | None, commit: str | None) -> str:
    """Return the commit that a branch or a tag of a repository names now; without both, HEAD's. Raises ScriptError."""
    if commit is not None:
        if not _COMMIT.fullmatch(commit):
            raise ScriptError(
                f"commit={commit!r}: write all 40 hexadecimal digits of a commit, or name a branch or a tag"
            )
        return commit
    name = branch or tag
    if name is not None and not _NAME.fullmatch(name):
        raise ScriptError(f"{name!r} is no name of a branch or a tag")
    wanted = f"refs/heads/{branch}" if branch else f"refs/tags/{tag}" if tag else "HEAD"
    found = dict(
        line.split("\t")[::-1] for line in _git(["ls-remote", "--", url, wanted, f"{wanted}^{{}}"]).splitlines()
    )
    commit = found.get(f"{wanted}^{{}}") or found.get(wanted)
    if commit is None:
        what = f"branch {branch!r}" if branch else f"tag {tag!r}" if tag else "HEAD"
        raise ScriptError(f"the repository {url} has no {what}")
    return commit


def files_of(url: str, commit: str) -> Path:
    """Return a directory on this machine with the files of a commit; fetches the commit if it is not here yet.

    Raises ScriptError.
    """
    home = cached("git")
    directory, repository = home / "commits" / commit, home / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.git"
    make_private(str(directory.parent))
    if directory.exists():
        return directory
    with _locked(f"{repository}.lock"):
        if not directory.exists():
            _fetch(url, commit, repository)
            _write(commit, repository, directory)
    return directory


def _fetch(url: str, commit: str, repository: Path) -> None:
    if not repository.exists():
        _git(["init", "--quiet", "--bare", "--", str(repository)])
    at = ["--git-dir", str(repository)]
    known = [*at, "cat-file", "-e", f"{commit}^{{commit}}"]
    if _run(known).returncode == 0:
        return
    fetch = [*at, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]
    if _run([*fetch, "--depth", "1", "--", url, commit]).returncode != 0:  # some servers offer only branches and tags
        _git([*fetch, "--", url, "+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"])
    if _run(known).returncode != 0:
        raise ScriptError(f"the repository {url} has no commit {commit}")


def _write(commit: str, repository: Path, directory: Path) -> None:
    """Write the files of a commit; the directory appears with all of its files."""
    scratch = tempfile.mkdtemp(prefix=f".{commit[:12]}-", dir=directory.parent)
    try:
        files, index = f"{scratch}/files", {"GIT_INDEX_FILE": f"{scratch}/index"}
        os.mkdir(files)
        at = ["-C", files, "--git-dir", str(repository), "--work-tree", files]
        _git([*at, "read-tree", commit], index)
        _git([*at, "checkout-index", "--all"], index)
        os.rename(files, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Lock a repository, so that only one process at a time fetches into it."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _git(arguments: list[str], more: Mapping[str, str] | None = None) -> str:
    """Run git; return its output. Raises ScriptError."""
    done = _run(arguments, more)
    if done.returncode != 0:
        words = redacted(for_terminal(done.stderr.strip())) or f"exit {done.returncode}"
        raise ScriptError(f"git {next(word for word in arguments if word[0] not in '-/')} failed: {words}")
    return done.stdout


def _run(arguments: list[str], more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in _UNSET}
    environ |= {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", **(more or {})}
    environ.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    try:
        return subprocess.run(
            ["git", *_SAFE, *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ScriptError("scripts from git need the command git on this machine, which is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise ScriptError(f"git {' '.join(arguments[:1])} did not end within {_SECONDS:.0f} s") from None
