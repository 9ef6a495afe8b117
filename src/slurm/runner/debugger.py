"""Debugger: makes debugpy listen in this process, for `slurm debug --attach`. Imported when the signal arrives."""

from __future__ import annotations

from slurm.runner.job_context import print_to_log

MARK = "slurm debug:"
_address: list[str] = []


def listen() -> None:
    """Start debugpy on a free port of the loopback interface, once; print the address, or the error, to the log."""
    try:
        if not _address:
            host, port = __import__("debugpy").listen(("127.0.0.1", 0))
            _address.append(f"{host}:{port}")
    except Exception as error:  # noqa: BLE001 - whatever debugpy raises, the task goes on
        print_to_log(f"{MARK} {type(error).__name__}: {error}\n")
    else:
        print_to_log(f"{MARK} listening {_address[0]}\n")
