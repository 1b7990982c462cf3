"""Train one compact network, with what makes it better and costs nothing once it is deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasvit.branches.fuse import fuse
from nasvit.costs.counting import count
from nasvit.experiment.fit_config import FitConfig
from nasvit.experiment.fit_images import FitImages
from nasvit.experiment.provenance import versions
from nasvit.experiment.teachers import load_teacher
from nasvit.experiment.workbench import made_for, write_json
from nasvit.export.deployed import save_deployed
from nasvit.export.saved import PROGRAM, export_program
from nasvit.layers.reparameterized import has_branches
from nasvit.registry import PLAIN, build_network, network_target, search_result
from nasvit.supernets.augment import augment
from nasvit.tasks.evaluation import Score, evaluate
from nasvit.tasks.objective import Objective
from nasvit.training.netaug import NetAugTask
from nasvit.training.processes import once
from nasvit.training.schedule import LearningRate
from nasvit.training.task import NetworkTask, Values
from nasvit.training.trainer import Trainer
from search_spaces.reading import load_yaml

RESULTS = "results.json"
DEPLOYED = "deployed"


def main(path: Path, output: Path | None = None, overrides: Sequence[tuple[str, str]] = ()) -> None:
    """Train what a YAML file describes and print how good it is.

    Args:
        path: the file; see :class:`nasvit.experiment.fit_config.FitConfig`.
        output: folder for everything; what the file says, or ``runs/`` and its name, if left out.
        overrides: values that go before those of the file; see :func:`search_spaces.reading.load_yaml`.
    """
    config = load_yaml(FitConfig, path, overrides)
    folder = output or config.output or Path("runs") / path.stem
    results = fit(config, folder)
    deployed = results["deployed"]
    print(f"{config.network}: {results['macs']:,} MACs, {results['params']:,} parameters")
    print(f"test accuracy {deployed['accuracy']:.2%}, mean over classes {deployed['class_accuracy']:.2%}")
    print(f"deployed network: {folder / DEPLOYED}")


def fit(config: FitConfig, folder: Path) -> dict[str, Any]:
    """Train, evaluate, take branches or wider networks away, and save what is deployed.

    Killed at any moment and called again, it goes on to the same result; a finished one is only read.

    Args:
        config: what is trained.
        folder: gets ``training/`` (checkpoints, log), ``deployed/`` (the network) and ``results.json``.

    Returns:
        What ``results.json`` holds: accuracies on the test images (0 to 1), costs, configuration, versions.

    Raises:
        ValueError: if the folder holds the training of another configuration, or the configuration is illegal.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    asked = _plain(config)
    if not made_for(folder / "config.json", asked):
        raise ValueError(f"{folder} holds the training of another configuration; give another folder or remove it")
    if (folder / RESULTS).exists():
        results: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return results
    fitting = Fitting(config, FitImages(config))
    trainer = fitting.trainer(folder / "training")  # a mistake shows here, before the folder belongs to it
    once(lambda: write_json(folder / "config.json", asked))
    results = {**fitting.run(folder, trainer), "seed": config.seed, "config": asked, "versions": versions()}
    once(lambda: write_json(folder / RESULTS, results))
    return results


