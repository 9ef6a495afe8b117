"""Identity: which local scheduler this is, so that a job's record tells whether it was submitted here.

The supervisor's directory gets a random name when it is made. Another machine, or a directory that was emptied, has
another name; after a restart the machine has another boot id.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from slurm.schedulers.local_queue.wire import FORM

COMMAND = (
    "sh",
    "-c",
    """\
umask 077
base=${SLURMTASKS_LOCAL_DIR:-/tmp/slurm-tasks-$(id -u)}
place=$base/$0
mkdir -p "$base" 2> /dev/null
[ -n "$SLURMTASKS_LOCAL_DIR" ] || { [ -O "$base" ] && [ ! -L "$base" ]; } || exit 0
mkdir "$place" 2> /dev/null
[ -O "$place" ] && [ ! -L "$place" ] || exit 0
if [ ! -e "$place/name" ]; then
    new=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \\n') || exit 0
    { printf %s "$new" > "$place/.name.$new" && ln "$place/.name.$new" "$place/name"; } 2> /dev/null
    rm -f "$place/.name.$new"
fi
name=$(cat "$place/name" 2> /dev/null) || exit 0
boot=$(cat /proc/sys/kernel/random/boot_id 2> /dev/null) ||
    boot=$(sysctl -n kern.boottime 2> /dev/null | sed 's/[^0-9]*\\([0-9]*\\).*/\\1/')
printf 'name=%s boot=%s host=%s\\n' "$name" "$boot" "$(uname -n)"
""",
    FORM,
)
"""Prints the identity, and makes the name if there is none yet. Plain sh: it runs before a Python is known there.

It writes nothing into a directory that isn't the user's own, and prints nothing then; status 0 all the same.
"""


class Identity(NamedTuple):
    """Distinguishes one local scheduler from another."""

    name: str
    boot: str
    """Changes when the machine restarts; empty if the system has no such id."""
    host: str
    """For messages only."""


def parse(output: str) -> Identity | None:
    """Parse the output of COMMAND; None if it printed nothing."""
    line = output.strip()
    name, boot_found, rest = line.partition(" boot=")
    boot, host_found, host = rest.partition(" host=")
    if not (line.startswith("name=") and boot_found and host_found) or not name.removeprefix("name="):
        return None
    return Identity(name.removeprefix("name="), boot, host)


def line(directory: str) -> str:
    """What COMMAND prints, of a supervisor's directory, which has its name."""
    with open(f"{directory}/name", encoding="ascii") as file:
        return f"name={file.read()} boot={boot_id()} host={os.uname().nodename}"


def ensure_name(directory: str) -> None:
    """Name a directory that has no name yet."""
    if os.path.exists(f"{directory}/name"):
        return
    name = os.urandom(8).hex()
    hidden = f"{directory}/.name.{name}"
    with open(hidden, "w", encoding="ascii") as file:
        file.write(name)
    with contextlib.suppress(FileExistsError):
        os.link(hidden, f"{directory}/name")
    os.unlink(hidden)


def boot_id() -> str:
    """The machine's boot id, as COMMAND prints it."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    with contextlib.suppress(OSError):
        import subprocess  # noqa: PLC0415 - only without /proc

        done = subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False)
        digits = done.stdout.partition("sec = ")[2].partition(",")[0]
        return digits if digits.isdecimal() else ""
    return ""
