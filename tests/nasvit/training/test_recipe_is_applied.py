"""Every field of a recipe changes the training it says it changes."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor

from nasvit.data import Augmentation, Loader, Normalization
from nasvit.supernets.supernet import build_subnet
from nasvit.training.initialization import draw_weights
from nasvit.training.learner import Learner
from nasvit.training.trainer import Trainer
from search_spaces.recipe import OPTIMIZERS, Recipe
from search_spaces.schedule import Cosine, Linear
from tests.nasvit.training.short import SPACE, digits

BASE = Recipe(optimizer="adamw", learning_rate=1e-3, epochs=2, batch_size=32)
CHANGES: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 2e-3,
    "epochs": 3,
    "batch_size": 64,
    "warmup_epochs": 1,
    "weight_decay": 0.5,
    "clip_norm": 0.01,
    "clip_value": 1e-3,
    "label_smoothing": 0.2,
    "mixup": 0.5,
    "cutmix": 0.5,
    "randaugment": 6,
    "random_erasing": 1.0,
    "dropout": 0.5,
    "drop_path_rate": 0.5,
    "ema_decay": 0.5,
    "schedule": Linear(),
    "loaded_rate": 0.1,
    "frozen_epochs": 1,
    "autoaugment": "v0",
    "initialization": "fan_in_uniform",
    "dropblock": 0.3,
}


def trained(recipe: Recipe) -> dict[str, Tensor]:
    images = digits(64)
    loader = Loader(
        images,
        batch_size=recipe.batch_size,
        normalization=Normalization.of(images),
        augmentation=Augmentation.from_recipe(recipe, crop="none", mirror=False),
    )
    with TemporaryDirectory() as folder:
        network = build_subnet(SPACE, SPACE.largest, 10)
        draw_weights(network, recipe.initialization, seed=3)
        task = Learner(network, recipe, is_loaded=lambda name: "classifier" not in name)
        model = Trainer(task, loader, recipe, Path(folder), seed=3, chance_loss=2.3, name="a test").run()
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


@cache
def base() -> dict[str, Tensor]:
    return trained(BASE)


def test_the_same_recipe_gives_the_same_weights() -> None:
    again = trained(BASE)
    assert all(torch.equal(tensor, again[name]) for name, tensor in base().items())


def test_every_field_is_looked_at() -> None:
    assert set(CHANGES) == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_trains_other_weights(field: str) -> None:
    changed = trained(replace(BASE, **{field: CHANGES[field]}))
    assert any(not torch.equal(tensor, changed[name]) for name, tensor in base().items())


@pytest.mark.parametrize("detail", [{"minimum": 5e-4}, {"warmup_start": 5e-4}])
def test_a_smallest_and_a_first_rate_train_other_weights(detail: dict[str, float]) -> None:
    warms_up = replace(BASE, warmup_epochs=1)
    plain, changed = (trained(replace(warms_up, schedule=schedule)) for schedule in (Cosine(), Cosine(**detail)))
    assert any(not torch.equal(tensor, changed[name]) for name, tensor in plain.items())


def test_every_optimizer_trains_other_weights() -> None:
    found = [trained(replace(BASE, optimizer=optimizer)) for optimizer in OPTIMIZERS]
    name = next(iter(found[0]))
    assert all(not torch.equal(a[name], b[name]) for i, a in enumerate(found) for b in found[:i])
