"""Worker: a process of a pool's element. Its parent names calls of blocks, and it makes them one after another."""

from __future__ import annotations

import json
import os
import time
from typing import NamedTuple

from slurm.errors import UntrustedFile
from slurm.protocol import CLIENTS, LOAD, RESULTS, SAVE
from slurm.protocol.frames import ARGUMENTS as OF_ARGUMENTS
from slurm.protocol.frames import BEGUN, BROKEN, FAILURE, LARGE, RESULT, Head, encode, wait_for_frame
from slurm.protocol.freshness import retry_absent
from slurm.protocol.outcomes import CallFailure, ResultRecord
from slurm.protocol.pools import ARGUMENTS, BLOCKS, FUNCTIONS, LARGE_BYTES, client_key, outbox_name, unpack
from slurm.protocol.records import TYPE_CHECKING
from slurm.protocol.records import encode as as_json
from slurm.runner.argument_loader import ArgumentLoader
from slurm.runner.chunk import run_call
from slurm.runner.job_context import forget_progress, set_current
from slurm.runner.placeholder_resolver import LAG
from slurm.runner.pools.output import WorkerOutput, log_path
from slurm.runner.pools.resolver import PoolResolver
from slurm.runner.pools.retries import is_made_again
from slurm.runner.result_saver import describe, exit_code, write_new

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    from slurm.runner.argument_loader import Call
    from slurm.runner.job_context import JobContext

_MOST_FUNCTIONS = 64
"""The largest number of functions that a worker keeps loaded, with the values that their calls share."""


class Piece(NamedTuple):
    """Calls of a block that a worker makes: the calls from the number `first` to the number before `end`."""

    client: int
    offset: int
    """The offset of the block in the client's file `calls`."""
    first: int
    end: int
    attempt: int = 0
    """The attempt of the call `first`; 0 is the attempt of the block, which all other calls have."""

    def to_line(self) -> bytes:
        """Return the line that sends this piece to a worker."""
        return b"%d %d %d %d %d\n" % self

    @classmethod
    def from_line(cls, line: bytes) -> Piece:
        """Parse a line made by `to_line`."""
        return cls(*map(int, line.split()))


class WorkerSettings(NamedTuple):
    """The settings of each worker of a pool."""

    max_calls: int = 0
    """The number of calls after which another worker replaces this one; 0 is no limit."""
    initializer: Callable[..., object] | None = None
    """Called once in each worker, before its first call."""
    initargs: tuple[Any, ...] = ()


