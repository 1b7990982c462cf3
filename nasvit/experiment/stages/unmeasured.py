"""Choices that nothing is trained for: by a prior, by the budget alone, or by the features that are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nasvit.any_network.model import ElasticModel
from nasvit.experiment.stages.choice import Choice, write_expected
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.suggest import best_expected
from nasvit.experiment.workbench import Workbench
from nasvit.search.by_features import best_by_features
from nasvit.search.candidates import Candidate
from nasvit.search.ends import largest_within
from predictors.arrays import Codes
from predictors.limits import Budget
from predictors.prior import PriorWithin
from search_spaces import Subnet

BATCHES, IMAGES = 8, 64
"""Batches of training images whose features are compared, and images in each."""

_POOL = 4096  # subnets within a budget, in case that none has all decisions about equally far up

UNMEASURED_BY = ("prior", "size", "features")
"""What choices are judged by for which nothing is trained."""

Found = tuple[Subnet, dict[str, Any]]
"""A subnet, and what its choice rests on."""


def choose_unmeasured(bench: Workbench) -> list[Choice]:
    """Choose a subnet for every budget in the way that ``search.evaluate`` says.

    Raises:
        ValueError: if nothing meets a budget, or there is no prior and one is asked for.
    """
    choose, choices = _WAYS[bench.experiment.search.evaluate](bench), []
    for number, budget in enumerate(bench.budgets):
        architecture, evidence = choose(number, budget)
        choices.append(Choice(budget, architecture, None, None, bench.costs(Candidate(architecture)), evidence))
    write_expected(bench, choices)
    return choices


def describe_unmeasured(choices: list[Choice]) -> list[str]:
    """Return a line for every choice that says what it rests on."""
    return [f"{each.budget or each.budget.name}: {describe_evidence(each.evidence)}" for each in choices]


def describe_evidence(evidence: dict[str, Any]) -> str:
    """Return what a choice rests on that nothing was measured for."""
    if evidence["judged_by"] == "prior":
        points, data = 100 * evidence["expected_gain"], ", ".join(evidence["measured_on"])
        trainings = f"{evidence['measured']} trainings on {data}"
        return f"expected to be {points:.1f} points above a random subnet within the budget, by {trainings}"
    if evidence["judged_by"] == "size":
        return "as large as the budget allows, with every decision about equally far up"
    among = f"the most of {evidence['looked_at']} subnets that were looked at"
    return f"features agree to {evidence['agreement']:.2f} with those of the whole network, {among}"


def require_prior(bench: Workbench) -> PriorWithin:
    """Return the prior of an experiment.

    Raises:
        ValueError: if nothing was measured of its space.
    """
    if bench.prior is None:
        raise ValueError(
            f"search.evaluate: nothing was measured of space {bench.space.name}, so there is no prior; legal here: "
            "largest, inherited, finetune, scratch; or measure some of its subnets with python -m experiments.priors"
        )
    return bench.prior


def expected_row(bench: Workbench, budget: Budget) -> tuple[Codes, float]:
    """Return the row that the prior expects to be best under a budget, ``(1, genes)``, and its gain.

    The gain is its expected standardized score less that of a random subnet within the budget.

    Raises:
        ValueError: if there is no prior, or nothing meets the budget.
    """
    row, gain = best_expected(require_prior(bench), bench.candidates.constraint(budget.limits), bench.search_seed)
    return row[None], gain


def largest_of(bench: Workbench, budget: Budget) -> Subnet:
    """Return a subnet that is as large as a budget allows; see :func:`nasvit.search.ends.largest_within`.

    Raises:
        ValueError: if nothing meets the budget.
    """
    pool = bench.candidates.constraint(budget.limits).sample(_POOL, np.random.default_rng(0))
    return largest_within(bench.candidates, [budget.limits], [pool])


def _by_prior(bench: Workbench) -> Callable[[int, Budget], Found]:
    prior = require_prior(bench).prior

    def choose(number: int, budget: Budget) -> Found:
        row, gain = expected_row(bench, budget)
        (candidate,) = bench.candidates.decode(row)
        expected = {"judged_by": "prior", "expected_gain": round(prior.points * gain, 4)}
        return candidate.architecture, expected | {"measured": prior.measured, "measured_on": [*prior.data]}

    return choose


def _by_size(bench: Workbench) -> Callable[[int, Budget], Found]:
    return lambda number, budget: (largest_of(bench, budget), {"judged_by": "size"})


def _by_features(bench: Workbench) -> Callable[[int, Budget], Found]:
    """``search.evaluations`` subnets are looked at over all budgets."""
    supernet = load_supernet(bench)
    assert isinstance(supernet, ElasticModel)
    images = list(bench.images.calibration(BATCHES, IMAGES))
    looked_at = max(1, bench.experiment.search.evaluations // len(bench.budgets))

    def choose(number: int, budget: Budget) -> Found:
        rng = np.random.default_rng([bench.search_seed, number])
        best, agreement = best_by_features(supernet, bench.candidates, budget.limits, images, looked_at, rng)
        return best, {"judged_by": "features", "agreement": round(agreement, 4), "looked_at": looked_at}

    return choose


_WAYS: dict[str, Callable[[Workbench], Callable[[int, Budget], Found]]] = {
    "prior": _by_prior,
    "largest": _by_size,
    "features": _by_features,
}
