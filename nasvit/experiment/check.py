"""``--check``: everything of a file is built, a few steps are made on made-up images, and the costs are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch

from nasvit.compute import Compute
from nasvit.data.config import TENTH
from nasvit.experiment.config import Experiment, TrainConfig
from nasvit.experiment.fit import fitting_of, widths_fitting_of
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.made_up import Counted, MadeUpImages, batch_of_noise, count_images
from nasvit.experiment.pipeline import check
from nasvit.experiment.plan import evaluate_of, way_of
from nasvit.experiment.stages.splits import splits_of
from nasvit.experiment.stages.start import random_supernet, start_supernet
from nasvit.experiment.stages.train import supernet_trainer
from nasvit.experiment.stages.unmeasured import BATCHES, IMAGES, expected_row, largest_of
from nasvit.experiment.starting import PRETRAINED
from nasvit.experiment.training import FitConfig, StartingWeights, Training
from nasvit.experiment.trial import Trial, seconds_of_images, try_training
from nasvit.experiment.workbench import Workbench
from nasvit.names import HUB
from nasvit.registry import is_timms_own
from predictors.limits import Budget
from search_spaces import Subnet, load
from search_spaces.recipe import Recipe
from search_spaces.recipe_space import load_recipes


@dataclass(frozen=True)
class Searching:
    """What a search costs.

    Args:
        told: what it consists of, in words.
        seconds: the seconds of it.
    """

    told: str
    seconds: float

    @property
    def hours(self) -> float:
        """The hours of it."""
        return self.seconds / 3600


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Args:
        file: the file.
        compute: the device.
        data: how many images and classes there are, and where that is known from.
        remarks: lines that a run would print before it trains, such as one for every budget.
        trainings: what is trained, the supernet first.
        search: what the search costs; None: nothing is evaluated.
        notes: what the costs do not say.
    """

    file: Path
    compute: Compute
    data: Counted
    remarks: tuple[str, ...]
    trainings: tuple[Trial, ...]
    search: Searching | None
    notes: tuple[str, ...]

    @property
    def hours(self) -> float:
        """Hours of everything."""
        return sum(each.hours for each in self.trainings) + (0.0 if self.search is None else self.search.hours)


def check_experiment(path: Path, overrides: Sequence[tuple[str, str]], compute: Compute) -> Checked:
    """Build everything that an experiment needs, and try its steps; nothing is written where its results go.

    Args:
        path: a YAML file.
        overrides: fields that replace those of the file.
        compute: the device.

    Raises:
        ValueError: for a mistake in the file, and for whatever the experiment would be refused before it is trained.
    """
    _require_alone(compute)
    experiment = Experiment.load(path, overrides)
    channels = None if experiment.space is None else load(experiment.space).image_channels
    options = {"split_seed": experiment.seed, "channels": channels, "head": experiment.whole_head}
    counted = count_images(experiment.data, seed=experiment.seed, **options)
    notes = _notes(experiment.weights, [experiment.finetune, experiment.train])
    with TemporaryDirectory() as folder:
        bench = _Bench(experiment, Path(folder), compute, counted)
        if experiment.hours is not None:
            way, _ = way_of(experiment, has_prior=bench.prior is not None)
            search = replace(experiment.search, evaluate=evaluate_of(way))
            bench.follow(replace(experiment, hours=None, search=search))
            notes.append(f"hours: a run plans its epochs for {experiment.hours:g} hours, whatever the file says")
        remarks = check(bench)
        trainings, searching = _trials(bench)
    if bench.experiment.compares:
        notes.append("what the networks are compared with (compare) is trained besides and not counted")
    notes += _of_supernet(bench, trainings, searching)
    return Checked(path, compute, counted, tuple(remarks), tuple(trainings), searching, tuple(notes))


