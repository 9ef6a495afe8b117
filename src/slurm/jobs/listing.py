"""Listing: a list of jobs and arrays, which a notebook shows as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from slurm.jobs.job import Job, JobArray


class Listing(list["Job[Any] | JobArray[Any]"]):
    """A list of jobs and arrays; a notebook shows it as a table."""

    def __repr__(self) -> str:
        lines = ",\n ".join(map(repr, self))
        return f"[{lines}]"

    def _repr_html_(self) -> str:
        from slurm.views.notebook import listing_html  # noqa: PLC0415 - only notebooks have it

        return listing_html([job.part for job in self])
