"""Supervisor: starts elements in order of submission, and answers requests.

There is one per user and machine, so that the limit of CPUs holds over all submissions. A single thread waits in one
selector for a request, the end of a child, or the next deadline. It exits after some idle time. It may be killed at any
moment: the next one continues from the state on disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import selectors
import signal
import socket
import time
import traceback
from typing import TYPE_CHECKING, Any

from slurm.protocol.files import commit
from slurm.schedulers.local_queue import identity, messages
from slurm.schedulers.local_queue.element import NOT_STARTED, Element
from slurm.schedulers.local_queue.monitor import Start
from slurm.schedulers.local_queue.processes import log
from slurm.schedulers.local_queue.queue import CANCELLED, NEVER, Queue, next_id
from slurm.schedulers.local_queue.server import Server
from slurm.schedulers.local_queue.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Collection

    from slurm.schedulers.local_queue.notes import FinalState
    from slurm.schedulers.local_queue.queue import Batch

IDLE_SECONDS = 30.0
KEPT_SECONDS = 600.0
"""Seconds to keep a finished submission."""
_BACKLOG = 1024
_TICK = 0.5
_HOLD_SECONDS = 1.0
"""Seconds to pause after a process could not be started, or state could not be stored."""


def main(directory: str) -> None:
    """Run a supervisor unless one is running."""
    lock = os.open(f"{directory}/lock", os.O_WRONLY | os.O_CREAT, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}/socket")
            listener.bind(f"{directory}/socket")
            listener.listen(_BACKLOG)
            supervisor = Supervisor(directory, listener)
            gc.freeze()
            gc.disable()  # forked children share memory pages until one of the processes writes to them
            supervisor.run()


class Supervisor:
    """The scheduler of one machine: first in, first out, limited by the number of CPUs."""

    def __init__(self, directory: str, listener: socket.socket) -> None:
        self._directory = directory
        self._listener = listener
        if not os.path.exists(f"{directory}/name"):
            commit(f"{directory}/name", os.urandom(8).hex().encode())
        self._storage = Storage(directory, identity.boot_id())
        self._queue = Queue(int(os.environ.get("SLURMTASKS_LOCAL_CPUS") or 0) or _usable_cpus())
        self._running: list[Element] = []
        self._finished_at: dict[str, float] = {}
        """When submissions finished, by the monotonic clock."""
        self._active = time.monotonic()
        self._hold_until = 0.0
        self._stopping = False
        self._load()

    def _load(self) -> None:
        """Restore the state of an earlier supervisor: pending, running and finished elements."""
        for stored in self._storage.load():
            batch = self._queue.add(stored.id, stored.submission)
            for task, final in stored.finished:
                batch.finish(task, final)
            batch.held = set(batch.pending(set(stored.held)))
            if batch.over:
                self._finished_at[batch.id] = time.monotonic() - max(0.0, time.time() - stored.changed)
        for id_, task in list(self._storage.notes()):
            found = self._queue.batches.get(id_)
            if found is None or not found.pending((task,)):  # its final state is stored
                self._storage.remove_note(id_, task)
            else:
                found.start(task)
                self._running.append(Element.recover(id_, task, found.submission, self._storage.note(id_, task)))
        for id_ in [id_ for id_ in self._queue.batches if id_ in self._finished_at]:
            self._strip(self._queue.batches[id_])

    def run(self) -> None:
        """Start elements and serve requests until there is nothing to do for some time."""
        awake, wake = socket.socketpair()
        for end in (awake, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(awake, selectors.EVENT_READ)
            server = Server(self._listener, selector, self._reply)
            while not self._idle():
                try:
                    server.drop_stuck()
                    self._reap()
                    self._start_ready()
                    self._forget()
                except Exception:  # noqa: BLE001 - the loop must survive, because other clients wait
                    traceback.print_exc()
                    self._hold_until = time.monotonic() + _HOLD_SECONDS
                for key, _ in selector.select(_TICK):
                    if not server.ready(key.fileobj):
                        awake.recv(1 << 12)
        if not self._directory_removed():
            os.unlink(f"{self._directory}/socket")

    def _idle(self) -> bool:
        if self._directory_removed():  # no client can connect; elements do not need a supervisor
            return True
        if self._queue.busy:
            self._active = time.monotonic()
            return False
        return self._stopping or time.monotonic() - self._active > IDLE_SECONDS

    def _directory_removed(self) -> bool:
        return not os.path.exists(f"{self._directory}/socket")

    def _reply(self, data: bytes, connected: bool) -> bytes:  # noqa: FBT001 - the server passes it by position
        try:
            reply = self._answer(messages.decode(data), connected=connected)
        except ValueError as error:
            reply = messages.Refused(str(error))
        except OSError as error:
            reply = messages.Refused(f"{self._directory}: {error}")
        except Exception as error:  # noqa: BLE001 - a bad request must not end the loop
            traceback.print_exc()
            reply = messages.Refused(f"{type(error).__name__}: {error}")
        return messages.encode(reply)

    def _answer(self, request: Any, *, connected: bool) -> tuple[Any, ...]:
        self._active = time.monotonic()
        if isinstance(request, messages.Submission):
            return self._submit(request, connected=connected)
        if isinstance(request, messages.Query):
            return messages.States([list(row) for row in self._queue.rows(request.ids)])
        if isinstance(request, messages.Listing):
            return messages.Comments({id_: b.submission.comment for id_, b in self._queue.batches.items()})
        if isinstance(request, messages.Cancel):
            for id_, tasks in request.tasks.items():
                self._cancel(id_, None if tasks is None else set(messages.parse_tasks(tasks)))
            return messages.Done()
        if isinstance(request, messages.Hold):
            for id_, tasks in request.tasks.items():
                self._hold(id_, None if tasks is None else set(messages.parse_tasks(tasks)), release=request.release)
            return messages.Done()
        if isinstance(request, messages.Stop):
            self._stopping = True
            for id_ in list(self._queue.batches):
                self._cancel(id_, None)
            return messages.Done()
        return messages.Refused(f"{type(request).__name__} is not a request")

    def _submit(self, submission: messages.Submission, *, connected: bool) -> tuple[Any, ...]:
        id_ = self._queue.ids.get(submission.token)
        if id_ is None:
            messages.check(submission)
            if not connected:
                return messages.Refused("the client has closed the connection")
            id_ = str(next_id(self._storage.last_id, time.time()))
            self._storage.add(id_, submission)
            self._queue.add(id_, submission)
        return messages.Accepted(id_)

    def _cancel(self, id_: str, tasks: Collection[int] | None) -> None:
        batch = self._queue.batches.get(id_)
        if batch is None:
            return
        self._finish(batch, batch.pending(tasks), CANCELLED)
        for element in self._running:
            if element.id == id_ and (tasks is None or element.task in tasks):
                element.cancel()

    def _hold(self, id_: str, tasks: Collection[int] | None, *, release: bool) -> None:
        batch = self._queue.batches.get(id_)
        if batch is not None and not batch.over:
            changed = set(batch.pending(tasks))
            held = batch.held - changed if release else batch.held | changed
            self._storage.hold(id_, held)
            batch.held = held

    def _finish(self, batch: Batch, tasks: Collection[int], final: FinalState) -> None:
        """Record that elements have finished, on disk first. Raises OSError, without changes, if that fails."""
        if not tasks:
            return
        self._storage.finish(batch.id, tasks, final)
        for task in tasks:
            batch.finish(task, final)
        if batch.over:
            self._finished_at[batch.id] = time.monotonic()
            self._strip(batch)

    def _strip(self, batch: Batch) -> None:
        """Remove the environment, which may hold secrets, from disk and memory."""
        if batch.submission.environ:
            batch.submission = batch.submission._replace(environ={}, arguments=[])
            with contextlib.suppress(OSError):
                self._storage.strip(batch.id, batch.submission)

    def _reap(self) -> None:
        for element in list(self._running):
            final = element.poll()
            if final is None:
                continue
            batch = self._queue.batches[element.id]
            if final == NOT_STARTED:
                batch.put_back(element.task)
                self._hold_until = time.monotonic() + _HOLD_SECONDS
            else:
                try:
                    self._finish(batch, (element.task,), final)
                except OSError as error:  # a full disk: the note keeps the final state and is read again
                    log(str(error))
                    continue
            self._running.remove(element)
            self._storage.remove_note(element.id, element.task)

    def _start_ready(self) -> None:
        try:
            while never := self._queue.settle():
                for batch, tasks in never:
                    self._finish(batch, tasks, NEVER)
            while time.monotonic() >= self._hold_until and (ready := self._queue.next_ready()) is not None:
                self._start(*ready)
        except OSError as error:  # too many processes, or the disk is full
            log(str(error))
            self._hold_until = time.monotonic() + _HOLD_SECONDS

    def _start(self, batch: Batch, task: int) -> None:
        note = self._storage.note(batch.id, task)
        cpus = self._queue.cpus_of(batch)
        self._running.append(
            Element.start(Start(batch.id, task, batch.submission, len(batch.tasks), cpus, note))
        )  # fmt: skip
        batch.start(task)

    def _forget(self) -> None:
        now = time.monotonic()
        for id_, at in list(self._finished_at.items()):
            if now - at > KEPT_SECONDS:
                self._queue.forget(id_)
                self._storage.forget(id_)
                del self._finished_at[id_]


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
