"""Former home of `JobArray` handles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.jobs.job import open_job

if TYPE_CHECKING:
    from slurm.places.place import Spec


def revive(spec: Spec, key: str, part: int | range) -> Any:
    """Open what an earlier release has pickled."""
    return open_job(spec._asdict(), key, part)
