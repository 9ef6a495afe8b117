"""Building: build an environment only once under the root, even if several processes request it at the same time.

`<root>/envs/<key>.json` marks a complete environment. The process that builds it holds the directory `<key>.lock/<n>/`:
on any shared file system, mkdir(2) succeeds for one process only. The holder writes a new number into `beat` every few
seconds (a heartbeat). Waiters compare it with the number that they read before, so clocks need not agree. If the number
stays the same, the holder counts as dead. The process that makes the directory `<n + 1>` takes over, and builds in a
directory of its own. A holder that was only suspended does no harm: the record is made with link(2), so the first
record stays.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import socket
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from slurm.errors import BuildFailed, ConnectionLost, SlurmError, TransportError
from slurm.protocol import BLOBS, ENVS, Document, ResolvedEnvironment
from slurm.protocol.digests import file_digest
from slurm.protocol.ownership import check_output
from slurm.protocol.shell import program
from slurm.transports.base import pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slurm.environments.base import BuildTarget
    from slurm.protocol.records import Record
    from slurm.transports.base import Completed

_log = logging.getLogger("slurm.environments")

BEAT_SECONDS = 5.0
STALE_SECONDS = 45.0
"""A build lock without a heartbeat for this long counts as abandoned. Allows for several beats and a new connection."""
_OUTPUT_LIMIT = 100_000
_PAUSES = (0.1, 5.0)

_BEAT = '[ ! -d "$1" ] || echo "$2" > "$1/beat"'
_BASE = 'echo "$3" > "$2/below"'


class Built(Document):
    """`envs/<key>.json`: a complete environment."""

    environment: ResolvedEnvironment
    created: float
    """Seconds since the epoch, by the clock of the client that built it."""
    host: str
    """The host of that client."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"environment": ResolvedEnvironment}


class Building(NamedTuple):
    """A build that this process runs now."""

    target: BuildTarget
    key: str
    """The name under `<root>/envs/`: the requested name and the architecture of the target."""
    directory: str
    """The empty directory in which to build the environment, and in which it stays."""

    @property
    def machine(self) -> str:
        """The architecture of the target, as uname(1) prints it."""
        return self.key.rpartition("-")[2]

    def step(self, description: str) -> None:
        """Report the next step."""
        self.target.listener.step(self.key, description)

    def base(self, name: str, make: Callable[[Building], ResolvedEnvironment]) -> ResolvedEnvironment:
        """Build the environment `name`, the base of this one. Cleanup keeps the base as long as this environment."""
        _run(self.target, _BASE, self.directory, f"{name}-{self.machine}")
        return build_once(self.target, name, make)


class Superseded(Exception):
    """Raised by `make` if the environment turns out to need another name. Nothing remains under this name."""


class _BuildState(NamedTuple):
    """The state of an environment: its record, or its last lock."""

    key: str
    phase: str
    """`ready`, `held`, `failed`, `free`."""
    holder: int = 0
    """The number of the lock; 0 if there is none."""
    text: str = ""


def build_once(target: BuildTarget, name: str, make: Callable[[Building], ResolvedEnvironment]) -> ResolvedEnvironment:
    """Return the environment `name`. If it does not exist, build it with `make`, or wait for a process that builds it.

    The name must change with everything that goes into the environment. The architecture of the target is added to it.
    An existing environment costs one command. Only one `make` runs at a time. If it is interrupted, or its process or
    machine dies, a waiting process takes over. After a broken connection the build starts over, once.

    Raises what `make` raises, such as Superseded, and BuildFailed if the build of the other process fails.
    """
    try:
        return _build_once(target, name, make)
    except ConnectionLost as error:
        _log.warning("%s; starting the build over", error)
        return _build_once(target, name, make)


def _build_once(target: BuildTarget, name: str, make: Callable[[Building], ResolvedEnvironment]) -> ResolvedEnvironment:
    reported, unchanged = False, time.monotonic()
    waits = pauses(max(target.transport.pace, _PAUSES[0]), _PAUSES[1], factor=1.5)
    first = state = _read_state(target, name)
    while state.phase != "ready":
        if state.phase != "held" or time.monotonic() - unchanged > STALE_SECONDS:
            building = _claim(target, state)
            if building is not None:
                return _build(building, state.holder + 1, name, make)
        if state.phase == "held" and not reported:
            reported = True
            target.listener.step(state.key, f"waiting for {state.text.partition(chr(10))[0]}, which builds it")
        time.sleep(next(waits))
        before, state = state, _read_state(target, name)
        if state.phase == "failed" and state != first:
            raise _failure_of_holder(state)
        if state != before:
            unchanged = time.monotonic()
    return _record(state.text, state.key).environment


def look(target: BuildTarget, name: str) -> tuple[str, ResolvedEnvironment | None]:
    """Return the key of the environment `name`, and the environment if it exists. The command changes nothing."""
    state = _read_state(target, name, "look")
    return state.key, _record(state.text, state.key).environment if state.phase == "ready" else None


def send(target: BuildTarget, files: Mapping[str, str | os.PathLike[str]]) -> dict[str, str]:
    """Upload local files as blobs, unless they exist there already. Returns their paths on the cluster, by name."""
    names = _blob_names(files)
    directory = f"{target.root}/{BLOBS}"
    existing = _existing_blobs(target, directory, list(names.values()))
    missing = {names[name]: path for name, path in files.items() if names[name] not in existing}
    if missing:
        target.transport.put(directory, missing)
    return {name: f"{directory}/{blob}" for name, blob in names.items()}


