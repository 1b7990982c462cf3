"""Which widths of a slimmable network take part in a training step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasvit.supernets.slimmable import SlimmableNetwork, Width


class AllSwitches:
    """Every switch takes part in every step, the largest first.

    Source: Yu et al., Slimmable Neural Networks (2019), algorithm 1, https://arxiv.org/abs/1812.08928

    Args:
        network: whose switches.
    """

    def __init__(self, network: SlimmableNetwork) -> None:
        self.widths = sorted(network.widths, key=lambda width: sum(network.plan(width).channels), reverse=True)

    def __call__(self, rng: np.random.Generator) -> list[Width]:
        """Return the widths of one step; nothing is drawn."""
        return self.widths


@dataclass(frozen=True)
class RandomWidths:
    """The sandwich rule: the largest width, the smallest, and some at random between them.

    Source: Yu and Huang, Universally Slimmable Networks (2019), section 3.2, https://arxiv.org/abs/1903.05134

    Args:
        smallest: width multiplier.
        largest: width multiplier.
        random: how many widths are drawn a step.
        gaps: open intervals that no width is drawn from, ``(low, high)`` each.

    Raises:
        ValueError: if the widths are not in order, or nothing is left to draw from.
    """

    smallest: float
    largest: float
    random: int = 2
    gaps: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.smallest < self.largest:
            raise ValueError(f"widths {self.smallest}..{self.largest}; legal: 0 < smallest < largest")
        reached = self.smallest
        for low, high in sorted(self.gaps):
            reached = max(reached, high) if low <= reached else reached
        if reached >= self.largest:
            raise ValueError(f"gaps {self.gaps} leave nothing of the widths {self.smallest}..{self.largest} to draw")

    def __call__(self, rng: np.random.Generator) -> list[float]:
        """Return the widths of one step, the largest first."""
        return [self.largest, self.smallest, *(self._draw(rng) for _ in range(self.random))]

    def _draw(self, rng: np.random.Generator) -> float:
        while True:
            width = float(rng.uniform(self.smallest, self.largest))
            if not any(low < width < high for low, high in self.gaps):
                return width
