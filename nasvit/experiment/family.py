"""The subnets that a supernet is trained with where budgets bound it, and what that spares."""

from __future__ import annotations

import numpy as np

from nasvit.search.candidates import Candidates
from nasvit.search.ends import largest_within, smallest_within
from nasvit.training.sampling import Family
from predictors.arrays import Codes
from predictors.limits import Budget
from search_spaces import Subnet

_DRAWN = 4096  # subnets in the pool of a budget
_POOLS = 11  # second part of a random key: which subnets


def make_family(
    candidates: Candidates, budgets: tuple[Budget, ...], seed: int, largest: Subnet | None = None
) -> Family:
    """Return the subnets that meet at least one budget, a pool of random ones for each.

    Args:
        candidates: architectures of the space that the supernet holds.
        budgets: what the supernet is trained for.
        seed: seed of the pools, which are the same in every run and process.
        largest: the subnet that learns from the targets; None: :func:`nasvit.search.ends.largest_within`.

    Raises:
        ValueError: if the space does not hold ``largest``, or it meets no budget.
    """
    limits = [budget.limits for budget in budgets]
    pools = [
        candidates.constraint(each).sample(_DRAWN, np.random.default_rng([seed, _POOLS, number]))
        for number, each in enumerate(limits)
    ]
    if largest is None:
        largest = largest_within(candidates, limits, pools)
    row = candidates.space.encode([largest])
    if not any(candidates.constraint(each).allowed(row)[0] for each in limits):
        raise ValueError(f"the largest subnet to train, {largest.key}, meets none of {', '.join(map(str, budgets))}")
    return Family(largest, smallest_within(candidates, limits, pools), candidates.space, tuple(pools))


def spared(whole: Candidates, cut: Candidates, family: Family, random: int) -> str:
    """Return in words what a training within budgets costs, before anything is trained.

    Args:
        whole: architectures of the whole space.
        cut: those of the space that the supernet holds.
        family: the subnets that it is trained with.
        random: subnets that are drawn in every step.
    """
    ends = whole.smallest_and_largest
    drawn = whole.genome.sample(_DRAWN, np.random.default_rng(0))
    least, most = whole.costs(ends)["macs"].tolist()
    before = least + most + random * _macs(whole, drawn)
    own_least, own_most = cut.costs(cut.space.encode([family.smallest, family.largest]))["macs"].tolist()
    after = own_least + own_most + random * float(np.mean([_macs(cut, pool) for pool in family.pools]))
    choices, left = (int(each.genome.cards.sum()) for each in (whole, cut))
    left += len(whole.genome) - len(cut.genome)  # a decision with one choice is none
    saved = f"{1 - after / before:.0%} saved" if after <= before else f"{after / before - 1:.0%} more"
    return (
        f"the supernet is trained within the budgets, with {left} of {choices} choices: multiply-adds of its largest "
        f"subnet {_millions(own_most)} instead of {_millions(most)}, of a step {_millions(after)} instead of "
        f"{_millions(before)} an image ({saved})"
    )


def _macs(candidates: Candidates, codes: Codes) -> float:
    return float(candidates.costs(codes)["macs"].mean())


def _millions(count: float) -> str:
    return f"{count / 1e6:.3g}M"
