"""Finished: the result of a command."""

from __future__ import annotations

from slurm.protocol import WORK
from slurm.protocol.outcomes import Product
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import ClassVar

    from slurm.protocol.outcomes import Outcome, Output


class Diagnosis(Record):
    """What went wrong with a program. Its `diagnose` function finds this out from the log."""

    name: str
    """Capital letters, digits and _, such as "DIVERGED". `Retry(on="DIVERGED")` refers to this name."""
    advice: str = ""

    def __init__(self, name: str, advice: str = "") -> None:
        super().__init__(name=name, advice=advice)


class Finished(Record):
    """The result of a command whose program succeeded.

    Paths are those of the machine that the job ran on. Among the arguments of a task, the job of a command stands for
    its `Finished`. In a template, `{data}` is the path of the only product; `{data.products[0]}` and `{data.directory}`
    are paths, too.
    """

    exit_code: int
    home: str
    """The path of the directory, as text."""
    files: tuple[Product, ...] = ()
    """The products with their sizes and SHA-256; paths are relative to the directory."""
    seconds: float
    """The time between the start and the end of the program, in seconds."""
    peak_memory: int
    """The largest resident set of one of the program's processes, in bytes."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"files": Product}

    @classmethod
    def of(cls, outcome: Outcome, directory: str, index: int) -> Finished | None:
        """Return the result of call `index` if the outcome contains the whole result; None if the result has a file.

        `directory` is the submission's directory.
        """
        if outcome.result or not outcome.succeeded or not outcome.outputs:
            return None
        return cls.from_output(outcome.outputs[0], directory, index)

    @classmethod
    def from_output(cls, output: Output, directory: str, index: int) -> Finished:
        """Return the result of call `index`, whose files are recorded in `output`."""
        return cls(
            exit_code=0,
            home=f"{directory}/{WORK}/{index}/{output.directory}",
            files=output.products,
            seconds=output.seconds or 0.0,
            peak_memory=output.peak_memory or 0,
        )

    @property
    def directory(self) -> Path:
        """The directory in which the program ran. It contains the products and the logs."""
        from pathlib import Path  # noqa: PLC0415 - a node that only passes it on needs no Path

        return Path(self.home)

    @property
    def products(self) -> tuple[Path, ...]:
        """The files and directories that match the command's `products`, in the order of the patterns."""
        return tuple(self.directory / file.path for file in self.files)

    def __format__(self, spec: str) -> str:
        """Return the path of the only product. Raises ValueError if there are several, or none."""
        if len(self.files) != 1:
            names = ", ".join(file.path for file in self.files)
            what = f"{len(self.files)} products: {names}" if self.files else "no products"
            raise ValueError(
                f"a job of a command stands for the path of its only product, but this one has {what}. "
                "Write {job.products[0]} or {job.directory} in the template"
            )
        return format(f"{self.home}/{self.files[0].path}", spec)


Finished.__module__ = "slurm"  # results name this class, so its module may change
