"""The runner's zip: cloudpickle and the part of this package that nodes use, in one content-addressed file."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import io
import marshal
import os
import subprocess
import sys
import zipfile
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from slurm.client_cache import cached
from slurm.errors import UntrustedFile
from slurm.protocol.client_only import PACKAGES
from slurm.protocol.directories import make_private
from slurm.protocol.files import open_own, replace
from slurm.protocol.packed import CODES, NODE, NODE_CODES, SOURCES, pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MAIN = """\
import os, sys
from slurm.runner.main import main
sys.path.append(os.getcwd())
sys.exit(main(sys.argv[1:]))
"""
_COMPILE_TEXTS = """\
import ast, marshal
def compiled(name, text):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return marshal.dumps(compile(tree, name, "exec", dont_inherit=True, optimize=2))
codes = {name: compiled(name, text) for name, text in texts.items()}
"""
"""Annotations of functions are left out: nothing reads those of this package on a node, and they are 4 % of the zip."""
_COMPILE = f"""\
import marshal, sys
texts = marshal.load(sys.stdin.buffer)
{_COMPILE_TEXTS}
marshal.dump(codes, sys.stdout.buffer)
"""
_UNCHECKED_HASH = b"\x01\x00\x00\x00" + bytes(8)
"""A pyc header that says "never compare with the source" (PEP 552), so that the bytes depend on the source alone."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_CLIENT_ONLY = (
    *(f"{package.partition('.')[2].replace('.', '/')}/" for package in PACKAGES),
    *(
        "cli/",
        "doctor/",
        "pools/",
        "server/",
        "schedulers/survey.",
        "schedulers/slurm_survey.py",
        "slurmfile/draft.py",
        "options/types.py",
    ),
    *(
        "clusters/chain.py",
        "clusters/environment_cleanup.py",
        "clusters/list_environments.sh",
        "clusters/list_space.sh",
        "clusters/pool.py",
    ),
    *("clusters/remove_", "views/notebook.py", "views/similar_errors.py"),
    *("jobs/facts.py", "reuse/explanation.py", "sanitize/moments.py"),
    *("clusters/job_cleanup.py", "views/advice.py", "views/efficiency.py", "views/watching.py"),
    *("clusters/joblib_backend.py", "jobs/replay.py", "jobs/selection.py", "transports/stream.py"),
    *("notifications/pool_subscriptions.py", "tracking/elastic_pools."),
)
"""Prefixes of the files that nodes do not use. A workflow may use all other files."""
_USED = (
    *("procedures/__init__.py", "sweeps/__init__.py", "compat/submitit/__init__.py", "compat/submitit/call.py"),
    *("compat/submitit/core/", "compat/submitit/helpers.py", "compat/submitit/job_environment.py"),
    *("pools/__init__.py", "pools/pool_files.py"),
)
"""Prefixes of the files in packages of the client that nodes do use."""
_LOADED_AT_START = (
    *("__main__.py", "cloudpickle/", "slurm/__init__.py", "slurm/errors.py", "slurm/version.py"),
    *("slurm/callbacks/__init__.py", "slurm/callbacks/base.py", "slurm/callbacks/events.py"),
    *("slurm/options/__init__.py", "slurm/options/values.py", "slurm/protocol/", "slurm/runner/"),
    *("slurm/tasks/", "slurm/sanitize/", "slurm/tracebacks.py"),
)
"""Prefixes of the modules that tasks load. They are stored: inflating them would need zlib at each start."""
_LOADED_SELDOM = (
    *("slurm/runner/gathering.py", "slurm/runner/nodelist.py", "slurm/runner/ranks.py", "slurm/runner/workflow_"),
    *("slurm/runner/launcher_variables.py", "slurm/runner/debugger.py", "slurm/runner/resumed.py"),
    *("slurm/runner/metrics.py", "slurm/runner/sent_modules.py"),
    *("slurm/runner/reducers.py", "slurm/runner/reconstructors.py", "slurm/runner/script_main.py"),
    *("slurm/runner/value_pickler.py", "slurm/runner/journal.py"),
    *("slurm/runner/attempt_directory.py", "slurm/runner/command", "slurm/runner/finished.py"),
    *("slurm/runner/linked_files.py", "slurm/runner/mpi.py", "slurm/runner/put_loader.py", "slurm/runner/program.py"),
    *("slurm/runner/template.py", "slurm/protocol/digests.py", "slurm/protocol/summary.py", "slurm/tasks/command.py"),
    *("slurm/protocol/claims.py", "slurm/protocol/frames.py", "slurm/protocol/pools.py", "slurm/runner/checkpoint.py"),
    *("slurm/protocol/checking.py", "slurm/protocol/client_only.py", "slurm/protocol/ranges.py"),
    *(
        "slurm/runner/initializer.py",
        "slurm/runner/parallel_calls.py",
        "slurm/runner/pools/",
        "slurm/tasks/context_parameter.py",
    ),
    *("slurm/runner/child.py", "slurm/runner/chunk.py", "slurm/sanitize/terminal.py", "slurm/protocol/messages.py"),
    *("slurm/runner/inbox.py", "slurm/runner/procedures/", "slurm/protocol/procedures.py"),
)
"""Prefixes of modules that only few tasks load: debuggers, workflows, ranks, workers, special functions, child
processes, commands."""


