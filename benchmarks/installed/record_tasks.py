"""Tasks whose calls leave records and files, in an installed module."""

import os

from slurm import JobContext, task

FILE_BYTES = 1 << 20


@task(reuse=True)
def known(number: int) -> int:
    """Return the number."""
    return number


@task
def write(number: int, ctx: JobContext | None = None) -> None:
    """Write a file of a mebibyte that does not compress."""
    del number
    assert ctx is not None
    (ctx.output_directory() / "data").write_bytes(os.urandom(FILE_BYTES))
