"""Spaces of parameters: the points of a study, and the rule for when two points are the same."""

from __future__ import annotations

from slurm.spaces.identity import canonical, identity
from slurm.spaces.space import Space, grid, paired, points

__all__ = ["Space", "canonical", "grid", "identity", "paired", "points"]
