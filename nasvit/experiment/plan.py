"""The division of the hours there are: among supernet, search and final trainings, or final trainings alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from nasvit.experiment.config import Experiment
from search_spaces.recipe import Recipe

Way = Literal["prior", "supernet"]

SUPERNET_SHARE, SEARCH_SHARE = 0.5, 0.1
"""Shares of the time that the supernet and the search get; the final trainings get the rest."""

FEWEST_EVALUATIONS, MOST_EVALUATIONS = 20, 300
_MARGIN = 0.97  # share of the time that is planned: what is printed, opened and written between stages takes some too
_WARM_UP = 0.05  # share of the epochs in which the learning rate rises


@dataclass(frozen=True)
class Paces:
    """Seconds that things take, as measured before anything is trained.

    Args:
        plain: one epoch of the network that the prior chooses, for every budget; without a prior, of one near the
            budget.
        supernet: one epoch of the supernet.
        evaluation: one candidate of the search.
        fixed: what every network costs besides its training: saving, exporting, testing.
    """

    plain: tuple[float, ...]
    supernet: float
    evaluation: float
    fixed: float


@dataclass(frozen=True)
class Plan:
    """What is done in the time there is.

    Args:
        way: ``prior``: the networks that the prior expects to be best are trained from random weights. ``supernet``: a
            supernet is trained and searched, and what is found is trained on.
        seconds: the time there is.
        train_epochs: epochs of the supernet; 0 without one.
        evaluations: candidates of the search; 0 without one.
        final_epochs: epochs of each final training.
        stages: seconds that each stage is expected to take.
        reasons: why, in sentences.
    """

    way: Way
    seconds: float
    train_epochs: int
    evaluations: int
    final_epochs: int
    stages: dict[str, float]
    reasons: tuple[str, ...]


def prior_plan(seconds: float, paces: Paces, reasons: Sequence[str]) -> Plan:
    """Return the plan without a supernet: all of the time for the final trainings, equal epochs for each.

    Raises:
        ValueError: if there is no time for one epoch of each.
    """
    epochs = _final_epochs(seconds * _MARGIN, paces)
    _require(epochs, seconds, paces)
    return Plan("prior", seconds, 0, 0, epochs, {"finetune": _final_seconds(epochs, paces)}, tuple(reasons))


def supernet_plan(seconds: float, paces: Paces, reasons: Sequence[str]) -> Plan:
    """Return the plan with a supernet.

    Raises:
        ValueError: if there is no time for one epoch of everything.
    """
    usable = seconds * _MARGIN
    train_epochs = int(SUPERNET_SHARE * usable / paces.supernet)
    evaluations = int(SEARCH_SHARE * usable / paces.evaluation)
    evaluations = min(max(evaluations, FEWEST_EVALUATIONS), MOST_EVALUATIONS)
    begun = train_epochs * paces.supernet + evaluations * paces.evaluation
    final_epochs = _final_epochs(usable - begun, paces)
    _require(min(train_epochs, final_epochs), seconds, paces)
    stages = {
        "train": train_epochs * paces.supernet,
        "search": evaluations * paces.evaluation,
        "finetune": _final_seconds(final_epochs, paces),
    }
    return Plan("supernet", seconds, train_epochs, evaluations, final_epochs, stages, tuple(reasons))


def _final_epochs(seconds: float, paces: Paces) -> int:
    return max(0, int((seconds - len(paces.plain) * paces.fixed) / sum(paces.plain)))


def _final_seconds(epochs: int, paces: Paces) -> float:
    return epochs * sum(paces.plain) + len(paces.plain) * paces.fixed


def _require(epochs: int, seconds: float, paces: Paces) -> None:
    if epochs < 1:
        least = (paces.supernet + FEWEST_EVALUATIONS * paces.evaluation + _final_seconds(1, paces)) / _MARGIN
        raise ValueError(
            f"hours: {seconds / 3600:.3g} are not enough for one epoch of everything, which takes {least / 3600:.2g} "
            "here; give more hours, fewer budgets or fewer images"
        )


def planned(experiment: Experiment, plan: Plan) -> Experiment:
    """Return the experiment that a plan makes of one with ``hours``: all of its epochs are said."""
    if plan.way == "prior":
        recipe = from_scratch(experiment)
        search = replace(experiment.search, evaluate="prior")
        final = experiment.finetune.by(with_epochs(recipe, plan.final_epochs))
        return replace(experiment, hours=None, search=search, finetune=final)
    search = replace(experiment.search, evaluations=plan.evaluations)
    train = replace(experiment.train, recipe=with_epochs(experiment.train.recipe, plan.train_epochs))
    final = experiment.finetune.by(with_epochs(experiment.finetune.recipe, plan.final_epochs))
    return replace(experiment, hours=None, search=search, train=train, finetune=final)


def from_scratch(experiment: Experiment) -> Recipe:
    """Return the recipe of trainings from random weights: that of fine-tuning, at the supernet's learning rate."""
    rate = experiment.compare.learning_rate or experiment.train.recipe.learning_rate
    return replace(experiment.finetune.recipe, learning_rate=rate)


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe of so many epochs, a twentieth of them warm-up."""
    return replace(recipe, epochs=epochs, warmup_epochs=min(epochs, max(1, round(_WARM_UP * epochs))))


def to_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain JSON values."""
    return {**vars(plan), "reasons": list(plan.reasons)}


def from_json(content: dict[str, Any]) -> Plan:
    """Read what :func:`to_json` returned."""
    return Plan(**{**content, "reasons": tuple(content["reasons"])})