def _of_supernet(bench: Workbench, trainings: Sequence[Trial], searching: Searching | None) -> list[str]:
    """Return a note if most of the time is the supernet's."""
    if not bench.experiment.search.trains_supernet:
        return []
    supernet, whole = trainings[0].hours, sum(each.hours for each in trainings) + (searching.hours if searching else 0)
    if 2 * supernet < whole:
        return []
    return [
        f"{supernet / whole:.0%} of the hours are the supernet's; search.evaluate: largest, or prior in spaces that "
        "have one, trains none, and hours: 1 plans for an hour (docs/guides/time.md)"
    ]


def check_fit(path: Path, overrides: Sequence[tuple[str, str]], compute: Compute) -> Checked:
    """Build everything that one training needs, and try its steps; see :func:`check_experiment`."""
    _require_alone(compute)
    config = FitConfig.load(path, overrides)
    if config.threads:
        torch.set_num_threads(config.threads)
    options: dict[str, Any] = {"most": config.images, "head": config.whole_head, "held_out": TENTH}
    counted = count_images(config.data, seed=config.seed, **options)
    images = MadeUpImages(counted, config.data, seed=config.seed, compute=compute, head=config.whole_head)
    tried = replace(_without_fetched(config), accumulate=1, compile=False)
    fitting = widths_fitting_of(tried, images) if config.widths else fitting_of(tried, images)
    with TemporaryDirectory() as folder:
        trials = [try_training("training", fitting.trainer(Path(folder), every=0), config.accumulate)]
    notes = _notes(config.weights, [config])
    if config.slimmable.autoslim:
        trials.append(replace(trials[0], name="what AutoSlim finds"))
        notes.append("what AutoSlim finds is not known before: its training counts as the one before it")
    return Checked(path, compute, counted, (), tuple(trials), None, tuple(notes))


class _Bench(Workbench):
    """The workbench of a check, whose images are made up."""

    def __init__(self, experiment: Experiment, folder: Path, compute: Compute, counted: Counted) -> None:
        self._counted = counted
        super().__init__(experiment, folder, compute)

    @cached_property
    def images(self) -> MadeUpImages:
        """Images that are made up."""
        experiment, seed = self.experiment, self.experiment.seed
        head = experiment.whole_head
        return MadeUpImages(self._counted, experiment.data, seed=seed, compute=self.compute, head=head)


def _require_alone(compute: Compute) -> None:
    if compute.count > 1:
        raise ValueError(f"--check is for one process, and there are {compute.count}; start it without torchrun")


def _without_fetched(config: FitConfig) -> FitConfig:
    """Return a configuration without weights that would have to be fetched."""
    if config.weights is None or not _is_elsewhere(config.weights):
        return config
    return replace(config, weights=None, recipe=_of_random(config.recipe))


def _is_elsewhere(weights: StartingWeights) -> bool:
    """Return whether weights to start from would have to be fetched."""
    return weights.source == PRETRAINED or weights.source.startswith(HUB) or is_timms_own(weights.source)


def _of_random(recipe: Recipe) -> Recipe:
    return replace(recipe, loaded_rate=1.0, frozen_epochs=0)


def _notes(weights: StartingWeights | None, trainings: Sequence[Training | TrainConfig | FitConfig]) -> list[str]:
    """Return what is to be said of weights that are not fetched, and of what is not tried."""
    notes = ["reading and augmenting images, evaluations and checkpoints are not counted"]
    if weights is not None and _is_elsewhere(weights):
        notes.append(f"weights {weights.source} are not fetched: random ones are tried")
    teachers = [name for each in trainings if each.teacher is not None for name in each.teacher.networks]
    fetched = filter(is_timms_own, dict.fromkeys(teachers))
    notes += [f"the weights of teacher {name} are not fetched: random ones are tried" for name in fetched]
    if any(each.compile for each in trainings):
        notes.append("nothing is compiled for a check: steps may be faster")
    return notes


