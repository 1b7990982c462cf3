"""Evaluation of the candidates of an experiment: with inherited weights, or after some training."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import nn

from nasvit.data import ImageSet
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.stages.splits import mean_record, splits
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import save_network
from nasvit.search.candidates import Candidate
from nasvit.search.early_stop import epochs_of
from nasvit.search.evaluate import InheritedWeights
from nasvit.search.sight import in_groups
from nasvit.search.study import Record
from nasvit.supernets.shared_network import SharedNetwork
from nasvit.tasks.task import Metric, Score, Task
from nasvit.training.collapse import TrainingCollapsedError
from nasvit.training.metrics import read_metrics

_QUICK, _WHOLE = "quick", "whole"
_SOME_IMAGES = 5  # second part of a random key: which training images


class Trials(Protocol):
    """One way to evaluate candidates. A record holds ``score``, the other numbers of the task, and the costs."""

    def quick(self, candidate: Candidate, share: float) -> Record:
        """Return the record that the search learns from, after ``share`` of a training if there is any."""
        ...

    def thorough(self, candidate: Candidate) -> Record:
        """Return the record that a finalist is judged by."""
        ...


def make_trials(bench: Workbench) -> Trials:
    """Return the trials of an experiment, of the kind that its ``search.evaluate`` names.

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
        supernet, calibration, images = load_supernet(bench), bench.calibration(), bench.images
        some, everything = (
            images.evaluation_loader(each, compute=bench.compute.alone())
            for each in (looked_at(bench), images.validation)
        )
        self._some, self._all = (
            InheritedWeights(
                supernet,
                bench.task,
                calibration,
                each.evaluation_batches,
                rounded=bench.experiment.search.quantize is not None,
            )
            for each in (some, everything)
        )

    def quick(self, candidate: Candidate, share: float) -> Record:
        """Measure on some validation images."""
        return self._record(candidate, self._some(candidate.architecture))

    def thorough(self, candidate: Candidate) -> Record:
        """Measure on all validation images."""
        score = self._all(candidate.architecture)
        return self._record(candidate, score) | {"per_image": in_groups(score)}

    def _record(self, candidate: Candidate, score: Score) -> Record:
        found = {"score": score.value, **score.numbers(), "images": score.images}
        return found | self.bench.costs(candidate)


class TrainedTrials:
    """Measures candidates after training them by their recipe, from the supernet's weights or from random ones.

    A training that collapses counts as guessing, so that the search learns to avoid its like. A finalist is trained
    exactly as the fine-tuning stage would train it, and kept for that stage, see :func:`finalist_folder`. Of several
    processes each trains candidates of its own.

    Args:
        bench: the experiment.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._supernet: SharedNetwork | None = load_supernet(bench) if bench.experiment.uses_supernet else None
        self._calibration = bench.calibration()
        self._images, self._held_out = _some(bench), looked_at(bench)
        self._splits = splits(bench)

    def quick(self, candidate: Candidate, share: float) -> Record:
        """Train ``share`` of the recipe's epochs on some training images."""
        return self._measure(candidate, share, self._images, self._held_out, _QUICK) | self.bench.costs(candidate)

    def thorough(self, candidate: Candidate) -> Record:
        """Train to the end on all training images, on those of several splits where the experiment has several."""
        records = [
            self._measure(candidate, 1.0, train, held_out, f"{_WHOLE}-{number}" if number else _WHOLE)
            for number, (train, held_out) in enumerate(self._splits)
        ]
        return mean_record(records) | self.bench.costs(candidate)

    def _measure(self, candidate: Candidate, share: float, images: ImageSet, held_out: ImageSet, how: str) -> Record:
        folder = training_folder(self.bench, candidate, how)
        fitting = self._fitting(candidate)
        trainer = fitting.trainer(folder, images=images, validation=held_out, every=1)
        epochs = epochs_of(trainer.recipe.epochs, share)
        try:
            trained = trainer.run(until=epochs * len(trainer.loader))
            found = _last_epochs(folder / "metrics.jsonl", self.bench.task.loss)
            if how != _QUICK:
                found["per_image"] = self._finish(candidate, fitting, trained, held_out, keep=how == _WHOLE)
        except TrainingCollapsedError as error:
            found = _guessing(self.bench.task, epochs) | {"collapsed": str(error)}
        shutil.rmtree(folder, ignore_errors=True)
        return {**found, "share": share, "images": len(held_out)}

    def _finish(
        self, candidate: Candidate, fitting: Fitting, trained: nn.Module, held_out: ImageSet, *, keep: bool
    ) -> dict[str, list[float]]:
        """Return what single images tell of the network to deploy, and keep it for the fine-tuning stage."""
        card = fitting.card(trained, {"weights": "a finalist of the search"})
        network = fitting.deployed(trained)
        if keep:
            save_network(network, finalist_folder(self.bench, candidate), card)
        return in_groups(fitting.score(network, held_out))

    def _fitting(self, candidate: Candidate) -> Fitting:
        bench, extracted = self.bench, None
        if self._supernet is not None:
            extracted = self._supernet.extract(candidate.architecture, self._calibration)
        return Fitting(
            Start(bench.origin.spec(bench.space, candidate.architecture), extracted),
            _training(bench, candidate),
            bench.images,
            seed=bench.experiment.seed,
            name=f"candidate {candidate.key[:8]}",
            compute=bench.compute.alone(),
        )


