"""Short trainings on handwritten digits, for tests and for the processes that tests start.

Run as a program, ``short.py killed FOLDER KIND``, it is killed in the middle of a training.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.data import Loader, Normalization, load_images
from nasvit.experiment.family import make_family
from nasvit.search.candidates import Candidates
from nasvit.supernets.gradients import FlatGradients
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.supernet import Supernet, build_subnet
from nasvit.tasks.distillation import AdaptiveAlphaDivergence
from nasvit.training.conflict import Project, Sum
from nasvit.training.execution import Execution
from nasvit.training.learner import Learner, Losses, Trainable
from nasvit.training.sampling import AllSwitches, Family, Sampling, Sandwich
from nasvit.training.start import Saving, Savings
from nasvit.training.trainer import Trainer
from predictors.limits import Budget
from search_spaces import Space
from search_spaces.recipe import Recipe
from tests.nasvit.filled import filled
from tests.nasvit.supernets.tiny import FAMILY

SPACE = search_spaces.load("micro8")
RECIPE = Recipe(
    optimizer="adamw",
    learning_rate=4e-3,
    epochs=2,
    batch_size=32,
    clip_norm=1.0,
    weight_decay=0.02,
    dropout=0.2,
    drop_path_rate=0.3,
    ema_decay=0.9,
)
STEPS = 8
SHALLOW = replace(
    SPACE, stages=tuple(replace(stage, depth=(1, 2) if stage.name == "mix3" else (1,)) for stage in SPACE.stages)
)  # with every kind of block, for what is slow in other ways
GROWING = replace(SPACE, resolution=(4, 8, 12))
SAVINGS = Savings(largest_first=0.25, one_other=True, resolution_first=0.75)
CHANCE = math.log(10)
BARE = Recipe(optimizer="sgd", learning_rate=0.05, epochs=1, batch_size=32, clip_norm=1.0)


def digits(count: int = 128) -> Any:
    return load_images("digits", "train", channels=1).subset(np.arange(count))


def loader_of(recipe: Recipe) -> Loader:
    images = digits()
    return Loader(images, batch_size=recipe.batch_size, normalization=Normalization.of(images))


def family() -> Family:
    """The subnets within half the largest one's multiply-adds."""
    table = cost_table(GROWING, 10)
    candidates = Candidates(GROWING, lambda codes: dict(table.costs(codes)))
    return make_family(candidates, (Budget("macs<=500K"), Budget("params<=30K")), seed=3)


def learner_of(kind: str, recipe: Recipe, dtype: torch.dtype = torch.float32, space: Space = SPACE) -> Learner:
    if kind == "network":
        return Learner(build_subnet(space, space.largest, 10).to(dtype), recipe)
    if kind == "switches":
        network = SlimmableNetwork(FAMILY, (0.5, 1.0), 10, image_channels=1).to(dtype)
        return Learner(network, recipe, sampling=AllSwitches(network))
    space = GROWING if kind == "saving" else space
    supernet = filled(Supernet(space, 10)).to(dtype)
    names = [name for name, _ in supernet.named_parameters()]
    conflict = Project(names) if kind == "project" else Sum(recipe.clip_norm or None)
    distill = AdaptiveAlphaDivergence()
    sampling: Sampling = Sandwich(space, random=1)
    if kind == "saving":
        sampling = Saving(Sandwich(space, random=1, family=family()), SAVINGS, space.resolution)
    return Learner(supernet, recipe, sampling=sampling, distill=distill, conflict=conflict)


def trainer_of(learner: Trainable, folder: Path, recipe: Recipe = RECIPE, **settings: Any) -> Trainer:
    settings = {"seed": 3, "chance_loss": CHANCE, "name": "a test", **settings}
    return Trainer(learner, loader_of(recipe), recipe, folder, **settings)


class KilledAt:
    """A learner whose process is killed, without a word, in the middle of a step."""

    def __init__(self, learner: Learner, call: int) -> None:
        self.learner, self.model, self.left = learner, learner.model, call

    def before_step(self, trainer: Trainer) -> None:
        self.learner.before_step(trainer)

    @property
    def gradients(self) -> FlatGradients:
        return self.learner.gradients

    @property
    def loaded(self) -> list[nn.Parameter]:
        return self.learner.loaded

    def zero_grad(self) -> None:
        self.learner.zero_grad()

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        self.learner.guard(optimizer)

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, execution: Execution) -> Losses:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.learner.add_gradients(images, targets, rng, execution)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _killed(kind: str, folder: Path) -> None:
    trainer_of(KilledAt(learner_of(kind, RECIPE), 6), folder, checkpoint_seconds=0).run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    _killed(sys.argv[3], Path(sys.argv[2]) / sys.argv[3])
