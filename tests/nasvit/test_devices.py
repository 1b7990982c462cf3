"""Whole steps, stages and deployments on a pretend accelerator: no devices are mixed, and no step waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import search_spaces
from nasvit.data import Augmentation, Loader, Normalization
from nasvit.supernets.augment import augment
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.supernet import Supernet, build_subnet
from nasvit.tasks.distillation import AdaptiveAlphaDivergence, Distillation
from nasvit.tasks.objective import Objective
from nasvit.tasks.teacher import Teacher
from nasvit.training.conflict import Project
from nasvit.training.learner import Learner
from nasvit.training.sampling import AllSwitches, NetAug, RandomWidths, Sandwich
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe
from tests.nasvit.pretend import DEVICE, PRETEND, PretendDevice
from tests.nasvit.supernets.tiny import FAMILY
from tests.nasvit.training.short import digits

SPACE = search_spaces.load("micro8")
RECIPE = Recipe(
    optimizer="adamw",
    learning_rate=1e-3,
    epochs=3,
    batch_size=32,
    clip_norm=1.0,
    label_smoothing=0.1,
    dropout=0.2,
    drop_path_rate=0.3,
    ema_decay=0.9,
)


def images(count: int = 8, side: int = 8) -> Tensor:
    return torch.empty(count, 1, side, side, device=DEVICE)


def projecting(supernet: Supernet, per: Any = "tensor") -> Project:
    return Project([name for name, _ in supernet.named_parameters()], per=per)


def supernet_learner(recipe: Recipe = RECIPE, per: Any = "tensor") -> Learner:
    supernet = Supernet(SPACE, 10).to(DEVICE)
    return Learner(
        supernet,
        recipe,
        sampling=Sandwich(SPACE, random=1),
        distill=AdaptiveAlphaDivergence(),
        conflict=projecting(supernet, per),
    )


def switches_learner(recipe: Recipe = RECIPE) -> Learner:
    network = SlimmableNetwork(FAMILY, (0.5, 1.0), 10, image_channels=1).to(DEVICE)
    return Learner(network, recipe, sampling=AllSwitches(network))


def universal_learner(recipe: Recipe = RECIPE) -> Learner:
    network = SlimmableNetwork(FAMILY, (0.5, 1.0), 10, norm="universal", image_channels=1).to(DEVICE)
    return Learner(network, recipe, sampling=RandomWidths(0.5, 1.0, 1))


def netaug_learner(recipe: Recipe = RECIPE) -> Learner:
    network = augment(FAMILY, classes=10, image_channels=1).to(DEVICE)
    return Learner(network, recipe, sampling=NetAug(network))


def taught_learner(recipe: Recipe = RECIPE) -> Learner:
    student, teacher = (build_subnet(SPACE, SPACE.smallest, 10) for _ in range(2))
    taught = Teacher(teacher, (0.5,), (0.2,), own_mean=(0.4,), own_deviation=(0.3,)).to(DEVICE)
    return Learner(student.to(DEVICE), recipe, Objective(0.1, taught, Distillation()))


LEARNERS = {
    "supernet": supernet_learner,
    "by layer": lambda recipe=RECIPE: supernet_learner(recipe, "layer"),
    "switches": switches_learner,
    "universal": universal_learner,
    "netaug": netaug_learner,
    "taught": taught_learner,
}


def trainer_of(kind: str, folder: Path, recipe: Recipe = RECIPE, **settings: Any) -> Trainer:
    data = digits()
    loader = Loader(
        data,
        batch_size=recipe.batch_size,
        normalization=Normalization.of(data),
        augmentation=Augmentation(padding=1, random_erasing=0.5, mixup=0.2, cutmix=0.2),
        compute=PRETEND,
    )
    learner = LEARNERS[kind](recipe)
    return Trainer(learner, loader, recipe, folder, seed=1, chance_loss=2.3, compute=PRETEND, **settings)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop_tf", "lamb"])
@pytest.mark.parametrize("kind", ["supernet"])
def test_no_step_of_any_optimizer_waits_for_the_device(kind: str, optimizer: Any, tmp_path: Path) -> None:
    check_steps(kind, tmp_path, optimizer=optimizer)


@pytest.mark.parametrize("kind", LEARNERS)
def test_no_step_of_any_kind_waits_for_the_device(kind: str, tmp_path: Path) -> None:
    check_steps(kind, tmp_path)


def check_steps(kind: str, folder: Path, optimizer: Any = "adamw") -> None:
    """Take steps on the pretend device: the first builds views and moments, the others must neither wait nor upload."""
    from dataclasses import replace

    trainer = trainer_of(kind, folder, replace(RECIPE, optimizer=optimizer))
    batches = trainer.loader.steps(0, 4)
    with PretendDevice(uploads=None):
        trainer._train_on(next(batches))
    trainer.step += 1
    with PretendDevice():
        for batch in batches:
            values, rate = trainer._train_on(batch)
            trainer.readings.add(trainer.step, values, {"learning_rate": rate})
            trainer.step += 1
    assert trainer.step == 4
