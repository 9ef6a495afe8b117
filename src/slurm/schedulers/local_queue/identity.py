"""Identity: distinguishes one local scheduler from another, so that a job's record shows where it was submitted.

The supervisor's directory gets a random name when it is created. Another machine, or a directory that was emptied, has
another name; a machine that restarted has another boot id. `identity.sh` prints the same line without Python.
"""

from __future__ import annotations

import contextlib
import os


def line(directory: str) -> str:
    """Return what identity.sh prints for a supervisor's directory that has a name."""
    with open(f"{directory}/name", encoding="ascii") as file:
        return f"name={file.read()} boot={boot_id()} host={os.uname().nodename}"


def boot_id() -> str:
    """Return the machine's boot id, as identity.sh prints it."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    with contextlib.suppress(OSError):
        import subprocess  # noqa: PLC0415 - only without /proc

        done = subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False)
        digits = done.stdout.partition("sec = ")[2].partition(",")[0]
        return digits if digits.isdecimal() else ""
    return ""