def sent_paths(target: BuildTarget, files: Mapping[str, str | os.PathLike[str]]) -> dict[str, str]:
    """Return the paths that local files would have as blobs on the cluster, by name. Sends nothing."""
    return {name: f"{target.root}/{BLOBS}/{blob}" for name, blob in _blob_names(files).items()}


def _blob_names(files: Mapping[str, str | os.PathLike[str]]) -> dict[str, str]:
    return {name: f"{file_digest(os.fspath(path))[1]}-{name}" for name, path in files.items()}


def _existing_blobs(target: BuildTarget, directory: str, blobs: Sequence[str]) -> set[str]:
    """Return the blobs that exist unchanged. Their names begin with their digests. Raises UntrustedFile."""
    if not blobs:
        return set()
    done = target.transport.run(["sh", "-c", program(__name__, "blobs.sh"), "sh", directory, *blobs], timeout=600)
    check_output(done.stdout)
    pairs = (line.split(" ", 1) for line in done.stdout.splitlines())
    return {name for digest, name in pairs if digest and name.startswith(digest)}


def _read_state(target: BuildTarget, name: str, *how: str) -> _BuildState:
    done = target.access.ask(["sh", "-c", program(__name__, "state.sh"), "sh", name, *how])
    key, _, rest = _output(target, done).partition("\n")
    check_output(rest)
    if not rest:
        return _BuildState(key, "free")
    first, _, text = rest.partition("\n")
    phase, _, holder = first.partition(" ")
    return _BuildState(key, phase, int(holder or 0), text)


def _claim(target: BuildTarget, state: _BuildState) -> Building | None:
    token, owner = os.urandom(4).hex(), f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}"
    answer = _run(target, program(__name__, "claim.sh"), state.key, str(state.holder + 1), token, owner)
    if answer.strip() != "mine":
        return None
    return Building(target, state.key, f"{target.root}/{ENVS}/{state.key}/{token}")


def _build(
    building: Building, holder: int, name: str, make: Callable[[Building], ResolvedEnvironment]
) -> ResolvedEnvironment:
    target, key, token = building.target, building.key, building.directory.rpartition("/")[2]
    target.listener.begin(key)
    try:
        with _heartbeat(target, f"{target.root}/{ENVS}/{key}.lock/{holder}"):
            record = Built(environment=make(building), created=time.time(), host=socket.gethostname())
            text = _run(target, program(__name__, "complete.sh"), key, token, stdin=record.dumps())
    except Superseded:
        with contextlib.suppress(SlurmError):
            _run(target, program(__name__, "forget.sh"), key, str(holder), token)
        target.listener.end(key, None)
        raise
    except ConnectionLost as error:  # the build itself may be fine
        _record_failure(building, holder, "given-up", error)
        raise
    except SlurmError as error:
        made = _record_of_another(target, name)
        if made is None:
            _record_failure(building, holder, "failed", error)
            raise
        text = made
    except BaseException as error:  # also for an interrupt, because other processes wait for this build
        _record_failure(building, holder, "given-up", error)
        raise
    target.listener.end(key, None)
    return _record(text, key).environment


def _record_of_another(target: BuildTarget, name: str) -> str | None:
    """Return the record if another process took over and finished the build; else None."""
    with contextlib.suppress(SlurmError):  # the connection may be the problem
        state = _read_state(target, name)
        return state.text if state.phase == "ready" else None
    return None


def _record_failure(building: Building, holder: int, kind: str, error: BaseException) -> None:
    """Report an error to the waiting processes: either they fail with the same error, or they may try to build."""
    target, key, token = building.target, building.key, building.directory.rpartition("/")[2]
    with contextlib.suppress(SlurmError):
        _run(target, program(__name__, "leave.sh"), key, str(holder), token, kind, stdin=_report(error))
    target.listener.end(key, error)


@contextlib.contextmanager
def _heartbeat(target: BuildTarget, lock: str) -> Iterator[None]:
    """Write heartbeats into a lock while the block runs."""
    finished = threading.Event()

    def beat() -> None:
        for number in count():
            if finished.wait(BEAT_SECONDS):
                return
            with contextlib.suppress(SlurmError):  # the next beat may succeed
                target.transport.run(["sh", "-c", _BEAT, "sh", lock, str(number)], timeout=STALE_SECONDS)

    thread = threading.Thread(target=beat, name="slurm-building", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()


def _report(error: BaseException) -> bytes:
    output, log = (error.output, error.log) if isinstance(error, BuildFailed) else ("", None)
    return json.dumps({"message": str(error), "output": output[-_OUTPUT_LIMIT:], "log": log}).encode()


def _failure_of_holder(state: _BuildState) -> BuildFailed:
    report = json.loads(state.text)
    message = f"{report['message']} (in a build by another process)"
    return BuildFailed(message, output=report["output"], log=report["log"])


def _record(text: str, key: str) -> Built:
    return Built.loads(text, where=f"{ENVS}/{key}.json")


def _run(target: BuildTarget, script: str, *arguments: str, stdin: bytes = b"") -> str:
    directory = f"{target.root}/{ENVS}"
    return _output(
        target, target.transport.run(["sh", "-c", script, "sh", directory, *arguments], stdin=stdin, timeout=600)
    )


def _output(target: BuildTarget, done: Completed) -> str:
    if done.status != 0:
        raise TransportError(f"cannot use {target.root}/{ENVS}: {done.words}")
    return done.stdout
