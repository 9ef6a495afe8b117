"""run_side_by_side: calls of an element in several processes, forked of this one once it has loaded the function.

The workers take the places of calls from one pipe, so that a slow call holds up no other, and each says through a
pipe of its own which call it begins and what came of it. This process alone writes files. A worker that dies fails the
call that it was making, and another takes its place.
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
from slurm.runner.job_context import Stopped, stopping
from slurm.runner.journal import frame, frames
from slurm.runner.result_saver import STOPPED_STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from slurm.runner.journal import Done

    Run = Callable[[int], Done]

HOLD_SECONDS = 1.0
"""Before a worker that a signal ended fails its call. If the scheduler is ending the whole element, it ends this
process too meanwhile, and the call is nobody's failure: it runs again in the next attempt."""
_GRACE_SECONDS = 1.0
"""Between SIGTERM and SIGKILL to the workers, when this process is to end: schedulers give the element 2 or more."""
_OWN_FAULT = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
_PLACE_BYTES = 4
_READ_BYTES = 1 << 20


def run_side_by_side(run: Run, places: Sequence[int], workers: int) -> Generator[tuple[int, Done], None, None]:
    """What `run` gives for each place, as it comes, by up to `workers` processes at once.

    They are gone once this is exhausted or closed. Raises OSError if not even one can be started, and Stopped where the
    job is to end before all calls are made.
    """
    while places:
        crew = _Crew(run, places, min(workers, len(places)))
        done: set[int] = set()
        try:
            for place, found in crew.results():
                done.add(place)
                yield place, found
        finally:
            crew.dismiss()
        places = [place for place in places if place not in done]  # a worker may die between two calls
        if places and stopping():
            raise Stopped(stopping())
        if not done:  # then none lives long enough to begin one
            yield from ((place, _died(place, crew.status)) for place in places)
            return


def _died(place: int, status: int) -> CallFailure:
    return CallFailure(call=place, phase=PROCESS, exit_code=status)


class _Worker:
    """A process, and the end of the pipe through which it speaks."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid, self.pipe = pid, pipe
        self.making: int | None = None
        self.status: int | None = None
        """How it ended, as a shell tells it: 128 + n for signal n; this counts from `due` on."""
        self.due = 0.0
        self._heard = bytearray()

    def hear(self) -> bytes:
        """One piece of what it has said; nothing once it has closed its end. Raises BlockingIOError."""
        heard = os.read(self.pipe, _READ_BYTES)
        self._heard += heard
        return heard

    def said(self) -> Iterator[tuple[int, Done]]:
        """The calls that it has made, of what was heard."""
        for place, found in frames(self._heard):
            self.making = place if found is None else None
            if found is not None:
                yield place, found

    def gone(self) -> bool:
        """Whether it has ended, without waiting."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code
                self.due = time.monotonic() + (HOLD_SECONDS if code < 0 and -code not in _OWN_FAULT else 0)
        return self.status is not None


