"""A search without any training: the subnet of a pretrained network that keeps the most of its features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from torch import Tensor

from nasvit.any_network.features import feature_agreement
from nasvit.any_network.model import ElasticModel
from nasvit.search.candidates import Candidates
from nasvit.search.genetic import evolve
from predictors.arrays import Codes, Floats
from predictors.limits import Limit
from predictors.pool import Constraint
from search_spaces import ElasticArchitecture, ElasticSpace

_CHILDREN = 8  # subnets of a generation, and those that are kept for the next one
_DRAWN = 1024  # random subnets within a budget, of which the costliest begin


def best_by_features(
    elastic: ElasticModel,
    candidates: Candidates,
    limits: Sequence[Limit],
    batches: Sequence[Tensor],
    looked_at: int,
    rng: np.random.Generator,
) -> tuple[ElasticArchitecture, float]:
    """Return the subnet within limits whose features agree best with the whole network's, and their agreement.

    An evolution looks at subnets, from the widest uniform one within the limits and the costliest of random ones on.

    Args:
        elastic: the network, with the weights that it starts from, its channels sorted.
        candidates: its subnets with their costs.
        limits: all must hold.
        batches: images whose features are compared, a few dozen together.
        looked_at: how many subnets are looked at, about.
        rng: source of randomness.

    Raises:
        ValueError: if nothing meets the limits.
    """
    score = cache(feature_agreement(elastic, batches))
    constraint = candidates.constraint(limits)
    first = _first(elastic.space, candidates, constraint, max(1, looked_at // 3), rng)

    def scores(codes: Codes) -> Floats:
        return np.array([score(architecture) for architecture in elastic.space.decode(codes)])

    found = evolve(
        constraint,
        first,
        scores,
        rng,
        population=_CHILDREN,
        children=_CHILDREN,
        generations=max(0, looked_at - len(first)) // _CHILDREN,
        patience=looked_at,
    )
    (best,) = elastic.space.decode(found[:1])
    return best, score(best)


def _first(
    space: ElasticSpace, candidates: Candidates, constraint: Constraint, count: int, rng: np.random.Generator
) -> Codes:
    """Return the subnets that begin."""
    uniform = constraint.clean(space.encode([space.scaled(share) for share in np.linspace(1, 0.05, 96)]))
    drawn = constraint.sample(_DRAWN, rng)
    costliest = np.argsort(-candidates.costs(drawn)["macs"], kind="stable")
    widest = np.argsort(-candidates.costs(uniform)["macs"], kind="stable")[:1]
    return constraint.clean(np.concatenate([uniform[widest], drawn[costliest[:count]]]))
