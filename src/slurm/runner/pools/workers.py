"""Workers: the worker processes of an element. The parent loads no function, so no user code can end the element."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import traceback

from slurm.errors import UntrustedFile
from slurm.protocol import CLIENTS, PROCESS
from slurm.protocol.frames import BEGUN, CANCELLED, FAILURE, Head, encode, read_frame
from slurm.protocol.outcomes import CallFailure, ErrorRecord
from slurm.protocol.pools import BLOCKS, FUNCTIONS, digest_of
from slurm.protocol.records import TYPE_CHECKING
from slurm.protocol.records import encode as as_json
from slurm.runner.child import GRACE_SECONDS
from slurm.runner.pools.current_worker import CurrentWorker, set_current_worker
from slurm.runner.pools.memory import MemoryKills
from slurm.runner.pools.output import flush, log_path
from slurm.runner.pools.process import WorkerProcess
from slurm.runner.pools.retries import is_made_again
from slurm.runner.pools.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from slurm.runner.job_context import JobContext
    from slurm.runner.pools.worker import Piece, WorkerSettings

_MOST_DEATHS = 3
"""If this many workers have died before a call began, the call fails, too."""
_DEVICES = "CUDA_VISIBLE_DEVICES"
_KILLED = 128 + signal.SIGKILL


class Workers:
    """Up to `size` worker processes. Each makes the calls of one piece at a time."""

    def __init__(self, job: JobContext, elements: int, size: int, settings: WorkerSettings) -> None:
        self._settings = settings
        self._job, self._elements, self._size = job.replace(cpus=max(1, job.cpus // size)), elements, size
        self._processes: list[WorkerProcess] = []
        self._left: list[Piece] = []  # pieces without a worker, mostly because their worker has died
        self._deaths: dict[tuple[int, int], int] = {}
        self._cancelled: dict[int, list[range]] = {}  # the cancelled calls, by client
        self._unmade: list[tuple[int, bytes]] = []  # the answers to cancelled calls that have not begun
        self._memory_kills = MemoryKills()
        self._poll = select.poll()
        self._me = os.getpid()
        self.made = 0
        """The number of answers."""
        signal.signal(signal.SIGTERM, self._terminate)
        for _ in range(size):
            self._start()

    @property
    def busy(self) -> bool:
        """Whether any call is being made, waits for a worker because another has died, or has an unread answer."""
        return bool(self._left or self._unmade) or any(process.piece for process in self._processes)

    @property
    def counts(self) -> tuple[int, int]:
        """The number of workers, and the number of workers that make calls."""
        return len(self._processes), sum(process.piece is not None for process in self._processes)

    @property
    def idle(self) -> bool:
        """Whether a worker has nothing to do."""
        return not self._left and any(process.piece is None and self._is_free(process) for process in self._processes)

    def give(self, piece: Piece) -> None:
        """Give the calls of a piece to an idle worker."""
        self._left.append(piece)
        self._hand_out()

    def cancel(self, client: int, calls: range) -> None:
        """Cancel calls of a client: end those that are being made, and make none of the others."""
        self._cancelled.setdefault(client, []).append(calls)

    def answers(self, seconds: float) -> Iterator[tuple[int, bytes]]:
        """Wait at most `seconds` for answers; yield the client and the frame of each."""
        ready = {descriptor for descriptor, _ in self._poll.poll(self._pause(seconds) * 1000)}
        for process in [each for each in self._processes if each.answers in ready]:
            yield from self._read(process)
        now = time.monotonic()
        for process in [each for each in self._processes if each.has_ended() and each.wait_until <= now]:
            yield from self._replace(process)
        for process in self._processes:
            if process.piece and (begin := process.long_call(now)):
                yield process.piece.client, begin
            if self._has_cancelled_call(process) and process.stop():
                yield from self._end_cancelled(process)
        self._hand_out()
        yield from self._unmade
        self._unmade.clear()

    def shutdown(self) -> None:
        """End the workers when they have nothing to do."""
        for process in self._processes:
            process.retire()
        self._end_all(None)
        self._processes.clear()

    def _pause(self, seconds: float) -> float:
        due = [process.wait_until - time.monotonic() for process in self._processes if process.status is not None]
        return max(0.0, min([seconds, *due]))

    def _read(self, process: WorkerProcess) -> Iterator[tuple[int, bytes]]:
        try:
            found = process.read()
        except BlockingIOError:
            return
        except EOFError:
            self._poll.unregister(process.answers)
            self._await_end(process)
            return
        piece = process.piece
        if piece is not None:
            self.made += len(found)
            yield from ((piece.client, frame) for frame in found)
            if process.next >= piece.end:
                process.piece = None

    def _is_cancelled(self, client: int, number: int) -> bool:
        return any(number in calls for calls in self._cancelled.get(client, ()))

    def _has_cancelled_call(self, process: WorkerProcess) -> bool:
        """Whether the last call that a worker is known to have begun was cancelled."""
        if not self._cancelled or process.begun is None or process.piece is None or process.cancelled:
            return False
        return self._is_cancelled(process.piece.client, process.begun.number)

    def _end_cancelled(self, process: WorkerProcess) -> Iterator[tuple[int, bytes]]:
        """Kill a stopped worker if it still makes a cancelled call; continue it if it has begun another call."""
        yield from self._read(process)
        if self._has_cancelled_call(process):
            process.cancel()
        else:
            process.go_on()

    def _await_end(self, process: WorkerProcess) -> None:
        """Wait for the end of a worker that has closed its pipe, or kill it, because it cannot answer any more."""
        with contextlib.suppress(ProcessLookupError):
            if not process.has_ended():
                end = time.monotonic() + 0.2
                while not process.has_ended() and time.monotonic() < end:
                    time.sleep(0.005)
                if not process.has_ended():
                    os.kill(process.pid, signal.SIGKILL)

    def _replace(self, process: WorkerProcess) -> Iterator[tuple[int, bytes]]:
        """Start a worker for one that has died. Its current call has failed, and its other calls wait for a worker."""
        with contextlib.suppress(BlockingIOError, EOFError):  # a child of the worker may keep the pipe open
            while True:
                found = process.read()
                yield from ((process.piece.client, frame) for frame in found if process.piece)
        self._processes.remove(process)
        with contextlib.suppress(KeyError):
            self._poll.unregister(process.answers)
        os.close(process.answers)
        process.retire()
        if (piece := process.piece) and process.next < piece.end:
            yield from self._take_back(process, piece)
        self._start()

    def _take_back(self, process: WorkerProcess, piece: Piece) -> Iterator[tuple[int, bytes]]:
        """Give another worker the calls of one that has ended, the current call included unless it is answered here."""
        which, attempt = (piece.client, process.next), piece.attempt if process.next == piece.first else 0
        self._deaths[which] = deaths = self._deaths.get(which, 0) + 1
        failure = None if process.cancelled else self._failure(process)
        if process.begun and failure and self._is_made_again(failure, process.begun, piece):
            attempt = process.begun.attempt + 1
        elif process.begun or deaths >= _MOST_DEATHS:
            del self._deaths[which]
            yield piece.client, self._unfinished(process, failure)
            process.next, attempt = process.next + 1, 0
        if process.next < piece.end:
            self._left.append(piece._replace(first=process.next, attempt=attempt))

    def _failure(self, process: WorkerProcess) -> CallFailure:
        """Return the failure of the current call of a worker that has died."""
        status = process.status or 0
        if status == _KILLED and self._memory_kills.explain_death(process.kills):
            return _failed(process.next, status, "JobOutOfMemory", "its worker ran out of memory")
        return _failed(process.next, status, "WorkerDied", _how_died(status))

    def _is_made_again(self, failure: CallFailure, begun: Head, piece: Piece) -> bool:
        """Whether the current call of a worker that has died is retried."""
        directory = f"{self._job.directory}/{CLIENTS}/{piece.client}"
        try:
            block = read_frame(f"{directory}/{BLOCKS}", piece.offset)
        except (OSError, UntrustedFile):
            return False
        if block is None:
            return False
        return is_made_again(f"{directory}/{FUNCTIONS}/{digest_of(block.body)}", failure, begun.attempt)

    def _hand_out(self) -> None:
        for process in self._processes:
            if self._left and process.piece is None and self._is_free(process) and (piece := self._next_piece()):
                if (most := self._settings.max_calls) and piece.end - piece.first > most - process.made:
                    end = piece.first + most - process.made
                    self._left.insert(0, piece._replace(first=end, attempt=0))
                    piece = piece._replace(end=end)
                process.piece, process.begun, process.next = piece, None, piece.first
                process.kills = self._memory_kills.recent()
                with contextlib.suppress(BrokenPipeError):  # the worker is dead, and will be replaced
                    os.write(process.pieces, piece.to_line())

    def _is_free(self, process: WorkerProcess) -> bool:
        """Whether a worker lives and may make more calls. Retires a worker that has made its number of calls."""
        if process.has_ended() or process.retired:
            return False
        if self._settings.max_calls and process.made >= self._settings.max_calls:
            process.retire()
        return not process.retired

    def _next_piece(self) -> Piece | None:
        """Take the next calls that are not cancelled, and answer the cancelled calls before them."""
        while self._left:
            piece = self._left.pop(0)
            if piece.client not in self._cancelled:
                return piece
            first, end = piece.first, piece.end
            while first < end and self._is_cancelled(piece.client, first):
                self._unmade.append((piece.client, encode(Head(CANCELLED, first, ended=time.time()))))
                first += 1
            end = next((number for number in range(first, end) if self._is_cancelled(piece.client, number)), end)
            if end < piece.end:
                self._left.insert(0, piece._replace(first=end, attempt=0))
            if first < end:
                return piece._replace(first=first, end=end, attempt=piece.attempt if first == piece.first else 0)
        return None

    def _start(self) -> None:
        flush()
        (theirs, pieces), (answers, mine) = os.pipe(), os.pipe()
        os.set_blocking(answers, False)
        number = min(set(range(1, self._size + 1)) - {process.number for process in self._processes})
        try:
            pid = os.fork()
        except OSError:
            for end in (theirs, pieces, answers, mine):
                os.close(end)
            if not self._processes:
                raise
            return  # the limit of processes is reached: continue with fewer workers
        if pid == 0:
            os.close(pieces)
            os.close(answers)
            self._run(number, theirs, mine)
        os.close(theirs)
        os.close(mine)
        self._processes.append(WorkerProcess(pid, number, pieces, answers, log=log_path(self._job, number)))
        self._poll.register(answers, select.POLLIN)

    def _run(self, number: int, pieces: int, answers: int) -> NoReturn:
        """Run as a worker. Ends the process: the child must not return into its parent's code."""
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for process in self._processes:  # otherwise the others would not see that the parent has ended
                process.retire()
                os.close(process.answers)
            rank, world_size = self._job.index * self._size + number - 1, self._elements * self._size
            set_current_worker(CurrentWorker(rank, world_size))
            if devices := os.environ.get(_DEVICES):
                os.environ[_DEVICES] = _share(devices, number - 1, self._size)
            with open(pieces, "rb", buffering=0) as lines, open(answers, "wb") as output:
                worker = Worker(self._job, number, output)
                worker.initialize(self._settings)
                worker.work(lines)
            status = 0
        except BrokenPipeError:
            pass  # the parent has ended, and the element with it
        except BaseException:  # noqa: BLE001 - see the docstring
            traceback.print_exc()
        finally:
            flush()
            os._exit(status)

    def _unfinished(self, process: WorkerProcess, failure: CallFailure | None) -> bytes:
        """Return the answer to the call that a worker made when it ended. Without a failure, the call was cancelled."""
        head, printed = process.begun or Head(BEGUN, process.next, worker=process.number), 0
        if process.begun:
            with contextlib.suppress(OSError):
                printed = max(0, os.stat(log_path(self._job, process.number)).st_size - head.first)
        head = head._replace(calls=printed, ended=time.time())
        if failure is None:
            return encode(head._replace(kind=CANCELLED))
        return encode(head._replace(kind=FAILURE), as_json(failure.to_json()).encode())

    def _terminate(self, *_: object) -> None:
        """On SIGTERM, end this process and all workers. Some schedulers don't find processes without their parent."""
        if os.getpid() == self._me:  # not a child that was just forked
            self._end_all(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def _end_all(self, first: signal.Signals | None) -> None:
        """Send a signal to all workers if one is given, wait until they have ended, and kill those that have not."""
        for number in (first, signal.SIGKILL):
            for process in self._processes:
                if number and not process.has_ended():
                    os.kill(process.pid, number)
            end = time.monotonic() + GRACE_SECONDS
            while not all(process.has_ended() for process in self._processes) and time.monotonic() < end:
                time.sleep(0.01)


def _share(devices: str, worker: int, workers: int) -> str:
    """Return the devices for one worker of a node with `devices` such as "0,1,2,3": its share, or one device."""
    each = devices.split(",")
    return ",".join(each[worker::workers] or [each[worker % len(each)]])


def _how_died(status: int) -> str:
    number = status - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    how = f"was killed by {name}" if number > 0 else f"ended with status {status}"
    return f"its worker {how}"


def _failed(call: int, status: int, kind: str, message: str) -> CallFailure:
    error = ErrorRecord(type=kind, message=message, bases=(kind,))
    return CallFailure(call=call, phase=PROCESS, exit_code=status or 1, error=error)
