"""How the candidates of an experiment are measured: with inherited weights, or after some training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nasvit.data import ImageSet
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.stages.train_network import network_trainer
from nasvit.experiment.workbench import Workbench
from nasvit.layers import Network
from nasvit.search.candidates import Candidate
from nasvit.search.early_stop import epochs_of
from nasvit.search.evaluate import InheritedWeights
from nasvit.search.study import Record
from nasvit.supernets.supernet import Supernet, build
from nasvit.tasks.classification import Score
from nasvit.training.checkpoint import write_whole
from nasvit.training.collapse import TrainingCollapsedError

_SOME_IMAGES = 5  # second part of a random key: which training images


class Trials(Protocol):
    """One way to measure candidates. A record has ``accuracy``, ``class_accuracy`` and the costs."""

    def quick(self, candidate: Candidate, share: float) -> Record:
        """Return the record that the search learns from, after ``share`` of a training if there is any."""
        ...

    def thorough(self, candidate: Candidate) -> Record:
        """Return the record that a finalist is judged by."""
        ...


def make_trials(bench: Workbench) -> Trials:
    """Return what measures the candidates of an experiment as it says.

    Raises:
        FileNotFoundError: if a supernet is needed and none was trained yet.
    """
    return InheritedTrials(bench) if bench.experiment.search.evaluate == "inherited" else TrainedTrials(bench)


class InheritedTrials:
    """Measures subnets with the weights of the trained supernet.

    Args:
        bench: the experiment.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        supernet, calibration = load_supernet(bench), bench.calibration()
        some = list(bench.evaluation_loader(_first(bench)).evaluation_batches())
        everything = list(bench.evaluation_loader(bench.data.validation).evaluation_batches())
        self._some = InheritedWeights(supernet, calibration, lambda: some)
        self._all = InheritedWeights(supernet, calibration, lambda: everything)

    def quick(self, candidate: Candidate, share: float) -> Record:
        """Measure on some validation images."""
        return self._record(candidate, self._some(candidate.architecture))

    def thorough(self, candidate: Candidate) -> Record:
        """Measure on all validation images."""
        return self._record(candidate, self._all(candidate.architecture))

    def _record(self, candidate: Candidate, score: Score) -> Record:
        found = {"accuracy": score.accuracy, "class_accuracy": score.class_accuracy, "images": score.images}
        return found | self.bench.costs(candidate)


class TrainedTrials:
    """Measures candidates after training them by their recipe, from the supernet's weights or from random ones.

    A training that collapses is scored as guessing, so that the search learns to avoid its like. A finalist is trained
    exactly as the fine-tuning stage would train it, and kept for that stage, see :func:`finalist_weights`.

    Args:
        bench: the experiment.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._supernet: Supernet | None = load_supernet(bench) if bench.experiment.search.uses_supernet else None
        self._calibration = bench.calibration()
        self._images, self._held_out = _some(bench), _first(bench)

    def quick(self, candidate: Candidate, share: float) -> Record:
        """Train ``share`` of the recipe's epochs on some training images."""
        return self._measure(candidate, share, self._images, self._held_out, "quick")

    def thorough(self, candidate: Candidate) -> Record:
        """Train to the end on all training images."""
        return self._measure(candidate, 1.0, self.bench.data.train, self.bench.data.validation, "whole")

    def _measure(self, candidate: Candidate, share: float, images: ImageSet, held_out: ImageSet, how: str) -> Record:
        recipe = candidate.recipe or self.bench.experiment.finetune
        folder = self.bench.folder / "search" / "trainings" / f"{candidate.key}-{how}"
        network = self._start(candidate)
        trainer = network_trainer(
            self.bench, network, recipe, folder, f"candidate {candidate.key[:8]}", images=images, validation=held_out
        )
        epochs = epochs_of(recipe.epochs, share)
        try:
            trained = trainer.run(until=epochs * len(trainer.loader))
            found = _last_epochs(folder / "metrics.jsonl")
            if how == "whole":
                write_whole(finalist_weights(self.bench, candidate), trained.state_dict())
        except TrainingCollapsedError as error:
            chance = 1 / len(self.bench.classes)
            found = {"accuracy": chance, "class_accuracy": chance, "curve": [chance] * epochs, "collapsed": str(error)}
        shutil.rmtree(folder, ignore_errors=True)
        return {**found, "share": share, "images": len(held_out), **self.bench.costs(candidate)}

    def _start(self, candidate: Candidate) -> Network:
        if self._supernet is None:
            return build(
                self.bench.space, candidate.architecture, len(self.bench.classes), seed=self.bench.experiment.seed
            )
        network = self._supernet.extract(candidate.architecture, self._calibration)
        return network.requires_grad_(True)


def finalist_weights(bench: Workbench, candidate: Candidate) -> Path:
    """Return the file of the weights of a candidate that was trained to the end as a finalist; it may not exist."""
    recipe = candidate.recipe or bench.experiment.finetune
    folder = bench.folder / "search" / "finalists"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{candidate.architecture.key}-{recipe.key}-{bench.experiment.search.evaluate}.pt"


def _last_epochs(metrics: Path) -> Record:
    """Return the last evaluation of a training and the accuracy after every epoch."""
    lines = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
    epochs: dict[int, dict[str, Any]] = {line["epoch"]: line for line in lines if "epoch" in line}
    curve = [epochs[epoch]["accuracy"] for epoch in sorted(epochs)]
    last = epochs[max(epochs)]
    return {"accuracy": last["accuracy"], "class_accuracy": last["class_accuracy"], "curve": curve}


def _first(bench: Workbench) -> ImageSet:
    """The validation images that a quick measurement looks at: the first ones."""
    held_out, images = bench.data.validation, bench.experiment.search.images
    return held_out.subset(np.arange(images)) if 0 < images < len(held_out) else held_out


def _some(bench: Workbench) -> ImageSet:
    """The training images that a quick training sees: the same for every candidate."""
    train, images = bench.data.train, bench.experiment.search.train_images
    if not 0 < images < len(train):
        return train
    order = np.random.default_rng([bench.experiment.seed, _SOME_IMAGES]).permutation(len(train))
    return train.subset(np.sort(order[:images]))
