"""Element: one running task of the local scheduler, a session of processes of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from slurm.protocol.files import is_own

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE_SECONDS = 2.0
"""Between SIGTERM and SIGKILL, as Slurm's KillWait."""
_ADOPTED_LOOK = 0.5


class Element:
    """A started task. What it needs to be known again after the supervisor's death is kept in a file."""

    def __init__(self, batch: str, task: int, cpus: int, pid: int, note: str) -> None:
        self.batch, self.task, self.cpus = batch, task, cpus
        self.due = float("inf")
        """When, by the monotonic clock, the supervisor has to look at it."""
        self._pid = pid
        self._note = note
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline: float | None = None
        self._warning: tuple[float, int] | None = None
        """When a signal ahead of the time limit is due, and which."""
        self._ending: str | None = None

    @classmethod
    def start(cls, batch: str, task: int, request: dict[str, Any], cpus: int, place: str) -> Element:
        """Start the script for one task, as Slurm would: its log, its variables, its working directory."""
        if not is_own(request["script"]):
            message = f"{request['script']} is not yours alone"
            raise PermissionError(message)
        log = _log(request["log"], task)
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            process = subprocess.Popen(
                ["bash", request["script"], *request["arguments"]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**request["environ"], **_variables(batch, task, request, cpus)},
                cwd=request["cwd"] if os.path.isdir(request["cwd"]) else "/",  # the script says what is wrong
                umask=request["umask"],
                start_new_session=True,
            )
        os.makedirs(f"{place}/running", mode=0o700, exist_ok=True)
        element = cls(batch, task, cpus, process.pid, f"{place}/running/{batch}_{task}")
        element._process = process
        with open(element._note, "w", encoding="ascii") as file:
            file.write(f"{process.pid} {cpus} {_born(process.pid)}")
        if request["seconds"]:
            element.due = element._deadline = time.monotonic() + request["seconds"]
            if request["signal"]:
                name, _, lead = request["signal"].removeprefix("B:").partition("@")
                element.due = element._deadline - int(lead or 60)  # sbatch(1)
                element._warning = (element.due, signal.Signals[f"SIG{name}"])
        return element

    def poll(self) -> str | None:
        """How it ended, in Slurm's word; None while it runs. Whatever its session has left running is killed."""
        now = time.monotonic()
        if self._warning is not None and now >= self._warning[0]:
            self._send(os.kill, self._warning[1])  # to the script alone
            self._warning, self.due = None, self._deadline or now
        if self._deadline is not None and now >= self._deadline and self._ending is None:
            self.terminate("TIMEOUT")
        elif self._ending is not None and now >= self.due:
            self._send(os.killpg, signal.SIGKILL)
            self.due = now + GRACE_SECONDS
        status = self._status()
        if status is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._note)
        return self._ending or ("COMPLETED" if status == 0 else "FAILED")

    def terminate(self, state: str) -> None:
        """Ask it to end, by SIGTERM to all of its session; poll() kills it if it hasn't after GRACE_SECONDS."""
        if self._ending is None:
            self._ending = state
            self.due = time.monotonic() + GRACE_SECONDS
            self._send(os.killpg, signal.SIGTERM)

    def _status(self) -> int | None:
        if self._process is None:  # adopted: somebody else's child now, whose status is gone; the outcome tells
            self.due = time.monotonic() + _ADOPTED_LOOK if self._ending is None else self.due
            return None if _born(self._pid) == self._birth() else 0
        if os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self._send(os.killpg, signal.SIGKILL)  # before it is reaped: until then its process group's number is its own
        return self._process.wait()

    def _birth(self) -> str:
        with open(self._note, encoding="ascii") as file:
            return file.read().split(" ", 2)[2]

    def _send(self, kill: Callable[[int, int], None], number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(self._pid, number)


def adopted(place: str) -> list[Element]:
    """Elements that a supervisor who is gone has left running."""
    found = []
    for name in os.listdir(f"{place}/running") if os.path.isdir(f"{place}/running") else ():
        note = f"{place}/running/{name}"
        batch, _, task = name.partition("_")
        with open(note, encoding="ascii") as file:
            pid, cpus, birth = [*file.read().split(" ", 2), "0", "0", ""][:3]
        if birth and _born(int(pid)) == birth:
            element = Element(batch, int(task), int(cpus), int(pid), note)
            element.due = time.monotonic() + _ADOPTED_LOOK
            found.append(element)
        else:
            os.unlink(note)
    return found


def _variables(batch: str, task: int, request: dict[str, Any], cpus: int) -> dict[str, str]:
    """What Slurm would set (sbatch(1), OUTPUT ENVIRONMENT VARIABLES), of what means something on one machine."""
    asked = {"SLURM_CPUS_PER_TASK": request["cpus_per_task"]} if request["cpus_per_task"] else {}
    return {
        "SLURM_JOB_ID": batch,
        "SLURM_ARRAY_JOB_ID": batch,
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_COUNT": str(len(request["tasks"])),
        "SLURM_JOB_NAME": request["name"],
        "SLURM_SUBMIT_DIR": request["submit_dir"],
        "SLURM_CPUS_ON_NODE": str(max(1, cpus)),
        "SLURM_NTASKS": str(request["ntasks"]),
        **asked,
    }


def _log(pattern: str, task: int) -> str:
    return "%".join(part.replace("%a", str(task)) for part in pattern.split("%%"))


def _born(pid: int) -> str:
    """When a process began: with its number, what tells it from a later one of the same number. "" if it is no more."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]  # proc(5): field 22, starttime
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return ""
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()