def _trials(bench: _Bench) -> tuple[list[Trial], Searching | None]:
    """Try everything that an experiment trains, and tell what its search costs."""
    trials = [_try_supernet(bench)] if bench.experiment.search.trains_supernet else []
    networks: dict[Subnet, list[Budget]] = {}
    for budget in bench.budgets:
        networks.setdefault(_typical(bench, budget), []).append(budget)
    finals = [_try_final(bench, architecture, budgets) for architecture, budgets in networks.items()]
    return [*trials, *finals], _searching(bench, finals, list(networks))


def _try_supernet(bench: _Bench) -> Trial:
    experiment, config = bench.experiment, bench.experiment.train
    weights = experiment.weights
    elsewhere = weights is not None and _is_elsewhere(weights)
    start = random_supernet(bench) if elsewhere else start_supernet(bench)
    recipe = _of_random(config.recipe) if elsewhere else config.recipe
    tried = replace(config, recipe=recipe, accumulate=1, compile=False, evaluate_every=0)
    trainer = supernet_trainer(bench, tried, bench.folder / "train", bench.compute, start)
    return try_training("supernet", trainer, config.accumulate)


def _typical(bench: _Bench, budget: Budget) -> Subnet:
    """Return a network such as will be trained for a budget: the largest within it, where none can be known before."""
    if bench.candidates.architecture is not None:
        return bench.candidates.architecture
    if bench.experiment.search.evaluate == "prior":
        return bench.space.decode(expected_row(bench, budget)[0])[0]
    return largest_of(bench, budget)


def _try_final(bench: _Bench, architecture: Subnet, budgets: Sequence[Budget]) -> Trial:
    experiment, images = bench.experiment, bench.images
    training = replace(experiment.finetune, accumulate=1, compile=False)
    start, seed = Start(bench.origin.spec(bench.space, architecture)), experiment.seed
    what = "fine-tuning" if experiment.uses_supernet else "training"
    name = f"{what} {', '.join(each.text for each in budgets)}".rstrip()
    fitting = Fitting(start, training, images, seed=seed, name=name, compute=bench.compute)
    learned = images.whole if experiment.finetune_on == "all" else images.train
    trainer = fitting.trainer(bench.folder / architecture.key, images=learned, every=0)
    return try_training(name, trainer, experiment.finetune.accumulate)


def _searching(bench: _Bench, finals: Sequence[Trial], networks: Sequence[Subnet]) -> Searching | None:
    """Return what the search costs, by what was measured of networks such as it evaluates."""
    search, images = bench.experiment.search, bench.images
    if search.evaluate in ("prior", "largest"):
        return None
    finalists = search.finalists * len(bench.budgets)
    if search.evaluate in ("finetune", "scratch"):
        each = fmean(trial.seconds / trial.batch_size for trial in finals)
        recipes = None if search.recipes is None else load_recipes(search.recipes)
        epochs = bench.experiment.finetune.recipe.epochs if recipes is None else max(recipes.values("epochs"))
        trained, whole = search.train_images or len(images.train), len(images.train) * splits_of(bench)
        told = f"{search.evaluations} candidates and {finalists} finalists, each trained for up to {epochs} epochs"
        return Searching(told, epochs * each * (search.evaluations * trained + finalists * whole))
    each = fmean(_seconds_of_image(bench, network, finals[0].tried) for network in networks)
    if search.evaluate == "features":
        seen = BATCHES * IMAGES
        return Searching(f"{search.evaluations} subnets on {seen} images each", search.evaluations * seen * each)
    calibrating, held_out = search.calibration_batches * search.calibration_batch_size, len(images.validation)
    seen, whole = calibrating + (search.images or held_out), calibrating + held_out
    told = f"{search.evaluations} candidates on {seen:,} images each, {finalists} finalists on {whole:,}"
    return Searching(told, each * (search.evaluations * seen + finalists * whole))


def _seconds_of_image(bench: _Bench, architecture: Subnet, count: int) -> float:
    network = bench.origin.spec(bench.space, architecture).build(len(bench.classes))
    images, _ = batch_of_noise(bench.images.training(bench.experiment.finetune.recipe), count)
    return seconds_of_images(bench.compute.place(network.train()), images, bench.compute)