class _Crew:
    """The workers that share one pipe of places, until all places are taken and those who took them are gone."""

    def __init__(self, run: Run, places: Sequence[int], size: int) -> None:
        self._run, self._size = run, size
        self._unfed = memoryview(b"".join(place.to_bytes(_PLACE_BYTES, "little") for place in places))
        self._workers: list[_Worker] = []
        self.status = 1
        self._places, self._feed = os.pipe()
        self._awake, self._wake = os.pipe()
        for end in (self._feed, self._awake, self._wake):
            os.set_blocking(end, False)
        self._selector = PollSelector()  # unlike epoll, nothing that a fork shares
        self._selector.register(self._feed, EVENT_WRITE)
        self._selector.register(self._awake, EVENT_READ)
        self._me = os.getpid()
        self._before = {
            number: signal.signal(number, handler) or signal.SIG_DFL
            for number, handler in ((signal.SIGCHLD, lambda *_: None), (signal.SIGTERM, self._end_together))
        }
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def results(self) -> Iterator[tuple[int, Done]]:
        """What came of the calls, as it comes."""
        for _ in range(self._size):
            self._start()
        while self._workers:
            for key, _ in self._selector.select(self._pause()):
                if key.fd == self._feed:
                    self._feed_more()
                elif key.fd == self._awake:
                    self._pass_on(set(os.read(self._awake, _READ_BYTES)) - {signal.SIGCHLD})
                else:
                    if not key.data.hear():
                        self._selector.unregister(key.fd)
                    yield from key.data.said()
            yield from self._bury()

    def dismiss(self) -> None:
        """End whoever is left, and leave this process as it was."""
        for worker in self._workers:
            if not worker.gone():
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
            os.close(worker.pipe)
        self._restore_signals()
        for end in (self._places, self._awake, self._wake, *((self._feed,) if self._feed >= 0 else ())):
            os.close(end)
        self._selector.close()

    def _restore_signals(self) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end_together(self, *_: object) -> None:
        """On SIGTERM, end with all workers. Not every scheduler finds those whose parent is gone."""
        if os.getpid() == self._me:  # and not one that was forked just now
            for number in (signal.SIGTERM, signal.SIGKILL):
                for worker in self._workers:
                    if not worker.gone():
                        os.kill(worker.pid, number)
                end = time.monotonic() + _GRACE_SECONDS
                while not all(worker.gone() for worker in self._workers) and time.monotonic() < end:
                    time.sleep(0.02)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def _pass_on(self, signals: set[int]) -> None:
        """What this process handles of signals, such as the stop signal, concerns the calls."""
        for worker in self._workers:
            for number in signals:
                if not worker.gone():
                    os.kill(worker.pid, number)

    def _pause(self) -> float | None:
        due = [worker.due for worker in self._workers if worker.status is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _feed_more(self) -> None:
        with contextlib.suppress(BlockingIOError):
            # Up to PIPE_BUF bytes are written whole or not at all, so a reader never finds a part of a place.
            self._unfed = self._unfed[os.write(self._feed, self._unfed[: select.PIPE_BUF]) :]
        if not self._unfed:
            self._selector.unregister(self._feed)
            os.close(self._feed)
            self._feed = -1  # its number may be another's from here on

    def _bury(self) -> Iterator[tuple[int, Done]]:
        """Take leave of the workers that have ended, once all that they have said is heard."""
        for worker in [worker for worker in self._workers if worker.gone() and worker.due <= time.monotonic()]:
            with contextlib.suppress(BlockingIOError):  # a process that it has left behind may keep its end open
                while worker.hear():
                    pass
            yield from worker.said()
            self._workers.remove(worker)
            if worker.pipe in self._selector.get_map():
                self._selector.unregister(worker.pipe)
            os.close(worker.pipe)
            self.status = worker.status or 0
            if worker.making is not None and not (self.status == STOPPED_STATUS and stopping()):
                yield worker.making, _died(worker.making, self.status)
                self._start()

    def _start(self) -> None:
        _flush()
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        try:
            pid = os.fork()
        except OSError:
            os.close(ours)
            os.close(theirs)
            if not self._workers:
                raise
            return  # no room for another process: there are fewer, then
        if pid == 0:
            os.close(ours)
            self._be_a_worker(theirs)
        os.close(theirs)
        self._workers.append(_Worker(pid, ours))
        self._selector.register(ours, EVENT_READ, self._workers[-1])

    def _be_a_worker(self, pipe: int) -> None:
        """What the child of a fork does; it must not return into its parent's code."""
        status = 1
        try:
            gc.freeze()  # or the collector would write to, and so copy, every page that the runner has loaded
            self._restore_signals()
            for end in (*(key.fd for key in self._selector.get_map().values()), self._wake):
                os.close(end)
            if "numpy.random" in sys.modules:  # as Python does for its own: no two workers draw the same numbers
                sys.modules["numpy.random"].seed()
            self._make_calls(pipe)
            status = 0
        except Stopped:
            status = STOPPED_STATUS
        except BrokenPipeError:
            pass  # the parent is gone: so is the element
        except BaseException:  # noqa: BLE001 - as the docstring says
            traceback.print_exc()
        finally:
            _flush()
            os._exit(status)

    def _make_calls(self, pipe: int) -> None:
        me = os.getpid()
        with os.fdopen(pipe, "wb") as speech:
            while not stopping() and (taken := os.read(self._places, _PLACE_BYTES)):
                place = int.from_bytes(taken, "little")
                speech.writelines(frame(place, None))
                speech.flush()  # with what came of the call before: one system call for both
                found = self._run(place)
                if os.getpid() != me:
                    os._exit(0)  # a child that the call has forked and let return
                speech.writelines(frame(place, found))


def _flush() -> None:
    """What is in a buffer at a fork would be written by both."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # none, closed, or nowhere to write to
            stream.flush()
