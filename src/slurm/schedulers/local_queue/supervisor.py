"""Supervisor: starts elements when their turn comes, ends them when their time is up, and answers questions.

One per user and machine, so that the limit of CPUs holds over all submissions. It is a single thread around one
selector, woken by a request, by the end of a child, or by the next deadline; it goes when it has been idle for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from slurm.schedulers.local_queue.batch import Batch
from slurm.schedulers.local_queue.element import adopted
from slurm.schedulers.local_queue.wire import receive

if TYPE_CHECKING:
    from slurm.schedulers.local_queue.element import Element

IDLE_SECONDS = 30.0
KEPT_SECONDS = 600.0
"""How long an ended batch is remembered, if the supervisor lives that long."""
_TICK = 0.5


class Supervisor:
    """The scheduler of one machine: first in, first out, as many at once as there are CPUs for."""

    def __init__(self, place: str, listener: socket.socket) -> None:
        self._place = place
        self._listener = listener
        self._running: list[Element] = adopted(place)
        self._batches = {id_: Batch.of_adopted(id_, self._running) for id_ in {e.batch for e in self._running}}
        self._cpus = int(os.environ.get("SLURMTASKS_LOCAL_CPUS") or 0) or _usable_cpus()
        self._active = time.monotonic()
        self._stopping = False

    def run(self) -> None:
        """Serve until there is nothing to do."""
        awake, wake = socket.socketpair()
        for end in (awake, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(awake, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._finished():
                for key, _ in selector.select(self._pause()):
                    if key.fileobj is self._listener:
                        self._serve()
                    else:
                        awake.recv(1 << 12)
                self._reap()
                self._start_ready()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._place}/socket")

    def _finished(self) -> bool:
        if self._running or any(batch.pending for batch in self._batches.values()):
            self._active = time.monotonic()
            return False
        gone = not os.path.exists(f"{self._place}/socket")  # the directory was removed: nobody can ask any more
        return self._stopping or gone or time.monotonic() - self._active > IDLE_SECONDS

    def _pause(self) -> float:
        now = time.monotonic()
        return max(0.0, min([_TICK, *(element.due - now for element in self._running)]))

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5.0)
            try:
                reply = self._answer(json.loads(receive(connection)))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one request, the loop must live
                reply = {"error": f"{type(error).__name__}: {error}"}
            connection.sendall(json.dumps(reply).encode())

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self._active = time.monotonic()
        if request["do"] == "submit":
            batch = Batch(self._new_id(), request)
            self._batches[batch.id] = batch
            return {"id": batch.id}
        if request["do"] == "query":
            return {
                "jobs": [row for id_ in request["ids"] if id_ in self._batches for row in self._batches[id_].rows()]
            }
        if request["do"] == "list":
            return {"jobs": [[batch.id, batch.comment] for batch in self._batches.values()]}
        if request["do"] == "cancel":
            for id_, tasks in request["tasks"]:
                self._cancel(id_, tasks)
        if request["do"] == "stop":
            self._stopping = True
            for id_ in self._batches:
                self._cancel(id_, None)
        return {}

    def _cancel(self, id_: str, tasks: list[int] | None) -> None:
        if id_ in self._batches:
            self._batches[id_].cancel_pending(tasks)
        for element in self._running:
            if element.batch == id_ and (tasks is None or element.task in tasks):
                element.terminate("CANCELLED")

    def _new_id(self) -> str:
        """Ids go on from one supervisor to the next: an old handle never meets a new job."""
        path = f"{self._place}/last-id"
        last = 0
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
            last = int(file.read())
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(str(last + 1))
        os.replace(f"{path}.new", path)
        return str(last + 1)

    def _reap(self) -> None:
        for element in list(self._running):
            state = element.poll()
            if state is not None:
                self._running.remove(element)
                self._batches[element.batch].end(element.task, state)
        now = time.monotonic()
        for id_, batch in list(self._batches.items()):
            if batch.ended_at is not None and now - batch.ended_at > KEPT_SECONDS:
                del self._batches[id_]

    def _start_ready(self) -> None:
        """Start what may start, in the order of submission. What waits for CPUs lets nobody pass."""
        free = self._cpus - sum(element.cpus for element in self._running)
        for batch in list(self._batches.values()):
            cpus = min(batch.cpus, self._cpus)
            while (task := batch.next_ready(self._batches)) is not None:
                if cpus > free:
                    return
                try:
                    self._running.append(batch.start(task, cpus, self._place))
                    free -= cpus
                except OSError as error:  # its directory is gone, or there are too many processes
                    batch.end(task, "FAILED", f"not started: {error}")


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
