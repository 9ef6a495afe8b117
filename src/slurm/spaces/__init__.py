"""Spaces of parameters: which points a study has, and what makes two of them the same."""

from __future__ import annotations

from slurm.spaces.identity import canonical, identity
from slurm.spaces.space import Space, grid, paired, points

__all__ = ["Space", "canonical", "grid", "identity", "paired", "points"]
