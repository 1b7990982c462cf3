"""A device that needs no time: every block takes what is looked up, every network a line over its sum."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from nasvit.costs.latency.subjects import SpaceSubject, Subject
from nasvit.costs.latency.timed_modules import TimedModule, network_name
from nasvit.costs.latency.timing_log import Timing
from search_spaces import Space


class FakeDevice:
    """Measures modules of one space; counts what it was asked for.

    Args:
        measured: the space, or what else is measured.
        scale: milliseconds of a network for each millisecond of its blocks.
        offset: milliseconds of a network on top.
        noise: relative deviation of whole networks.
        classes: classes of the classifier.
    """

    def __init__(
        self,
        measured: Space | Subject[Any],
        scale: float = 1.5,
        offset: float = 0.25,
        noise: float = 0.0,
        classes: int = 10,
    ) -> None:
        subject = SpaceSubject(measured) if isinstance(measured, Space) else measured
        apart = subject.take_apart(classes, 1)
        self.blocks = {block.name: 1.0 + number % 7 for number, block in enumerate(apart.blocks)}
        networks = subject.choose(60, seed=0)
        sums = apart.table(self.blocks).total(subject.space.encode(networks))
        factors = 1 + noise * np.random.default_rng(0).standard_normal(len(networks))
        whole = (scale * sums + offset) * factors
        self.known = self.blocks | dict(zip(map(network_name, networks), whole.tolist(), strict=True))
        self.asked: Counter[str] = Counter()
        self.dies_after = -1

    def __call__(self, module: TimedModule) -> Timing:
        if sum(self.asked.values()) == self.dies_after:
            raise KeyboardInterrupt
        self.asked[module.name] += 1
        return Timing(self.known[module.name])
