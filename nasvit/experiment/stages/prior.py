"""The choice without a search: what the prior expects to be best under each budget."""

from __future__ import annotations

from nasvit.experiment.stages.choice import Choice, write_expected
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


def expected_row(bench: Workbench, budget: Budget) -> tuple[Codes, float]:
    """Return the row that the prior expects to be best under a budget, ``(1, genes)``, and its gain.

    The gain is its expected standardized score less that of a random subnet within the budget.

    Raises:
        ValueError: if there is no prior, or nothing meets the budget.
    """
    row, gain = best_expected(require_prior(bench), bench.candidates.constraint(budget.limits), bench.experiment.seed)
    return row[None], gain


def choose_expected(bench: Workbench) -> list[Choice]:
    """Choose for every budget what the prior expects to be best; nothing is measured.

    Raises:
        ValueError: if there is no prior, or nothing meets a budget.
    """
    prior, choices = require_prior(bench).prior, []
    for budget in bench.budgets:
        row, gain = expected_row(bench, budget)
        (candidate,) = bench.candidates.decode(row)
        evidence = {
            "judged_by": "prior",
            "expected_gain": round(prior.points * gain, 4),
            "measured": prior.measured,
            "measured_on": [*prior.data],
        }
        choices.append(Choice(budget, candidate.architecture, None, None, bench.costs(candidate), evidence))
    write_expected(bench, choices)
    return choices


def describe_expected(choices: list[Choice]) -> list[str]:
    """Return a line for every choice that says what it rests on."""
    return [
        f"{each.budget or each.budget.name}: expected to be {100 * each.evidence['expected_gain']:.1f} points above a "
        f"random subnet within the budget, by {each.evidence['measured']} trainings on "
        f"{', '.join(each.evidence['measured_on'])}"
        for each in choices
    ]
