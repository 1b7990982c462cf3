"""The division of the hours there are: among supernet, search and final trainings, or final trainings alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from nasvit.experiment.clock import minutes
from nasvit.experiment.config import Evaluate, Experiment, TrainConfig
from search_spaces.recipe import Recipe

Way = Literal["prior", "largest", "features", "supernet"]

WAYS: tuple[Way, ...] = ("prior", "largest", "features", "supernet")

SUPERNET_SHARE, SEARCH_SHARE = 0.5, 0.1
"""Shares of the time that the supernet and the search get; the final trainings get the rest."""

MOST_EPOCHS = 600
"""Epochs of a final training at most, about what the longest published recipes of this field have."""

FEWEST_EVALUATIONS, MOST_EVALUATIONS = 20, 300

_LOOKS, _LOOKED_AT = 5, 4  # evaluations during the training of the supernet, and subnets in each
_MARGIN = 0.97  # share of the time that is planned: starting and reading files between stages takes some too
_WARM_UP = 0.05  # share of the epochs in which the learning rate rises


@dataclass(frozen=True)
class Paces:
    """Seconds that things take, as measured before anything is trained.

    Args:
        plain: one epoch of a network within each budget: the one that the prior chooses, or the costliest of some.
        supernet: one epoch of the supernet; 0 where none is trained.
        evaluation: one candidate of the search; 0 where none is evaluated.
        final: what each network costs besides its final training: saving, exporting, testing.
        found: what it costs besides if a supernet holds it: extracting, exporting, testing it twice.
    """

    plain: tuple[float, ...]
    supernet: float
    evaluation: float
    final: float
    found: float

    @property
    def all_plain(self) -> float:
        """One epoch of every network."""
        return sum(self.plain)

    @property
    def all_final(self) -> float:
        """What all networks cost besides their final trainings."""
        return len(self.plain) * self.final

    @property
    def all_found(self) -> float:
        """What they cost besides if a supernet holds them."""
        return len(self.plain) * self.found


@dataclass(frozen=True)
class Plan:
    """What is done in the time there is.

    Args:
        way: ``prior``: the networks that the prior expects to be best are trained from random weights. ``largest``:
            those that are as large as the budgets allow. ``features``: those that keep the most of what a network with
            weights knows are trained on. ``supernet``: a supernet is trained and searched, and what is found is trained
            on.
        seconds: the time there is.
        paces: what was measured.
        train_epochs: epochs of the supernet; 0 without one.
        evaluations: candidates of the search; 0 without one.
        final_epochs: epochs of each final training.
        reasons: why, in sentences.
        replanned: whether the final epochs are those of the time that was left then.
    """

    way: Way
    seconds: float
    paces: Paces
    train_epochs: int
    evaluations: int
    final_epochs: int
    reasons: tuple[str, ...] = ()
    replanned: bool = False

    @property
    def stages(self) -> dict[str, float]:
        """Seconds that each stage is expected to take."""
        paces = self.paces
        final = self.final_epochs * paces.all_plain + paces.all_final
        if not self.evaluations:
            return {"training": final}
        searching = {"search": self.evaluations * paces.evaluation + paces.all_found, "fine-tuning": final}
        if not self.train_epochs:
            return searching
        training = self.train_epochs * paces.supernet + _LOOKS * _LOOKED_AT * paces.evaluation
        return {"supernet": training} | searching

    def lines(self) -> list[str]:
        """Return the plan in words."""
        count = len(self.paces.plain)
        networks = "the network" if count == 1 else f"each of {count} networks"
        stages = ", ".join(f"{name} {minutes(seconds)}" for name, seconds in self.stages.items())
        epochs = {"trained": _epochs(self.train_epochs), "final": _epochs(self.final_epochs)}
        what = _WORDS[self.way].format(networks=networks, evaluations=self.evaluations, **epochs)
        lines = [f"plan for {minutes(self.seconds)}: {what}", f"    expected: {stages}"]
        return lines + [f"    {reason}" for reason in self.reasons]


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


_WORDS: dict[Way, str] = {
    "prior": "no supernet: {networks} that the prior expects to be best, trained for {final}",
    "largest": "no supernet: {networks} that is as large as its budget allows, trained for {final}",
    "features": (
        "no supernet: {evaluations} subnets are compared by their features, and {networks} that keeps most of them is "
        "trained on for {final}"
    ),
    "supernet": ("a supernet of {trained}, {evaluations} candidates evaluated, {networks} trained on for {final}"),
}


def make_plan(way: Way, seconds: float, used: float, paces: Paces) -> Plan:
    """Return the plan of a way.

    Args:
        way: the way.
        seconds: the time there is.
        used: seconds that were used of it for measuring.
        paces: what was measured.

    Raises:
        ValueError: if there is no time for one epoch of everything.
    """
    if way in ("prior", "largest"):
        return _plain_plan(way, seconds, used, paces)
    return _searched_plan(way, seconds, used, paces)


def _plain_plan(way: Way, seconds: float, used: float, paces: Paces) -> Plan:
    """Return a plan of final trainings alone, equal epochs for each.

    Args:
        way: how the networks are chosen.
        seconds: the time there is.
        used: seconds that were used of it for measuring.
        paces: what was measured.

    Raises:
        ValueError: if there is no time for one epoch of each.
    """
    epochs = int((seconds * _MARGIN - used - paces.all_final) / paces.all_plain)
    if epochs < 1:
        raise _too_short(seconds, used + paces.all_plain + paces.all_final)
    return Plan(way, seconds, paces, 0, 0, min(epochs, MOST_EPOCHS))


def _searched_plan(way: Way, seconds: float, used: float, paces: Paces) -> Plan:
    """Return a plan with a search, and perhaps a supernet before it; arguments as in :func:`_plain_plan`.

    Raises:
        ValueError: if there is no time for one epoch of everything.
    """
    usable, trains = seconds * _MARGIN - used, way == "supernet"
    train_epochs = int(SUPERNET_SHARE * usable / paces.supernet) if trains else 0
    evaluations = min(max(int(SEARCH_SHARE * usable / paces.evaluation), FEWEST_EVALUATIONS), MOST_EVALUATIONS)
    plan = Plan(way, seconds, paces, train_epochs, evaluations, 0)
    begun = used + sum(plan.stages.values()) - paces.all_final
    plan = replace(plan, final_epochs=final_epochs(plan, begun))
    if (trains and train_epochs < 1) or _left(plan, begun) < paces.all_plain:
        measured = FEWEST_EVALUATIONS + (_LOOKS * _LOOKED_AT if trains else 0)
        rest = measured * paces.evaluation + paces.all_found + paces.all_plain + paces.all_final
        share = SUPERNET_SHARE if trains else 0.0
        least = max(paces.supernet / SUPERNET_SHARE, rest / (1 - share)) / _MARGIN
        raise _too_short(seconds, used + least)
    return plan


def final_epochs(plan: Plan, used: float) -> int:
    """Return the epochs of each final training for which there is time when so many seconds are used.

    At least 1, and at most :data:`MOST_EPOCHS`.
    """
    return min(max(1, int(_left(plan, used) / plan.paces.all_plain)), MOST_EPOCHS)


def _left(plan: Plan, used: float) -> float:
    """Return the seconds that are left for the epochs of final trainings."""
    return plan.seconds * _MARGIN - used - plan.paces.all_final


def _too_short(seconds: float, least: float) -> ValueError:
    return ValueError(
        f"hours: {seconds / 3600:.3g} ({minutes(seconds)} minutes) are not enough for one epoch of everything, which "
        f"takes {least / 3600:.2g} ({minutes(least)} minutes) and more on this machine; give more hours, fewer budgets "
        "or fewer images"
    )


def require_time_for(epoch: float, seconds: float) -> None:
    """Refuse hours that one epoch of a single network fills, before anything else is timed.

    Raises:
        ValueError: if they are not enough.
    """
    if epoch > seconds:
        raise _too_short(seconds, epoch)


_FEW_SEEN, _SEEN = 10_000, 20_000  # images, of one training: too few for random weights, and what begins to serve


def too_few_seen(plan: Plan, images: int) -> list[str]:
    """Return a line if the epochs of a plan are too few to teach networks with random weights anything.

    Trainings of 500 photos for 46 epochs, 23,000 images in all, ended at 57 to 62 % where chance is 10 %
    (docs/results/worth.md); such of 400 photos for 1 and for 5 epochs ended at chance.

    Args:
        plan: the plan.
        images: number of training images.
    """
    if plan.way not in ("prior", "largest") or plan.final_epochs * images >= _FEW_SEEN:
        return []
    epochs = -(-_SEEN // images)
    hours = (plan.seconds + (epochs - plan.final_epochs) * plan.paces.all_plain) / 3600
    return [
        f"    WARNING: {_epochs(plan.final_epochs)} of {images:,} images teach random weights next to nothing; --hours "
        f"{hours:.2g} would give {epochs}; weights to start from need fewer (--network timm:NAME --weights pretrained)"
    ]


def way_of(experiment: Experiment, *, has_prior: bool) -> tuple[Way, str]:
    """Return the better way for an experiment with hours, or the one that it asks for, and the reason.

    Args:
        experiment: the experiment.
        has_prior: whether there is anything to choose networks by without a search.
    """
    asked = experiment.search.evaluate
    if asked != "auto":
        return _ASKED[asked], f"search.evaluate: {asked} asks for it"
    if experiment.weights is not None:
        if experiment.network is not None:
            return "features", "there are weights, which subnets can keep without a supernet"
        return (
            "supernet",
            "there are weights for a supernet to start from, which trainings from random ones would waste",
        )
    return ("prior" if has_prior else "largest"), _NO_SUPERNET


def evaluate_of(way: Way) -> Evaluate:
    """Return the ``search.evaluate`` that takes a way."""
    return "inherited" if way == "supernet" else way


_ASKED: dict[str, Way] = {
    "inherited": "supernet",
    "prior": "prior",
    "largest": "largest",
    "features": "features",
}

_NO_SUPERNET = (
    "a supernet would take half of these epochs, and was behind wherever both were measured at equal time "
    "(docs/guides/time.md); search.evaluate: inherited trains one all the same"
)


def choose(seconds: float, used: float, paces: Paces, way: Way, reason: str) -> Plan:
    """Return the plan of a way, with the reasons; arguments as in :func:`make_plan`."""
    plan = make_plan(way, seconds, used, paces)
    if plan.final_epochs < MOST_EPOCHS:
        return replace(plan, reasons=(reason,))
    return replace(
        plan, reasons=(reason, f"more than {MOST_EPOCHS} epochs would bring little: the rest of the time is left")
    )


def planned(experiment: Experiment, plan: Plan) -> Experiment:
    """Return the experiment that a plan makes of one with ``hours``: all of its epochs are said."""
    if plan.way != "supernet":
        evaluations = plan.evaluations or experiment.search.evaluations
        search = replace(experiment.search, evaluate=plan.way, evaluations=evaluations)
        inherits = replace(experiment, search=search, hours=None).uses_supernet
        recipe = experiment.finetune.recipe if inherits else from_scratch(experiment)
        final = experiment.finetune.by(with_epochs(recipe, plan.final_epochs))
        return replace(experiment, hours=None, search=search, finetune=final)
    search = replace(experiment.search, evaluate="inherited", evaluations=plan.evaluations)
    recipe, every = with_epochs(experiment.train.recipe, plan.train_epochs), max(1, plan.train_epochs // _LOOKS)
    project_from = experiment.train.project_from * recipe.epochs // experiment.train.recipe.epochs
    train = replace(cheap_steps(experiment.train), recipe=recipe, evaluate_every=every, project_from=project_from)
    final = experiment.finetune.by(with_epochs(experiment.finetune.recipe, plan.final_epochs))
    return replace(experiment, hours=None, search=search, train=train, finetune=final)


def cheap_steps(train: TrainConfig) -> TrainConfig:
    """Return a training of the supernet with one other subnet a step, unless it says how many take part.

    Measured at equal processor time (``experiments/results/supernet_start.json``), trainings of three minutes: nearly
    twice as many steps with two members each taught subnets more than steps with all.
    """
    return replace(train, members="one") if train.members == "auto" else train


def from_scratch(experiment: Experiment) -> Recipe:
    """Return the recipe of trainings from random weights: that of fine-tuning, at the rate of such trainings.

    That is the rate of ``compare``, or else of the supernet if the optimizer is the same.
    """
    recipe, rate = experiment.finetune.recipe, experiment.compare.learning_rate
    if rate is None and experiment.train.recipe.optimizer == recipe.optimizer:
        rate = experiment.train.recipe.learning_rate
    return recipe if rate is None else replace(recipe, learning_rate=rate)


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe of so many epochs, a twentieth of them warm-up, and frozen for the same share as before."""
    frozen = recipe.frozen_epochs * epochs // recipe.epochs
    warmup = min(epochs, max(1, round(_WARM_UP * epochs)))
    return replace(recipe, epochs=epochs, warmup_epochs=warmup, frozen_epochs=frozen)


def to_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain JSON values."""
    return asdict(plan)


def from_json(content: dict[str, Any]) -> Plan:
    """Read what :func:`to_json` returned."""
    paces = Paces(**{**content["paces"], "plain": tuple(content["paces"]["plain"])})
    return Plan(**{**content, "paces": paces, "reasons": tuple(content["reasons"])})