class RunnerZip(NamedTuple):
    """The zip's bytes, and its name among the blobs."""

    name: str
    data: bytes


_writing: ContextVar[bool] = ContextVar("slurm-writing", default=True)


@contextlib.contextmanager
def without_writing() -> Iterator[None]:
    """Within this context, keep `bundle` from writing its cache in this thread."""
    token = _writing.set(False)
    try:
        yield
    finally:
        _writing.reset(token)


def bundle() -> RunnerZip:
    """Return the zip for this process's Python. Builds it once for each state of the sources and caches it.

    A process on a node that itself runs from such a zip returns that zip. A cached file that other users could have
    written is ignored.
    """
    found, digest = made()
    if digest not in _cached and _writing.get():
        _cached.add(digest)
        with contextlib.suppress(OSError):  # without a writable cache, each process builds it
            path = cached(f"{digest}-runner.zip")
            make_private(str(path.parent))
            replace(str(path), found.data)
    return found


_cached = {""}
"""Digests of the sources whose zip needs no file in the cache, or has one; "" on a node."""


@lru_cache(maxsize=1)
def made() -> tuple[RunnerZip, str]:
    """Return the zip, made or from the cache, and the digest of its sources."""
    archive = getattr(getattr(sys.modules[__name__], "__loader__", None), "archive", None)
    if archive is not None:
        return RunnerZip(Path(archive).name, Path(archive).read_bytes()), ""
    sources = dict(_sources())
    digest = hashlib.sha256(repr((sys.implementation.cache_tag, sorted(sources.items()))).encode()).hexdigest()
    try:
        with open_own(str(cached(f"{digest}-runner.zip"))) as file:
            data = file.read()
        _cached.add(digest)
    except (OSError, UntrustedFile):
        _cached.discard(digest)
        data = _build(sources)
    return _named(data), digest


def _named(data: bytes) -> RunnerZip:
    """Name the zip by its SHA-256, so that a client can check that the blob on the cluster equals its own zip."""
    return RunnerZip(f"{hashlib.sha256(data).hexdigest()}-runner.zip", data)


def _sources() -> Iterator[tuple[str, bytes]]:
    """Yield the name in the zip and the bytes of each file: modules, and the shell programs beside them."""
    for package in (Path(__file__).parents[1], Path(cloudpickle.__file__).parent):
        for path in sorted(path for path in package.rglob("*") if path.suffix in {".py", ".sh"}):
            name = path.relative_to(package).as_posix()
            if name.startswith(_USED) or not name.startswith(_CLIENT_ONLY):
                yield path.relative_to(package.parent).as_posix(), path.read_bytes()
    yield "__main__.py", _MAIN.encode()


