"""The choice among the subnets of a pretrained network, before any training: what keeps the most of its features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from nasvit.elasticize.features import feature_agreement
from nasvit.elasticize.model import ElasticModel
from nasvit.experiment.stages.choice import Choice, write_expected
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.workbench import Workbench
from nasvit.search.candidates import Candidate
from nasvit.search.genetic import evolve
from predictors.arrays import Codes, Floats
from predictors.limits import Budget
from predictors.pool import Constraint
from search_spaces import ElasticArchitecture, ElasticSpace

Score = Callable[[ElasticArchitecture], float]

_BATCHES, _IMAGES = 2, 32  # of training images whose features are compared
_CHILDREN = 8  # subnets of a generation, and those that are kept for the next one
_DRAWN = 1024  # random subnets within a budget, of which the costliest begin


def choose_by_features(bench: Workbench) -> list[Choice]:
    """Choose for every budget the subnet whose features agree best with those of the whole network.

    ``search.evaluations`` subnets are looked at over all budgets, by an evolution that begins with random ones and the
    widest uniform one.

    Raises:
        ValueError: if nothing meets a budget.
    """
    supernet = load_supernet(bench)
    assert isinstance(supernet, ElasticModel)
    images = bench.images.calibration(_BATCHES, _IMAGES)
    score = cache(feature_agreement(supernet, list(images)))
    looked_at = max(1, bench.experiment.search.evaluations // len(bench.budgets))
    choices = []
    for number, budget in enumerate(bench.budgets):
        rng = np.random.default_rng([bench.experiment.seed, number])
        best = _best(bench, budget, score, looked_at, rng)
        evidence = {"judged_by": "features", "agreement": round(score(best), 4), "looked_at": looked_at}
        choices.append(Choice(budget, best, None, None, bench.costs(Candidate(best)), evidence))
    write_expected(bench, choices)
    return choices


def describe_agreements(choices: Sequence[Choice]) -> list[str]:
    """Return a line for every choice that says what it rests on."""
    return [
        f"{each.budget or each.budget.name}: features agree to {each.evidence['agreement']:.2f} with those of the "
        f"whole network, the most of {each.evidence['looked_at']} subnets that were looked at"
        for each in choices
    ]


def _best(
    bench: Workbench, budget: Budget, score: Score, looked_at: int, rng: np.random.Generator
) -> ElasticArchitecture:
    """Return the best of so many subnets within a budget."""
    candidates = bench.candidates
    constraint = candidates.constraint(budget.limits)
    first = _first(bench, constraint, max(1, looked_at // 3), rng)

    def scores(codes: Codes) -> Floats:
        return np.array([score(each.architecture) for each in candidates.decode(codes)])

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
    best: ElasticArchitecture = candidates.decode(found[:1])[0].architecture
    return best


def _first(bench: Workbench, constraint: Constraint, count: int, rng: np.random.Generator) -> Codes:
    """Return the subnets that begin: the widest uniform one within the budget, and the costliest of random ones."""
    space = bench.space
    assert isinstance(space, ElasticSpace)
    uniform = space.encode([space.scaled(share) for share in np.linspace(1, 0.05, 96)])
    drawn = constraint.sample(_DRAWN, rng)
    costliest = np.argsort(-bench.candidates.costs(drawn)["macs"], kind="stable")
    return constraint.clean(np.concatenate([constraint.clean(uniform)[:1], drawn[costliest]]))[:count]
