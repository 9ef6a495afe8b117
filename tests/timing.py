"""Other timings than the default ones, for the places that a test uses first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.places.place import Place

if TYPE_CHECKING:
    import pytest


def set_timings(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Have the parts of a place that are made from now on use some other seconds."""
    monkeypatch.setattr(Place, "timings", Place.timings._replace(**seconds))
