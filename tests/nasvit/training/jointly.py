"""Short trainings in float64 by one or several processes, for tests that compare them.

Run as a program, ``jointly.py FOLDER KIND...``, every process writes the weights that it comes to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.compute import Compute, open_compute
from nasvit.data import Augmentation, ImageSet, Loader, Normalization
from nasvit.data.targets import IGNORED, Boxes, Masks, map_tensors
from nasvit.dense.shared import DenseSlimmable
from nasvit.heads.fcos import FCOS
from nasvit.heads.head import Head
from nasvit.heads.retinanet import RetinaNet
from nasvit.heads.segmentation import PyramidSegmentation
from nasvit.layers.calibration import track_statistics
from nasvit.specs import TimmSpec
from nasvit.supernets import augment
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.supernet import build_subnet
from nasvit.tasks.dense import HeadObjective
from nasvit.tasks.detection import Detection
from nasvit.tasks.segmentation import Segmentation
from nasvit.tasks.task import Task
from nasvit.training.execution import PLAIN, Execution, Running
from nasvit.training.learner import Learner, Losses
from nasvit.training.sampling import AllSwitches, NetAug
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe
from tests.nasvit.supernets.tiny import FAMILY
from tests.nasvit.training.short import BARE, CHANCE, SHALLOW, digits, learner_of, state_of

DROPPED = replace(BARE, dropout=0.2, drop_path_rate=0.2, dropblock=0.2)
MIXED = replace(BARE, mixup=0.4, cutmix=1.0, random_erasing=0.25, label_smoothing=0.1, ema_decay=0.5)
HALVES = replace(PLAIN, accumulate=2)
FROZEN = replace(BARE, epochs=2, frozen_epochs=1, loaded_rate=0.5)
STEPS = 4
SIDES = (8, 8)


class Doubled(Loader):
    """Serves float64."""

    def steps(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        for images, targets in super().steps(first, last):
            yield (
                images.double(),
                map_tensors(lambda each: each.double() if each.is_floating_point() else each, targets),
            )


class Perceptron(nn.Sequential):
    """A network without batch norm."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))


class NotANumberOnce(Learner):
    """In the second of several processes the loss of the second step is not a number, once."""

    calls = 0

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, execution: Execution) -> Losses:
        losses = super().add_gradients(images, targets, rng, execution)
        self.calls += 1
        if self.calls == 2 and execution.compute.rank == 1:
            losses["loss"] = losses["loss"] * torch.nan
        return losses


def plain(recipe: Recipe, kind: type[Learner] = Learner) -> Learner:
    """A plain network with batch norms that store statistics."""
    network = build_subnet(SHALLOW, SHALLOW.largest, 10).double()
    track_statistics(network)
    return kind(network, recipe)


def netaug(recipe: Recipe) -> Learner:
    """A tiny network inside wider ones."""
    augmented = augment(FAMILY, width=(1, 2), expand=(1, 2), classes=10, image_channels=1, seed=5).double()
    return Learner(augmented, recipe, sampling=NetAug(augmented))


def loaded(kind: str) -> Callable[[Recipe], Learner]:
    """A learner all of whose weights but the classifier's count as loaded."""

    def make(recipe: Recipe) -> Learner:
        made = plain(BARE) if kind == "network" else learner_of(kind, BARE, torch.float64, SHALLOW)
        given: dict[str, Any] = {"sampling": made.sampling, "distill": made.distill, "conflict": made.conflict}
        return Learner(made.model, recipe, is_loaded=lambda name: "classifier" not in name, **given)

    return make


def dense(task: Callable[..., Task], head: Head) -> Callable[[Recipe], Learner]:
    """A learner of boxes or masks, in a network of several widths with one head."""

    def make(recipe: Recipe) -> Learner:
        backbones = SlimmableNetwork(FAMILY, (0.5, 1.0), 1, image_channels=1)
        network = DenseSlimmable(backbones, head, (1, *SIDES), 10).double()
        return Learner(network, recipe, task(10, head, SIDES).objective(), sampling=AllSwitches(network))

    return make


def with_boxes() -> ImageSet:
    """Digits with boxes of their classes: none, one or two in an image."""
    images, rng = digits(), np.random.default_rng(0)
    counts = torch.from_numpy(rng.integers(0, 3, len(images)))
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    corners = torch.from_numpy(rng.integers(0, 4, (int(starts[-1]), 2))).float()
    boxes = torch.cat([corners, corners + 4], dim=1)
    labels, sizes = images.targets.repeat_interleave(counts), torch.tensor([SIDES] * len(images))
    crowd = torch.from_numpy(rng.random(len(labels)) < 0.1)
    return replace(images, targets=Boxes(boxes, labels, crowd, torch.full((len(labels),), 16.0), starts, sizes))


