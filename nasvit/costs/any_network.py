"""What the subnets of an elastic network cost, for whole populations at once, exact to the integer.

Every operation's multiply-adds are a product of sizes, and so is the memory of every tensor; sizes are sums over the
units that are kept. So costs are arithmetic on what was followed once, and equal what is counted on extracted subnets.
Memory depends on one thing more, whether tensors are copied: a copy that is not made where a group has one unit alone,
such as a single head, is known (:mod:`nasvit.any_network.copies`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from nasvit.any_network.plan import Plan, bare_copy
from nasvit.any_network.terms import Integers, Subnets
from nasvit.costs.programs import Program
from predictors.cost import METRICS
from search_spaces.elastic import ElasticSpace
from search_spaces.genome import Population

_CHUNK = 2048  # subnets at once, so that what is alive at every operation fits into memory


class ElasticCosts:
    """Costs of the subnets of an elastic network.

    Args:
        network: the network.
        plan: what can be decided in it.
        space: its space.
    """

    def __init__(self, network: nn.Module, plan: Plan, space: ElasticSpace) -> None:
        self.plan, self.space, self.genes = plan, space, len(space.genome)
        bare = bare_copy(network, plan.device)
        self._at = {side: Program.of(bare, plan, space.image_channels, side) for side in space.resolution}

    def costs(self, population: Population, metrics: Sequence[str] = tuple(METRICS)) -> dict[str, Integers]:
        """Return several costs by name, each of shape ``(n,)``.

        Args:
            population: rows of the space, shape ``(n, genes)``.
            metrics: names of ``macs``, ``params``, ``memory`` and ``int8_size``; see
                :class:`nasvit.costs.counting.Cost`.
        """
        found = {metric: np.zeros(len(population), np.int64) for metric in metrics}
        resolution = self.space.sizes(population)["resolution"]
        for side, program in self._at.items():
            (rows,) = np.nonzero(resolution == side)
            for start in range(0, len(rows), _CHUNK):
                some = rows[start : start + _CHUNK]
                subnets = Subnets.of(self.plan, self.space, population[some])
                for metric in metrics:
                    found[metric][some] = getattr(program, metric)(subnets)
        return found
