"""Building: an environment that is made once under the root, whoever asks for it and however many at a time.

`<root>/envs/<key>.json` says that it is complete. Who makes it holds `<key>.lock/<n>/`, a directory: mkdir(2) makes one
for one process only, on any shared file system. The holder writes a new number into `beat` every few seconds; waiters
compare what they read with what they have read before, so no clocks are compared. When it stays the same, the holder
is dead, and whoever makes the directory `<n + 1>` takes over, in a directory of its own beside the dead one's. So a
holder that was only asleep does no harm; the record is made by link(2), and the first one counts.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
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
from slurm.protocol.ownership import check_output
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slurm.environments.base import Place
    from slurm.protocol.records import Record
    from slurm.transports.base import Completed

_log = logging.getLogger("slurm.environments")

BEAT_SECONDS = 5.0
STALE_SECONDS = 45.0
"""How long a lock's beat must stay the same for its holder to be dead: several beats, and time for a new connection."""
_OUTPUT_LIMIT = 100_000
_PAUSES = (0.1, 5.0)

_BEAT = '[ ! -d "$1" ] || echo "$2" > "$1/beat"'
_BELOW = 'echo "$3" > "$2/below"'


class Built(Document):
    """`envs/<key>.json`: an environment that is complete."""

    environment: ResolvedEnvironment
    created: float
    """Seconds since the epoch, by the clock of who made it."""
    host: str
    """Where that was."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"environment": ResolvedEnvironment}


class Building(NamedTuple):
    """An environment that this process makes now."""

    place: Place
    key: str
    """Its name under `<root>/envs/`: what was asked for, and the architecture there."""
    directory: str
    """Where to make it: an empty directory, in which it stays."""

    @property
    def machine(self) -> str:
        """The architecture there, as uname(1) has it."""
        return self.key.rpartition("-")[2]

    def step(self, words: str) -> None:
        """Tell what comes next."""
        self.place.packaging.step(self.key, words)

    def below(self, name: str, make: Callable[[Building], ResolvedEnvironment]) -> ResolvedEnvironment:
        """The environment `name`, which this one is to stand on: `build_once`, and it is kept while this one is."""
        _run(self.place, _BELOW, self.directory, f"{name}-{self.machine}")
        return build_once(self.place, name, make)


class _Seen(NamedTuple):
    """What there was at a look: a record, or the last lock."""

    key: str
    state: str
    """`ready`, `held`, `failed`, `free`."""
    holder: int = 0
    """The lock's number; 0 if there is none."""
    text: str = ""


def build_once(place: Place, name: str, make: Callable[[Building], ResolvedEnvironment]) -> ResolvedEnvironment:
    """The environment `name`, made by `make` unless it is there; if another process makes it now, wait for that.

    The name must change with all that goes into the environment; the architecture there is added to it. One that is
    there costs one command. Raises what `make` raises, and BuildFailed for the error of the process waited for. While
    `make` works, nobody else does; if it is interrupted, or its process or machine dies, a waiter takes over. Where the
    connection breaks meanwhile, all begins anew, once.
    """
    try:
        return _build_once(place, name, make)
    except ConnectionLost as error:
        _log.warning("%s; beginning anew", error)
        return _build_once(place, name, make)


def _build_once(place: Place, name: str, make: Callable[[Building], ResolvedEnvironment]) -> ResolvedEnvironment:
    told, pauses, unchanged = False, _pauses(place.transport.pace), time.monotonic()
    first = seen = _look(place, name)
    while seen.state != "ready":
        if seen.state != "held" or time.monotonic() - unchanged > STALE_SECONDS:
            building = _claim(place, seen)
            if building is not None:
                return _made(building, seen.holder + 1, name, make)
        if seen.state == "held" and not told:
            told = True
            place.packaging.step(seen.key, f"waiting for {seen.text.partition(chr(10))[0]}, which makes it")
        time.sleep(next(pauses))
        before, seen = seen, _look(place, name)
        if seen.state == "failed" and seen != first:
            raise _of_another(seen)
        if seen != before:
            unchanged = time.monotonic()
    return _record(seen.text, seen.key).environment


def send(place: Place, files: Mapping[str, str | os.PathLike[str]]) -> dict[str, str]:
    """Send files of this machine, by their names, unless they are there; their paths there, among the blobs."""
    names = {name: f"{_sha256(path)}-{name}" for name, path in files.items()}
    directory = f"{place.root}/{BLOBS}"
    there = _there(place, directory, list(names.values()))
    missing = {names[name]: path for name, path in files.items() if names[name] not in there}
    if missing:
        place.transport.put(directory, missing)
    return {name: f"{directory}/{blob}" for name, blob in names.items()}


