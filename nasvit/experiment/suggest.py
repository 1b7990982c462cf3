"""An answer before anything is trained: the subnet that is expected to be best within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.search.candidates import Candidates
from nasvit.search.run import imagine
from predictors.limits import Budget, require_feasible
from predictors.metrics import spearman
from predictors.pool import Constraint
from predictors.prior import Prior, PriorWithin, find_prior, has_prior
from search_spaces import Architecture

_POOL = 4096


@dataclass(frozen=True)
class Suggestion:
    """The subnet of one space that is expected to be best within a budget.

    Args:
        space: name of the space.
        architecture: the subnet.
        costs: metric -> value, such as ``macs`` of one image.
        gain: expected accuracy above that of a random subnet within the budget, in points (hundredths), the mean over
            the data sets that were measured.
        prior: what it is expected from.
    """

    space: str
    architecture: Architecture
    costs: dict[str, Any]
    gain: float
    prior: Prior


def suggest(budget: Budget, spaces: Sequence[str] = (), classes: int = 10) -> list[Suggestion]:
    """Return the subnet that each space's prior expects to be best within a budget.

    Args:
        budget: the limits.
        spaces: names of spaces; all that have a prior if left out.
        classes: number of classes, which costs depend on.

    Returns:
        A suggestion for every space in which a subnet meets the budget, by rising cost.

    Raises:
        ValueError: if a named space has no prior, or no subnet within the budget, or, if none is named, all have none.
    """
    for name in spaces:
        search_spaces.load(name)
        if not has_prior(name):
            raise ValueError(
                f"nothing was measured of space {name}; measured are {', '.join(_measured())}, and "
                f"python -m experiments.priors {name} ... measures more"
            )
    found, problems = [], []
    for name in spaces or _measured():
        try:
            found.append(_suggestion(name, budget, classes))
        except ValueError as error:
            problems.append(f"{name}: {error}")
            if spaces:
                raise ValueError(problems[0]) from error
    if not found:
        raise ValueError("\n".join(problems))
    return sorted(found, key=lambda each: each.costs["macs"])


def _measured() -> list[str]:
    return [name for name in search_spaces.names() if has_prior(name)]


def _suggestion(name: str, budget: Budget, classes: int) -> Suggestion:
    space = search_spaces.load(name)
    candidates = Candidates(space, cost_table(space, classes).costs)
    prior = find_prior(name, candidates.proxies)
    assert prior is not None
    constraint = candidates.constraint(budget.limits)
    try:
        best, gain = best_expected(prior.within(space), constraint)
    except ValueError:
        drawn = candidates.genome.sample(_POOL, np.random.default_rng(0))
        everything = np.concatenate([candidates.smallest_and_largest, drawn])
        require_feasible(candidates.costs(everything), budget.limits)
        raise
    costs = {metric: values[0].item() for metric, values in candidates.costs(best[None]).items()}
    (architecture,) = space.decode(best[None])
    return Suggestion(name, architecture, costs, 100 * prior.points * gain, prior)


def best_expected(
    prior: PriorWithin, constraint: Constraint, seed: int = 0
) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], float]:
    """Return the candidate of highest expected score within limits, and how far it is above a random one.

    Args:
        prior: what is expected of every row.
        constraint: genome and limits.
        seed: seed of the search among the predictions.

    Returns:
        Its row ``(genes,)``, and its expected standardized score less the mean of those within the limits.

    Raises:
        ValueError: if nothing meets the limits.
    """
    rng = np.random.default_rng(seed)
    pool = constraint.sample(_POOL, rng)
    found = imagine(prior, constraint, pool[:0], 1, rng)
    return found.codes[0], float(found.mean[0] - prior.predict(pool)[0].mean())


def carried_over(prior: Prior) -> dict[str, float]:
    """Return for every measured data set how well the others rank its subnets: Spearman's correlation."""
    return {name: spearman(*pair) for name, pair in prior.left_out().items()}