class Worker:
    """Makes calls in this process. `job` is the job of the element."""

    def __init__(self, job: JobContext, number: int, answers: IO[bytes]) -> None:
        self._job, self._number, self._answers = job, number, answers
        self._current = job
        self._output = WorkerOutput(log_path(job, number))
        self._resolver = PoolResolver(job.root)
        self._loaders: dict[tuple[int, str], Callable[[bytes], Call]] = {}

    def initialize(self, settings: WorkerSettings) -> None:
        """Call the initializer. If it raises an error, report it to the parent, and raise it."""
        if settings.initializer is None:
            return
        try:
            settings.initializer(*settings.initargs)
        except BaseException as error:  # the user's code; raised again
            record = describe(error)
            self._answers.write(encode(Head(BROKEN, 0), f"{record.type}: {record.message}".encode()))
            raise

    def work(self, pieces: IO[bytes]) -> None:
        """Make the calls of pieces until the parent closes the pipe."""
        for line in pieces:
            piece = Piece.from_line(line)
            directory = f"{self._job.directory}/{CLIENTS}/{piece.client}"
            job = self._job_of(piece.client)
            try:
                frame = wait_for_frame(f"{directory}/{BLOCKS}", piece.offset, LAG)
            except (OSError, UntrustedFile) as error:
                for number in range(piece.first, piece.end):
                    self._answer(self._begun(number, piece.attempt or 1), *_failure(number, LOAD, error))
            else:
                digest, calls, places = unpack(frame.body)
                self._resolver.places = json.loads(places) if places else {}
                for number in range(piece.first, piece.end):
                    attempt = (piece.attempt if number == piece.first else 0) or frame.head.attempt
                    self._make(job, piece.client, digest, number, calls[number - frame.head.first], attempt)
            self._answers.flush()

    def _job_of(self, client: int) -> JobContext:
        key = client_key(self._job.key, client)
        if key != self._current.key:
            self._current = self._job.replace(key=key, index=0, attempt=1)
            set_current(self._current)
        return self._current

    def _make(self, job: JobContext, client: int, digest: str, number: int, data: bytes, attempt: int) -> None:
        """Make a call, and write its answer. The answer is flushed when the next call begins, or by the caller."""
        begun, me = self._begun(number, attempt), os.getpid()
        self._answers.write(encode(begun))
        self._answers.flush()
        if attempt > 1:
            set_current(job.replace(attempt=attempt))
        done = run_call(lambda: self._call(job, client, digest, number, data), self._resolver, job, number)
        if os.getpid() != me:
            os._exit(0)  # a child process that the call forked and that returned
        forget_progress(job.key, number)
        if attempt > 1:
            set_current(job)
        if not isinstance(done, CallFailure):
            self._answer(begun, *((RESULT, done) if len(done) <= LARGE_BYTES else self._saved(job, begun, done)))
        elif is_made_again(f"{job.directory}/{FUNCTIONS}/{digest}", done, attempt):
            self._make(job, client, digest, number, data, attempt + 1)
        else:
            self._answer(begun, FAILURE, as_json(done.to_json()).encode())

    def _begun(self, number: int, attempt: int) -> Head:
        size = self._output.size()
        return Head(BEGUN, number, first=size, attempt=attempt, began=time.time(), worker=self._number)

    def _saved(self, job: JobContext, begun: Head, result: bytes) -> tuple[int, bytes]:
        """Write a large result to a separate file, whose name has this attempt and this element."""
        name = f"{begun.number}-{outbox_name(self._job.index, self._job.attempt)}-{begun.attempt}.pkl"
        try:
            digest = write_new(f"{job.directory}/{RESULTS}/{name}", lambda file: file.write(result))
            if digest is None:
                raise FileExistsError(f"{job.directory}/{RESULTS}/{name}")
        except OSError as error:
            return _failure(begun.number, SAVE, error)
        record = ResultRecord(file=name, bytes=digest.bytes, sha256=digest.hexdigest())
        return LARGE, as_json(record.to_json()).encode()

    def _answer(self, begun: Head, kind: int, body: bytes) -> None:
        printed = max(0, self._output.size() - begun.first)
        ended = max(begun.began, time.time())
        self._answers.write(encode(begun._replace(kind=kind, calls=printed, ended=ended), body))

    def _call(self, job: JobContext, client: int, digest: str, number: int, data: bytes) -> Call:
        return self._load(job, client, digest)(data or _arguments(f"{job.directory}/{ARGUMENTS}/{number}", number))

    def _load(self, job: JobContext, client: int, digest: str) -> Callable[[bytes], Call]:
        loader = self._loaders.get((client, digest))
        if loader is None:
            loader = ArgumentLoader(f"{job.directory}/{FUNCTIONS}/{digest}", self._resolver).load_shared()
            if len(self._loaders) >= _MOST_FUNCTIONS:
                del self._loaders[next(iter(self._loaders))]
            self._loaders[client, digest] = loader
        return loader


def _arguments(path: str, number: int) -> bytes:
    """Read the pickled arguments of a call from a separate file. Raises ValueError if the file has others."""
    frame = retry_absent(lambda path: wait_for_frame(path, 0, LAG), path)
    if (frame.head.kind, frame.head.number) != (OF_ARGUMENTS, number):
        raise ValueError(f"{path} does not hold the arguments of call {number}")
    return frame.body


def _failure(number: int, phase: str, error: Exception) -> tuple[int, bytes]:
    failure = CallFailure(call=number, phase=phase, exit_code=exit_code(error), error=describe(error))
    return FAILURE, as_json(failure.to_json()).encode()
