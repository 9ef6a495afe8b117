"""run_parallel: run calls of an element in several worker processes, which are forked after the function is loaded.

The workers take the positions of calls from one shared pipe, so that a slow call does not delay others. Each worker
reports the start and the result of its calls through its own pipe. Only this process writes files. If a worker dies,
its current call fails and a new worker is started.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import time
import traceback
from selectors import EVENT_READ, EVENT_WRITE, PollSelector

from slurm.protocol import PROCESS
from slurm.protocol.outcomes import CallFailure
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner import own_signals
from slurm.runner.child import GRACE_SECONDS, Child
from slurm.runner.job_context import Stopped, stop_signal
from slurm.runner.journal import frame, frames
from slurm.runner.result_saver import STOPPED_STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from slurm.runner.journal import Done

    Run = Callable[[int], Done]

_POSITION_BYTES = 4
_READ_BYTES = 1 << 20


def run_parallel(run: Run, positions: Sequence[int], workers: int) -> Generator[tuple[int, Done], None, None]:
    """Yield each position and the result of `run` for it, as it arrives, from up to `workers` parallel processes.

    When the generator is exhausted or closed, the processes have ended. Raises OSError if no process can be started,
    and Stopped if the job must end before all calls have run.
    """
    while positions:
        pool = _WorkerPool(run, positions, min(workers, len(positions)))
        done: set[int] = set()
        try:
            for position, result in pool.results():
                done.add(position)
                yield position, result
        finally:
            pool.shutdown()
        positions = [each for each in positions if each not in done]  # a worker may die between two calls
        if positions and stop_signal():
            raise Stopped(stop_signal())
        if not done:  # the workers die before they begin a call
            yield from ((position, _worker_died(position, pool.status)) for position in positions)
            return


def _worker_died(position: int, status: int) -> CallFailure:
    return CallFailure(call=position, phase=PROCESS, exit_code=status)


class _Worker(Child):
    """A worker process and the reading end of its pipe."""

    def __init__(self, pid: int, pipe: int) -> None:
        super().__init__(pid)
        self.pipe = pipe
        self.current: int | None = None
        self._buffer = bytearray()

    def read(self) -> bytes:
        """Read from the pipe; returns b"" when the worker has closed its end. Raises BlockingIOError."""
        data = os.read(self.pipe, _READ_BYTES)
        self._buffer += data
        return data

    def results(self) -> Iterator[tuple[int, Done]]:
        """Yield the results in the data that was read."""
        for position, result in frames(self._buffer):
            self.current = position if result is None else None
            if result is not None:
                yield position, result


class _WorkerPool:
    """Workers that share one pipe of positions, until all positions are taken and all workers have ended."""

    def __init__(self, run: Run, positions: Sequence[int], size: int) -> None:
        self._run, self._size = run, size
        self._unsent = memoryview(b"".join(position.to_bytes(_POSITION_BYTES, "little") for position in positions))
        self._workers: list[_Worker] = []
        self.status = 1
        self._positions, self._feed = os.pipe()
        self._awake, self._wake = os.pipe()
        for end in (self._feed, self._awake, self._wake):
            os.set_blocking(end, False)
        self._selector = PollSelector()  # unlike epoll, it has no descriptor that a fork would share
        self._selector.register(self._feed, EVENT_WRITE)
        self._selector.register(self._awake, EVENT_READ)
        self._me = os.getpid()
        self._handlers = {
            number: signal.signal(number, handler) or signal.SIG_DFL
            for number, handler in ((signal.SIGCHLD, lambda *_: None), (signal.SIGTERM, self._terminate))
        }
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def results(self) -> Iterator[tuple[int, Done]]:
        """Yield the results of the calls as they arrive."""
        for _ in range(self._size):
            self._start()
        while self._workers:
            for key, _ in self._selector.select(self._pause()):
                if key.fd == self._feed:
                    self._send_positions()
                elif key.fd == self._awake:
                    self._forward(set(os.read(self._awake, _READ_BYTES)) - {signal.SIGCHLD})
                else:
                    if not key.data.read():
                        self._selector.unregister(key.fd)
                    yield from key.data.results()
            yield from self._reap()

    def shutdown(self) -> None:
        """Kill the remaining workers and restore this process's signal handlers."""
        for worker in self._workers:
            if not worker.has_ended():
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
            os.close(worker.pipe)
        self._restore_signals()
        for end in (self._positions, self._awake, self._wake, *((self._feed,) if self._feed >= 0 else ())):
            os.close(end)
        self._selector.close()

    def _restore_signals(self) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _terminate(self, *_: object) -> None:
        """On SIGTERM, end this process and all workers. Some schedulers don't find processes without their parent."""
        if os.getpid() == self._me:  # not a child that was just forked
            for number in (signal.SIGTERM, signal.SIGKILL):
                for worker in self._workers:
                    if not worker.has_ended():
                        os.kill(worker.pid, number)
                end = time.monotonic() + GRACE_SECONDS
                while not all(worker.has_ended() for worker in self._workers) and time.monotonic() < end:
                    time.sleep(0.02)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def _forward(self, signals: set[int]) -> None:
        """Forward signals that this process handles, such as the stop signal, to the workers."""
        for worker in self._workers:
            for number in signals:
                if not worker.has_ended():
                    os.kill(worker.pid, number)

    def _pause(self) -> float | None:
        due = [worker.due for worker in self._workers if worker.status is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _send_positions(self) -> None:
        with contextlib.suppress(BlockingIOError):
            # Writes of up to PIPE_BUF bytes are atomic, so a reader never gets a part of a position.
            self._unsent = self._unsent[os.write(self._feed, self._unsent[: select.PIPE_BUF]) :]
        if not self._unsent:
            self._selector.unregister(self._feed)
            os.close(self._feed)
            self._feed = -1  # the number may be reused for another file

    def _reap(self) -> Iterator[tuple[int, Done]]:
        """Remove the workers that have ended, after reading their last results; start new ones for those that died."""
        for worker in [each for each in self._workers if each.has_ended() and each.due <= time.monotonic()]:
            with contextlib.suppress(BlockingIOError):  # a child that the worker left behind may keep the pipe open
                while worker.read():
                    pass
            yield from worker.results()
            self._workers.remove(worker)
            if worker.pipe in self._selector.get_map():
                self._selector.unregister(worker.pipe)
            os.close(worker.pipe)
            self.status = worker.status or 0
            if worker.current is not None and not (self.status == STOPPED_STATUS and stop_signal()):
                yield worker.current, _worker_died(worker.current, self.status)
                self._start()

    def _start(self) -> None:
        _flush()
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        try:
            with own_signals.inherited():
                pid = os.fork()
        except OSError:
            os.close(ours)
            os.close(theirs)
            if not self._workers:
                raise
            return  # the limit of processes is reached: continue with fewer workers
        if pid == 0:
            os.close(ours)
            self._run_worker(theirs)
        os.close(theirs)
        self._workers.append(_Worker(pid, ours))
        self._selector.register(ours, EVENT_READ, self._workers[-1])

    def _run_worker(self, pipe: int) -> None:
        """Run calls in the forked child. Ends the process: the child must not return into its parent's code."""
        status = 1
        try:
            gc.freeze()  # otherwise the garbage collector writes to, and so copies, every page of loaded objects
            self._restore_signals()
            for end in (*(key.fd for key in self._selector.get_map().values()), self._wake):
                os.close(end)
            if "numpy.random" in sys.modules:  # workers must draw different numbers; Python reseeds its own generator
                sys.modules["numpy.random"].seed()
            self._make_calls(pipe)
            status = 0
        except Stopped:
            status = STOPPED_STATUS
        except BrokenPipeError:
            pass  # the parent has ended, and the element with it
        except BaseException:  # noqa: BLE001 - see the docstring
            traceback.print_exc()
        finally:
            _flush()
            os._exit(status)

    def _make_calls(self, pipe: int) -> None:
        me = os.getpid()
        with os.fdopen(pipe, "wb") as output:
            while not stop_signal() and (data := os.read(self._positions, _POSITION_BYTES)):
                position = int.from_bytes(data, "little")
                output.writelines(frame(position, None))
                output.flush()  # also writes the result of the previous call, in the same system call
                result = self._run(position)
                if os.getpid() != me:
                    os._exit(0)  # a child process that the call forked and that returned
                output.writelines(frame(position, result))


def _flush() -> None:
    """Flush the output streams before a fork: both processes would write the content of a buffer."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # None, closed, or not writable
            stream.flush()
