"""SweepEngine: sweeps for programs that run an event loop; each method runs a method of `Sweep` in a thread."""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING, Any

from slurm.sweeps.directory import OUTPUTS
from slurm.sweeps.sweep import Sweep

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from slurm.sweeps.snapshot import Snapshot
    from slurm.sweeps.sources import On
    from slurm.tasks.task import Task


class SweepEngine:
    """Runs, completes, monitors and cancels sweeps by name. `directory` holds the sweeps."""

    def __init__(self, directory: str | os.PathLike[str] = OUTPUTS) -> None:
        self._directory = directory

    async def run_sweep(
        self,
        task: Task[..., Any],
        space: Iterable[Mapping[str, Any]],
        *,
        on: On | Iterable[On],
        name: str | None = None,
        **how: Any,
    ) -> str:
        """Submit the missing points of a space, like `Sweep.run`; returns the name of the sweep."""
        sweep = await to_thread(Sweep, task, space, name=name, directory=self._directory)
        await to_thread(sweep.run, on, **how)
        return sweep.name

    async def complete_sweep(
        self, name: str, *, on: On | Iterable[On], task: Task[..., Any] | None = None, **how: Any
    ) -> Snapshot:
        """Submit the missing points, like `Sweep.complete`; returns the state of all points."""
        sweep = await self._open(name, task)
        await to_thread(sweep.complete, on, **how)
        return await to_thread(sweep.snapshot)

    async def monitor_sweep(self, name: str, *, stop_after: int | None = None) -> Snapshot:
        """Drive a sweep until all submitted points have ended, like `Sweep.drive`; returns the state of all points."""
        sweep = await self._open(name)
        return await to_thread(sweep.drive, stop_after=stop_after)

    async def cancel_sweep(self, name: str) -> int:
        """Cancel the points that wait or run, like `Sweep.cancel`; returns how many points were cancelled."""
        sweep = await self._open(name)
        return await to_thread(sweep.cancel)

    async def _open(self, name: str, task: Task[..., Any] | None = None) -> Sweep:
        return await to_thread(Sweep.open, name, task, directory=self._directory)
