"""The choice without a search: what the prior expects to be best under each budget."""

from __future__ import annotations

from nasvit.experiment.suggest import best_expected
from nasvit.experiment.workbench import Workbench
from predictors.arrays import Codes
from predictors.limits import Budget
from predictors.prior import PriorWithin


def require_prior(bench: Workbench) -> PriorWithin:
    """Return the prior of an experiment.

    Raises:
        ValueError: if nothing was measured of its space.
    """
    if bench.prior is None:
        raise ValueError(
            f"search.evaluate: nothing was measured of space {bench.space.name}, so there is no prior; legal here: "
            "inherited, finetune, scratch; or measure some of its subnets with python -m experiments.priors"
        )
    return bench.prior


def expected(bench: Workbench, budget: Budget) -> Codes:
    """Return the row that the prior expects to be best under a budget, ``(1, genes)``.

    Raises:
        ValueError: if there is no prior, or nothing meets the budget.
    """
    return best_expected(require_prior(bench), bench.candidates.constraint(budget.limits), bench.experiment.seed)[0][None]
