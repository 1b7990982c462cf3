"""AutoSlim's greedy slimming, driven by errors and costs that are formulas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nasvit.search.greedy import Channels, slim_greedily
from tests.parity import streams
from tests.parity.rows import Comparison, Row

CLASSES = 10
IMAGE_CHANNELS = 3


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Slimming of an analytic oracle."""
    return "oracle" in content and "max_channels" in content


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare the oracle, every choice, and what is left at every target."""
    comparison = Comparison(f"greedy slimming {content['tag']}", 1e-10)
    largest, tag = tuple(content["max_channels"]), content["tag"]
    scale = 0.1 * streams.uniform(f"autoslim:{tag}:a", len(largest)) + 0.01
    power = 1 + 2 * streams.uniform(f"autoslim:{tag}:p", len(largest))
    comparison.values("a", scale, content["a"])
    comparison.values("p", power, content["p"])

    def error(channels: Channels) -> float:
        gone = (np.array(largest) - np.array(channels)) / np.array(largest)
        return float((scale * gone**power).sum())

    def cost(channels: Channels) -> float:
        chain = (IMAGE_CHANNELS, *channels)
        layers = sum(hw * chain[i] * chain[i + 1] for i, hw in enumerate(content["hw"]))
        return int(layers + content["hw"][-1] * channels[-1] * CLASSES)

    comparison.exact("full_flops", cost(largest), content["full_flops"])
    results = slim_greedily(largest, tuple(content["divisor"]), error, cost, content["targets"])
    comparison.exact("chosen_layers", list(results[-1].chosen), content["chosen_layers"])
    comparison.exact("n_steps", len(results[-1].chosen), content["n_steps"])
    for ours, expected in zip(results, content["results"], strict=True):
        found = {"target": ours.target, "steps": len(ours.chosen), "channels": list(ours.channels), "flops": ours.cost}
        comparison.exact(f"target {ours.target}", found, expected)
    yield comparison.row()