class Fitting:
    """One training and what comes after it.

    Args:
        config: what is trained.
        images: the images to train on and to test with.
    """

    def __init__(self, config: FitConfig, images: FitImages) -> None:
        self.config, self.images = config, images
        self.structure = search_result(config.network)  # before training: the files that it names may change

    def run(self, folder: Path, trainer: Trainer) -> dict[str, Any]:
        """Train into ``folder``, save the deployed network there, and return what was measured."""
        trained = trainer.run()
        deployed = self.deployed(trained)
        once(lambda: self._save(deployed, folder / DEPLOYED, fused=has_branches(trained)))
        cost = count(deployed, *self.images.shape)
        results: dict[str, Any] = {
            "deployed": self._test(deployed),
            "macs": cost.macs,
            "params": cost.params,
            "training_params": sum(parameter.numel() for parameter in trained.parameters()),
            "training_seconds": round(trainer.seconds, 1),
            "training_images": len(self.images.data.train),
            "test_images": len(self.images.test),
        }
        if self.config.branches is not None:
            results["before_fusing"] = self._test(trained)
        return results

    def trainer(self, folder: Path) -> Trainer:
        """Return the trainer that trains the network of this configuration."""
        config, loader = self.config, self.images.training()
        task = self._task()
        return Trainer(
            task,
            loader,
            config.recipe,
            folder,
            seed=config.seed,
            classes=len(self.images.classes),
            evaluate=self._validate,
            evaluate_every=max(1, config.recipe.epochs // 5),
            learning_rate=LearningRate(
                config.recipe.epochs * max(len(loader), 1),
                config.recipe.learning_rate,
                warmup_steps=config.recipe.warmup_epochs * len(loader),
                decay_after_warmup=config.decay_after_warmup,
            ),
            before_step=task.before_step if isinstance(task, NetAugTask) else None,
            name=config.network,
        )

    def deployed(self, trained: nn.Module) -> nn.Module:
        """Return the plain network that is left of a trained one, in evaluation mode."""
        if self.config.netaug is not None:
            calibration = self.images.calibration(self.config.netaug.calibration_images)
            extracted: nn.Module = trained.extract(calibration=calibration)  # type: ignore[operator]
            return extracted.eval()
        return fuse(trained.eval()) if has_branches(trained) else trained.eval()

    def _task(self) -> NetworkTask | NetAugTask:
        config, classes = self.config, len(self.images.classes)
        made: dict[str, Any] = {"seed": config.seed, "image_channels": self.images.shape[0]}
        if config.netaug is None:
            network = build_network(config.network, classes, branches=config.branches or PLAIN, **made)
            return NetworkTask(network, config.recipe, self._objective())
        width, expand = config.netaug.factors
        augmented = augment(network_target(config.network), width=width, expand=expand, classes=classes, **made)
        return NetAugTask(
            augmented, config.recipe, self._objective(), weight=config.netaug.weight, phases=config.netaug.phases
        )

    def _objective(self) -> Objective:
        smoothing, teacher = self.config.recipe.label_smoothing, self.config.teacher
        if teacher is None:
            return Objective(smoothing)
        return Objective(smoothing, load_teacher(teacher.network, len(self.images.classes)), teacher.distillation)

    def _validate(self, trained: nn.Module) -> Values:
        network = trained if self.config.netaug is None else self.deployed(trained)
        with torch.no_grad():
            score = evaluate(network, self.images.plain(self.images.data.validation).evaluation_batches())
        return {"accuracy": round(score.accuracy, 4)}

    def _test(self, network: nn.Module) -> dict[str, float]:
        return _rounded(evaluate(network, self.images.plain(self.images.test).evaluation_batches()))

    def _save(self, network: nn.Module, folder: Path, *, fused: bool) -> None:
        normalization, shape = self.images.normalization, self.images.shape
        if self.config.program:
            folder.mkdir(parents=True, exist_ok=True)
            mean, deviation = normalization.mean, normalization.std
            export_program(network, folder / PROGRAM, shape=shape, mean=mean, deviation=deviation)
        card: Mapping[str, Any] = {
            "classes": list(self.images.classes),
            "image_channels": shape[0],
            "image": {"channels": shape[0], "side": shape[1]},
            "normalization": {"mean": list(normalization.mean), "deviation": list(normalization.std)},
            "config": _plain(self.config),
        }
        name, structure = self.config.network, self.structure
        save_deployed(network, folder, name=name, structure=structure, fused=fused, card=card)


def _rounded(score: Score) -> dict[str, float]:
    return {"accuracy": round(score.accuracy, 6), "class_accuracy": round(score.class_accuracy, 6), "loss": score.loss}


def _plain(config: FitConfig) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    del content["output"]
    return content
