"""A search without any training: the subnet of a pretrained network that keeps the most of its features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from torch import Tensor

from nasvit.any_network.features import feature_agreement
from nasvit.any_network.model import ElasticModel
from nasvit.search.candidates import Candidates
from nasvit.search.ends import largest_within
from nasvit.search.genetic import breed, evolve
from predictors.arrays import Codes, Floats
from predictors.limits import Limit
from search_spaces import ElasticArchitecture, ElasticSpace

_CHILDREN = 8  # subnets of a generation, those that are kept for the next one, and those that are compared at the end
_DRAWN = 1024  # random subnets within a budget, of which the costliest begin


def quick_part(batches: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the half of the images that the evolution looks at: it tells subnets apart nearly as well as all do."""
    return batches[: -(-len(batches) // 2)]


def best_by_features(
    elastic: ElasticModel,
    candidates: Candidates,
    limits: Sequence[Limit],
    batches: Sequence[Tensor],
    looked_at: int,
    rng: np.random.Generator,
) -> tuple[ElasticArchitecture, float]:
    """Return the subnet within limits whose features agree best with the whole network's, and their agreement.

    An evolution looks at subnets, by a part of the images: from the widest uniform one within the limits on, the one in
    which every decision is about equally far up, children of both, and the costliest of random ones. The best of all
    are compared by all images.

    Args:
        elastic: the network, with the weights that it starts from, its channels sorted.
        candidates: its subnets with their costs.
        limits: all must hold.
        batches: images whose features are compared, some hundreds together.
        looked_at: how many subnets are looked at, about.
        rng: source of randomness.

    Raises:
        ValueError: if nothing meets the limits.
    """
    quick = cache(feature_agreement(elastic, quick_part(batches)))
    constraint = candidates.constraint(limits)
    first = _first(elastic.space, candidates, limits, max(1, looked_at // 3), rng)

    def scores(codes: Codes) -> Floats:
        return np.array([quick(architecture) for architecture in elastic.space.decode(codes)])

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
    thorough = feature_agreement(elastic, batches)
    agreements = {architecture: thorough(architecture) for architecture in elastic.space.decode(found)}
    best = max(agreements, key=agreements.__getitem__)
    return best, agreements[best]


def _first(
    space: ElasticSpace, candidates: Candidates, limits: Sequence[Limit], count: int, rng: np.random.Generator
) -> Codes:
    """Return the subnets that begin, the even ones first."""
    constraint = candidates.constraint(limits)
    uniform = constraint.clean(space.encode([space.scaled(share) for share in np.linspace(1, 0.05, 96)]))
    drawn = constraint.sample(_DRAWN, rng)
    costliest = np.argsort(-candidates.costs(drawn)["macs"], kind="stable")
    widest = np.argsort(-candidates.costs(uniform)["macs"], kind="stable")[:1]
    largest = candidates.space.encode([largest_within(candidates, [limits], [drawn])])
    even = constraint.clean(np.concatenate([uniform[widest], largest]))
    children = constraint.repair(breed(constraint, even, count // 3, rng), rng)
    others = max(0, count - len(even) - len(children))
    return constraint.clean(np.concatenate([even, children, drawn[costliest[:others]]]))