def _build(sources: dict[str, bytes]) -> bytes:
    """Build the zip. It holds each module compiled for the client's minor version, and as source for any other.

    Both are without docstrings, which nobody reads on a node. Modules that few tasks need are packed.
    """
    texts = {
        name: without_comments(source, ast.parse(source)) if name.endswith(".py") else source
        for name, source in sorted(sources.items())
    }
    codes = _compiled({name: text for name, text in texts.items() if name.endswith(".py")})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in filter(_is_stored, texts):
            _add(archive, name, texts[name], zipfile.ZIP_DEFLATED)
            if name in codes:
                code = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + codes[name]
                _add(archive, f"{name}c", code, zipfile.ZIP_STORED)
        packed = {name: data for name, data in texts.items() if not _is_stored(name)}
        _add(archive, SOURCES, pack(packed), zipfile.ZIP_STORED)
        for member, on_node in (CODES, False), (NODE_CODES, True):
            some = {name: codes[name] for name in packed if name in codes and name.startswith(NODE) is on_node}
            _add(archive, member, pack(some), zipfile.ZIP_STORED)
    return buffer.getvalue()


def _compiled(texts: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Compile modules without the columns that tracebacks underline: with them, the zip is a fifth larger.

    Only a new interpreter can leave the columns out. If none can be started (Python is embedded), this interpreter
    compiles. The seed of hashes is fixed, because Python 3.10 writes constant sets in the order of their hashes.
    """
    argv = [sys.executable, "-X", "no_debug_ranges", "-s", "-S", "-c", _COMPILE]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ["PYTHONHASHSEED"] = "0"
    try:
        done = subprocess.run(
            argv, input=marshal.dumps(dict(texts)), stdout=subprocess.PIPE, env=environ, timeout=60, check=True
        )
        found: Mapping[str, bytes] = marshal.loads(done.stdout)  # noqa: S302 - of our own program
    except (OSError, subprocess.SubprocessError, EOFError, ValueError, TypeError):
        here: dict[str, Any] = {"texts": texts}
        exec(_COMPILE_TEXTS, here)  # noqa: S102 - the same program
        found = here["codes"]
    return found


def without_comments(source: bytes, tree: ast.Module) -> bytes:
    """Return a module's source without docstrings, comments and imports for type checkers. It keeps line numbers."""
    lines = source.splitlines(keepends=True)
    for node in _docstrings(tree.body):
        first, last = node.lineno - 1, (node.end_lineno or 0) - 1
        lines[first] = lines[first][: node.col_offset] + b'""' + lines[last][node.end_col_offset :]
        lines[first + 1 : last + 1] = [b"\n"] * (last - first)
    within_text: set[int] = set()
    if any(b'"""' in line or b"'''" in line for line in lines):
        for text in (node for node in ast.walk(tree) if isinstance(node, (ast.Constant, ast.JoinedStr))):
            within_text.update(range(text.lineno, text.end_lineno or 0))
    for at, line in enumerate(lines):
        if at not in within_text and line.lstrip().startswith(b"#"):
            lines[at] = b"\n"
    for block in tree.body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING" and not block.orelse:
            lines[block.lineno - 1 : block.end_lineno] = [b"\n"] * ((block.end_lineno or 0) - block.lineno + 1)
    return b"".join(lines)


def _docstrings(body: Iterable[ast.stmt]) -> Iterator[ast.Expr]:
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node
        yield from _docstrings(getattr(node, "body", ()))


def _is_stored(name: str) -> bool:
    return name.startswith(_LOADED_AT_START) and not name.startswith(_LOADED_SELDOM)


def _add(archive: zipfile.ZipFile, name: str, data: bytes, compression: int) -> None:
    member = zipfile.ZipInfo(name, _EPOCH)
    archive.writestr(member, data, compress_type=compression, compresslevel=9)