def with_masks() -> ImageSet:
    """Digits with masks of their classes: the bright pixels; others are the first class, or ignored."""
    images = digits()
    bright = images.images[:, 0] > 127
    masks = torch.where(bright, images.targets[:, None, None].to(torch.uint8), torch.zeros((), dtype=torch.uint8))
    masks[::3, :4] = IGNORED
    return replace(images, targets=Masks(masks, torch.tensor([SIDES] * len(images))))


@dataclass(frozen=True)
class Kind:
    """One training.

    Args:
        learner: makes the learner.
        recipe: how it learns.
        running: how steps are computed.
        images: makes its images.
    """

    learner: Callable[[Recipe], Learner]
    recipe: Recipe = BARE
    running: Running = PLAIN
    images: Callable[[], ImageSet] = digits


def usual(kind: str) -> Callable[[Recipe], Learner]:
    """The learner of a name, in float64."""
    return lambda recipe: learner_of(kind, recipe, torch.float64, SHALLOW)


KINDS = {
    "project": Kind(usual("project")),
    "sum": Kind(usual("sum")),
    "network": Kind(plain),
    "switches": Kind(usual("switches")),
    "netaug": Kind(netaug),
    "dropped_subnets": Kind(usual("sum"), DROPPED),
    "dropped_network": Kind(plain, DROPPED),
    "mixed": Kind(plain, MIXED),
    "accumulated": Kind(lambda recipe: Learner(Perceptron().double(), recipe), BARE, HALVES),
    "accumulated_norms": Kind(plain, BARE, HALVES),
    "quarters": Kind(lambda recipe: Learner(Perceptron().double(), recipe), BARE, replace(PLAIN, accumulate=4)),
    "own_norms": Kind(plain, BARE, replace(PLAIN, batch_norm="own")),
    "timm": Kind(lambda recipe: Learner(TimmSpec("test_efficientnet", 1).build(10).double(), recipe), BARE),
    "timm_resnet": Kind(lambda recipe: Learner(TimmSpec("test_resnet", 1).build(10).double(), recipe), BARE),
    "boxes": Kind(dense(Detection, FCOS(channels=8, convs=1, strides=(2, 4))), images=with_boxes),
    "boxes_in_parts": Kind(dense(Detection, FCOS(channels=8, convs=1, strides=(2, 4))), BARE, HALVES, with_boxes),
    "anchors": Kind(dense(Detection, RetinaNet(channels=8, strides=(2, 4))), images=with_boxes),
    "masks": Kind(dense(Segmentation, PyramidSegmentation(channels=8, strides=(2, 4))), images=with_masks),
    "frozen_network": Kind(loaded("network"), FROZEN),
    "frozen_subnets": Kind(loaded("project"), FROZEN),
    "long": Kind(plain, replace(DROPPED, epochs=8)),
    "collapsing": Kind(lambda recipe: plain(recipe, NotANumberOnce)),
}


def trainer_of(kind: Kind, folder: Path, compute: Compute) -> Trainer:
    """The trainer of one kind."""
    images = kind.images()
    augmentation = Augmentation.from_recipe(kind.recipe, padding=1)
    loader = Doubled(
        images,
        batch_size=kind.recipe.batch_size,
        normalization=Normalization.of(digits()),
        augmentation=augmentation,
        compute=compute,
    )
    settings: dict[str, Any] = {"seed": 3, "chance_loss": CHANCE, "name": "a test", "checkpoint_seconds": 0.1}
    settings |= {"running": kind.running, "compute": compute}
    learner = kind.learner(kind.recipe)
    if isinstance(learner.objective, HeadObjective):
        learner.objective = replace(learner.objective, compute=compute)
    return Trainer(learner, loader, kind.recipe, folder, **settings)


def train(name: str, folder: Path, compute: Compute) -> None:
    """Train one kind, and write what it comes to."""
    kind = KINDS[name.removeprefix("resumed_")]
    if name.startswith("resumed_"):
        trainer_of(kind, folder / "run", compute).run(until=STEPS // 2)
        own = "run" if compute.is_first else f"empty-{compute.rank}"  # as on a machine that sees no files of the first
        trainer = trainer_of(kind, folder / own, compute)
    else:
        trainer = trainer_of(kind, folder / "run", compute)
    trainer.run()
    state = {"weights": state_of(trainer.learner.model), "trained": state_of(trainer.trained)}
    torch.save({**state, "rollbacks": trainer.rollbacks}, folder / f"{compute.rank}.pt")


def main(folder: Path, names: list[str]) -> None:
    """Train all kinds."""
    torch.set_num_threads(1)
    with open_compute("cpu") as compute:
        for name in names:
            if compute.is_first:
                (folder / name).mkdir(parents=True, exist_ok=True)
            compute.wait()
            train(name, folder / name, compute)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
