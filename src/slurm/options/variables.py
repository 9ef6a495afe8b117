"""Variables: the option `env`, environment variables of the process of a task. The job's records contain them."""

from __future__ import annotations

from slurm.options.values import fail
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_SECRETS = {"TOKEN", "KEY", "PASSWORD", "SECRET"}
_OURS = "SLURMTASKS_"
_OF_BASH = frozenset("BASHOPTS BASH_VERSINFO EUID PPID SHELLOPTS UID".split())  # noqa: SIM905
"""Variables that bash does not let a script set."""
_OF_JOBS = frozenset(
    "SLURM_JOB_ID SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_RESTART_COUNT SLURM_JOB_NODELIST SLURMD_NODENAME "  # noqa: SIM905
    "SLURM_CPUS_PER_TASK SLURM_CPUS_ON_NODE SLURM_PROCID SLURM_NTASKS SLURM_LOCALID SLURM_NODEID SLURM_GTIDS".split()
)
"""Variables of Slurm that the runner reads."""
_MOST_BYTES = (1 << 17) - 1
"""The kernel's limit for one variable: execve(2), MAX_ARG_STRLEN."""
_MOST_BYTES_IN_ALL = 1 << 20
"""Half of the usual limit for all variables and arguments of a process."""


def parse(given: Any) -> dict[str, str | None]:
    """Check variables that a user wrote; None removes a variable. Raises OptionError, without the value of a secret."""
    if not hasattr(given, "items"):
        fail(f'env={given!r:.200}: expected a mapping, such as env={{"OMP_NUM_THREADS": "4"}}')
    found = {_name(name, value): _value(name, value) for name, value in given.items()}
    size = sum(len(name) + len((value or "").encode()) for name, value in found.items())
    if size > _MOST_BYTES_IN_ALL:
        fail(f"env: {size} bytes are more than a process can have. Pass large data as an argument of the task")
    return found


def _name(name: Any, value: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        fail(f"env: {name!r:.80} is not a name of a variable: write letters, digits and `_`, no digit first")
    if name in _OF_BASH or name in _OF_JOBS or name.startswith(_OURS):
        fail(f"env: {name} has a value of its own in each job, which cannot be set")
    if value is not None and _SECRETS & set(name.upper().split("_")):
        file = name.lower()
        fail(
            f"env: {name} looks like a secret, and options are written to the records of the job in plain text. "
            f"Put the value into a file on the cluster that only you can read (chmod 600 ~/.{file}), and read it "
            f"in the task, or in a line of the setup: Cluster(setup=['export {name}=\"$(cat ~/.{file})\"'])"
        )
    return name


def _value(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        fail(f"env: {name}={value!r:.200}: expected a text, or None to remove the variable")
    try:
        size = len(name) + 2 + len(value.encode())
    except UnicodeEncodeError:
        size = 0
    if not size or "\0" in value:
        fail(f"env: {name}={value!r:.200}: expected text without null characters and surrogates")
    if size > _MOST_BYTES:
        fail(f"env: {name} has {size} bytes, and a variable at most {_MOST_BYTES}: pass it as an argument of the task")
    return value
