"""The choice among the subnets of a pretrained network, before any training: what keeps the most of its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasvit.any_network.model import ElasticModel
from nasvit.experiment.stages.choice import Choice, write_expected
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.workbench import Workbench
from nasvit.search.by_features import best_by_features
from nasvit.search.candidates import Candidate

BATCHES, IMAGES = 2, 32
"""Batches of training images whose features are compared, and images in each."""


def choose_by_features(bench: Workbench) -> list[Choice]:
    """Choose for every budget the subnet whose features agree best with those of the whole network.

    ``search.evaluations`` subnets are looked at over all budgets, see
    :func:`nasvit.search.by_features.best_by_features`.

    Raises:
        ValueError: if nothing meets a budget.
    """
    supernet = load_supernet(bench)
    assert isinstance(supernet, ElasticModel)
    images = list(bench.images.calibration(BATCHES, IMAGES))
    looked_at = max(1, bench.experiment.search.evaluations // len(bench.budgets))
    choices = []
    for number, budget in enumerate(bench.budgets):
        rng = np.random.default_rng([bench.experiment.seed, number])
        best, agreement = best_by_features(supernet, bench.candidates, budget.limits, images, looked_at, rng)
        evidence = {"judged_by": "features", "agreement": round(agreement, 4), "looked_at": looked_at}
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