def _there(place: Place, directory: str, blobs: Sequence[str]) -> set[str]:
    """Which blobs are there, byte for byte: their names begin with their digests. Raises UntrustedFile."""
    if not blobs:
        return set()
    done = place.transport.run(["sh", "-c", program(__name__, "blobs.sh"), "sh", directory, *blobs], timeout=600)
    check_output(done.stdout)
    pairs = (line.split(" ", 1) for line in done.stdout.splitlines())
    return {name for digest, name in pairs if digest and name.startswith(digest)}


def _sha256(path: str | os.PathLike[str]) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _look(place: Place, name: str) -> _Seen:
    done = place.ground.ask(["sh", "-c", program(__name__, "state.sh"), "sh", name])
    key, _, rest = _words(place, done).partition("\n")
    check_output(rest)
    if not rest:
        return _Seen(key, "free")
    words, _, text = rest.partition("\n")
    state, _, holder = words.partition(" ")
    return _Seen(key, state, int(holder or 0), text)


def _claim(place: Place, seen: _Seen) -> Building | None:
    token, owner = os.urandom(4).hex(), f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}"
    answer = _run(place, program(__name__, "claim.sh"), seen.key, str(seen.holder + 1), token, owner)
    if answer.strip() != "mine":
        return None
    return Building(place, seen.key, f"{place.root}/{ENVS}/{seen.key}/{token}")


def _made(
    building: Building, holder: int, name: str, make: Callable[[Building], ResolvedEnvironment]
) -> ResolvedEnvironment:
    place, key, token = building.place, building.key, building.directory.rpartition("/")[2]
    place.packaging.begin(key)
    try:
        with _beating(place, f"{place.root}/{ENVS}/{key}.lock/{holder}"):
            record = Built(environment=make(building), created=time.time(), host=socket.gethostname())
            text = _run(place, program(__name__, "complete.sh"), key, token, stdin=record.dumps())
    except ConnectionLost as error:  # which tells nothing of the build
        _leave(building, holder, "given-up", error)
        raise
    except SlurmError as error:
        made = _made_by_another(place, name)
        if made is None:
            _leave(building, holder, "failed", error)
            raise
        text = made
    except BaseException as error:
        _leave(building, holder, "given-up", error)
        raise
    place.packaging.end(key, None)
    return _record(text, key).environment


def _made_by_another(place: Place, name: str) -> str | None:
    """The record, where somebody took over and has made it."""
    with contextlib.suppress(SlurmError):  # what went wrong may be the connection
        seen = _look(place, name)
        return seen.text if seen.state == "ready" else None
    return None


def _leave(building: Building, holder: int, how: str, error: BaseException) -> None:
    """Let whoever waits know: of an error that is theirs, too, or that they may try."""
    place, key, token = building.place, building.key, building.directory.rpartition("/")[2]
    with contextlib.suppress(SlurmError):
        _run(place, program(__name__, "leave.sh"), key, str(holder), token, how, stdin=_told(error))
    place.packaging.end(key, error)


@contextlib.contextmanager
def _beating(place: Place, lock: str) -> Iterator[None]:
    """Show that this process lives."""
    ended = threading.Event()

    def beat() -> None:
        for number in count():
            if ended.wait(BEAT_SECONDS):
                return
            with contextlib.suppress(SlurmError):  # the next one may get through
                place.transport.run(["sh", "-c", _BEAT, "sh", lock, str(number)], timeout=STALE_SECONDS)

    thread = threading.Thread(target=beat, name="slurm-building", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _told(error: BaseException) -> bytes:
    output, log = (error.output, error.log) if isinstance(error, BuildFailed) else ("", None)
    return json.dumps({"message": str(error), "output": output[-_OUTPUT_LIMIT:], "log": log}).encode()


def _of_another(seen: _Seen) -> BuildFailed:
    told = json.loads(seen.text)
    return BuildFailed(f"{told['message']} (as another process found)", output=told["output"], log=told["log"])


def _record(text: str, key: str) -> Built:
    return Built.loads(text, where=f"{ENVS}/{key}.json")


def _run(place: Place, script: str, *words: str, stdin: bytes = b"") -> str:
    directory = f"{place.root}/{ENVS}"
    return _words(place, place.transport.run(["sh", "-c", script, "sh", directory, *words], stdin=stdin, timeout=600))


def _words(place: Place, done: Completed) -> str:
    if done.status != 0:
        message = f"{place.root}/{ENVS} can't be used: {done.words}"
        raise TransportError(message)
    return done.stdout


def _pauses(pace: float) -> Iterator[float]:
    pause = max(pace, _PAUSES[0])
    while True:
        yield pause
        pause = min(1.5 * pause, _PAUSES[1])
