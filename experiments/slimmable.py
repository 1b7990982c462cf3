"""Slimmable networks on CIFAR-10: jointly, individually, with naive batch norm, universally, and by AutoSlim.

    python -m experiments.slimmable --data ../shared/data/cifar10 --folder runs/slimmable --json RESULT.json

Every training has a folder of its own and is resumable: killed at any moment, the same command goes on. ``--only``
runs some of the trainings; the table holds what is finished, and ``unfinished`` names what is not.

The network is a ResNet of one basic block a stage, of 16, 32, 64 and 128 channels, for 32x32 images. All trainings
see the same images for equally many epochs by the same recipe; the weights kept are those with the highest mean
validation accuracy over the widths that train. Test images decide nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
import tyro

from experiments.slimmable_table import KINDS, summarize
from nasvit.costs.counting import count
from nasvit.data import Augmentation, ImageSet, Loader, Normalization, load_images
from nasvit.files.records import versions, write_json
from nasvit.models.catalog import resnet
from nasvit.models.family import Family
from nasvit.models.plan import ChannelPlan
from nasvit.search.autoslim import slim
from nasvit.supernets.slimmable import NormKind, SlimmableNetwork, Width
from nasvit.tasks.classification import Classification
from nasvit.tasks.distillation import SoftTargetCrossEntropy
from nasvit.tasks.widths import evaluate_widths
from nasvit.training.learner import Learner, Values
from nasvit.training.optimizers import is_decayed_unless_depthwise
from nasvit.training.sampling import AllSwitches, RandomWidths
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe

WIDTHS = (0.25, 0.5, 0.75, 1.0)
UNIVERSAL_WIDTHS = (0.25, 0.375, 0.5, 0.75, 1.0)
NEVER_TRAINED = (0.375, 0.75)
GAPS = ((0.32, 0.43), (0.69, 0.81))
"""Around the widths that never train, so that no width near them does."""

SIDE, CLASSES = 32, 10
COMMAND = "python -m experiments.slimmable --json experiments/results/slimmable.json"


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        data: CIFAR-10 as an image folder, parquet files or ``torchvision:CIFAR10``.
        folder: where trainings go.
        only: names of the trainings to run, such as ``joint-0``; all if left out.
        seeds: one of each training for every seed.
        images: training images, the first of the data set.
        validation: images that choose the weights, the last of the training split.
        epochs: of every training.
        batch_size: images a step.
        learning_rate: peak of every training.
        threads: processor threads.
        note: what a reader of the result must know of the images.
        json: file for the result; none if left out.
    """

    data: str = "../shared/data/cifar10"
    folder: Path = Path("runs/slimmable")
    only: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1)
    images: int = 10_000
    validation: int = 1_000
    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 3e-3
    threads: int = 1
    note: str = "CIFAR-10 (JPEG q75 copy): not comparable with accuracies on the original"
    json: Path | None = None