def finalist_folder(bench: Workbench, candidate: Candidate) -> Path:
    """Return the folder of a finalist that was trained to the end; it may not exist."""
    key, evaluate = _key(_training(bench, candidate).to_json()), bench.experiment.search.evaluate
    return bench.folder / "search" / "finalists" / f"{candidate.architecture.key}-{key}-{evaluate}"


def training_folder(bench: Workbench, candidate: Candidate, how: str) -> Path:
    """Return the folder of a candidate's training: a killed one goes on only if it is asked for in the same way."""
    search = bench.experiment.search
    key = _key([_training(bench, candidate).to_json(), search.evaluate, search.train_images])
    return bench.folder / "search" / "trainings" / f"{candidate.key}-{how}-{key}"


def _training(bench: Workbench, candidate: Candidate) -> Training:
    training = bench.experiment.finetune
    return training.by(candidate.recipe or training.recipe)


def _key(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _last_epochs(metrics: Path, loss: Metric | None) -> Record:
    """Return the last evaluation of a training, and the score and the loss after every epoch."""
    epochs: dict[int, Record] = {line.pop("epoch"): line for line in read_metrics(metrics) if "epoch" in line}
    in_order = [epochs[epoch] for epoch in sorted(epochs)]
    last = {name: value for name, value in in_order[-1].items() if name != "step"}
    losses = {} if loss is None else {"losses": [each[loss.name] for each in in_order]}
    return last | {"curve": [each["score"] for each in in_order]} | losses


def _guessing(task: Task, epochs: int) -> Record:
    """Return what a training that collapsed counts as."""
    score, loss = task.chance_score, task.chance_loss
    losses = {} if task.loss is None else {task.loss.name: loss, "losses": [loss] * epochs}
    return {"score": score, "curve": [score] * epochs, **losses}


def looked_at(bench: Workbench) -> ImageSet:
    """Return the validation images of a quick measurement: the first ones."""
    held_out, images = bench.images.validation, bench.experiment.search.images
    return held_out.subset(np.arange(images)) if 0 < images < len(held_out) else held_out


def _some(bench: Workbench) -> ImageSet:
    """Return the training images of a quick training: the same for every candidate."""
    train, images = bench.images.train, bench.experiment.search.train_images
    if not 0 < images < len(train):
        return train
    order = np.random.default_rng([bench.experiment.seed, _SOME_IMAGES]).permutation(len(train))
    return train.subset(np.sort(order[:images]))
