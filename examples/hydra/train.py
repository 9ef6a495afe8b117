"""A program of Hydra whose jobs are the points of a sweep. Run it from this directory:

python train.py -m rate=0.1,0.2 depth=2,3
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import hydra

if TYPE_CHECKING:
    from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=".", config_name="config")
def train(config: DictConfig) -> float:
    """Return what the sweep has as the metric `return_value`."""
    loss = (config.rate - 0.15) ** 2 + 1 / config.depth
    print(f"rate {config.rate}, depth {config.depth}: loss {loss:.3f}")
    return float(loss)


if __name__ == "__main__":
    train()