def small_resnet() -> Family:
    """Return a ResNet of one basic block a stage for 32x32 images; the first convolution halves them to 16 pixels."""
    family = resnet(18).for_small_images()
    stages = tuple((replace(stage[0], out_channels=stage[0].out_channels // 4),) for stage in family.stages)
    stem = replace(family.stem, channels=family.stem.channels // 4, stride=2)
    return replace(family, name="resnet10_quarter_32", stem=stem, stages=stages)


class Bench:
    """Images, recipe and folders of all trainings.

    Args:
        settings: what is run.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.family = small_resnet()
        self.recipe = Recipe(
            optimizer="adamw",
            learning_rate=settings.learning_rate,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            warmup_epochs=1,
            weight_decay=0.02,
        )

    @cached_property
    def images(self) -> dict[str, ImageSet]:
        """Training, validation and test images."""
        everything, rows = load_images(self.settings.data, "train"), np.arange(50_000)
        train = everything.subset(rows[: self.settings.images])
        validation = everything.subset(rows[len(rows) - self.settings.validation :])
        return {"train": train, "validation": validation, "test": load_images(self.settings.data, "test")}

    def loader(self, split: str, batch_size: int, seed: int = 0, **options: Any) -> Loader:
        """Return what serves the images of a split."""
        images, normalization = self.images[split], Normalization.of(self.images["train"])
        return Loader(images, batch_size=batch_size, normalization=normalization, seed=seed, **options)

    @cached_property
    def calibration(self) -> Sequence[torch.Tensor]:
        """Training images that batch-norm statistics are taken from: 4 batches of 500."""
        return self.loader("train", 500).calibration_batches(4)

    def accuracies(
        self, network: SlimmableNetwork, split: str, widths: Sequence[Width], *, calibrate: bool
    ) -> dict[str, float]:
        """Return the accuracy at each width on a split."""
        batches = self.loader(split, 500).evaluation_batches
        return evaluate_widths(
            network, Classification(CLASSES), batches, widths, self.calibration if calibrate else None
        )

    def train(
        self, name: str, network: SlimmableNetwork, seed: int, trained: Sequence[Width], **learner: Any
    ) -> SlimmableNetwork:
        """Train, or go on, and return the network with its best weights."""
        calibrate = network.norm == "universal"
        augmentation = Augmentation.from_recipe(self.recipe)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        trainer = Trainer(
            Learner(network, self.recipe, **learner),
            self.loader("train", self.recipe.batch_size, seed, augmentation=augmentation),
            self.recipe,
            self.settings.folder / name,
            seed=seed,
            chance_loss=Classification(CLASSES).chance_loss,
            evaluate=lambda model: self._validate(model, trained, calibrate),
            evaluate_every=2,
            keep_best=Classification.metric,
            decays=is_decayed_unless_depthwise,
            name=name,
        )
        trainer.run()
        trainer.load_best()
        return network

    def _validate(self, model: torch.nn.Module, widths: Sequence[Width], calibrate: bool) -> Values:
        assert isinstance(model, SlimmableNetwork)
        values = self.accuracies(model, "validation", widths, calibrate=calibrate)
        return {"score": mean(values.values()), **values}


def joint(bench: Bench, name: str, seed: int, norm: NormKind = "switchable") -> dict[str, Any]:
    """Train four switches jointly; with a shared batch norm the statistics are also taken anew for each width."""
    network = SlimmableNetwork(bench.family, WIDTHS, CLASSES, norm=norm, seed=seed)
    bench.train(name, network, seed, WIDTHS, sampling=AllSwitches(network))
    result = {"test": bench.accuracies(network, "test", WIDTHS, calibrate=False)}
    if norm == "shared":
        result["test_recalibrated"] = bench.accuracies(network, "test", WIDTHS, calibrate=True)
    return result


def naive(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """Train four switches jointly with one batch norm for all."""
    return joint(bench, name, seed, "shared")


def individual(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """Train a network of each width alone."""
    test: dict[str, float] = {}
    for width in WIDTHS:
        network = SlimmableNetwork(bench.family, (width,), CLASSES, seed=seed)
        bench.train(f"{name}/{width}", network, seed, (width,), sampling=AllSwitches(network))
        test |= bench.accuracies(network, "test", (width,), calibrate=False)
    return {"test": test}


def universal(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """Train a universally slimmable network, and evaluate it also at widths that never trained."""
    network = _universal(bench, name, seed)
    return {"test": bench.accuracies(network, "test", UNIVERSAL_WIDTHS, calibrate=True)}


def _universal(bench: Bench, name: str, seed: int) -> SlimmableNetwork:
    network = SlimmableNetwork(bench.family, UNIVERSAL_WIDTHS, CLASSES, norm="universal", seed=seed)
    sampling = RandomWidths(min(WIDTHS), max(WIDTHS), gaps=GAPS)
    trained = [width for width in UNIVERSAL_WIDTHS if width not in NEVER_TRAINED]
    return bench.train(name, network, seed, trained, sampling=sampling, distill=SoftTargetCrossEntropy())


def autoslim(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """Slim the universally slimmable network to the costs of widths 0.75 and 0.5, and train what was found jointly."""
    source = _universal(bench, f"universal-{seed}", seed)  # finished already, or trained now
    images, labels = next(iter(bench.loader("validation", 500).evaluation_batches()))
    targets = {macs(bench.family.plan(width)): width for width in (0.75, 0.5)}
    found = slim(source, [target + 1 for target in targets], images, labels)
    plans = {targets[int(slimmed.target) - 1]: plan for plan, slimmed in found}
    network = SlimmableNetwork(bench.family, tuple(plans.values()), CLASSES, seed=seed)
    bench.train(name, network, seed, network.widths, sampling=AllSwitches(network))
    test = bench.accuracies(network, "test", network.widths, calibrate=False)
    return {
        "test": {f"accuracy_{width}": test[f"accuracy_{plan.key}"] for width, plan in plans.items()},
        "macs": {str(width): macs(plan) for width, plan in plans.items()},
        "channels": {str(width): list(plan.channels) for width, plan in plans.items()},
    }


def macs(plan: ChannelPlan) -> int:
    """Return the multiply-adds of a network of these channels."""
    network = SlimmableNetwork(small_resnet(), (plan,), CLASSES)
    return count(network.at(plan), 3, SIDE, SIDE).macs


PARTS: dict[str, Callable[[Bench, str, int], dict[str, Any]]] = {
    "joint": joint,
    "naive": naive,
    "universal": universal,
    "individual": individual,
    "autoslim": autoslim,
}
assert tuple(PARTS) == KINDS


def main(settings: Settings) -> None:
    """Run what is not finished, and print the table of what is."""
    torch.set_num_threads(settings.threads)
    bench = Bench(settings)
    names = {f"{kind}-{seed}": (kind, seed) for seed in settings.seeds for kind in PARTS}
    for name in settings.only or names:
        if name not in names:
            raise SystemExit(f"no training is called {name!r}; legal: {', '.join(names)}")
        result = settings.folder / name / "result.json"
        if not result.exists():
            kind, seed = names[name]
            write_json(result, PARTS[kind](bench, name, seed))
    files = {name: settings.folder / name / "result.json" for name in names}
    results = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
    costs = {str(width): macs(bench.family.plan(width)) for width in sorted({*WIDTHS, *UNIVERSAL_WIDTHS})}
    content = summarize(results, settings.seeds, costs, [str(width) for width in NEVER_TRAINED])
    content |= {"settings": _plain(settings), "versions": versions()}
    content |= {"recipe": asdict(bench.recipe), "trainings": results}
    content |= {"command": COMMAND, "unfinished": [name for name in names if name not in results]}
    if settings.json is not None:
        write_json(settings.json, content)


def _plain(settings: Settings) -> dict[str, Any]:
    left_out = ("folder", "only", "json")
    return {name: value for name, value in asdict(settings).items() if name not in left_out}


if __name__ == "__main__":
    main(tyro.cli(Settings))
