from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import nasvit.training.sampling as sampling_module
from nasvit.data import Loader, Normalization, load_images
from nasvit.layers.drop import Drop
from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec
from nasvit.supernets.augment import augment
from nasvit.supernets.augmented_family import AugmentedNetwork
from nasvit.supernets.sorting import sort_channels
from nasvit.tasks.distillation import Distillation
from nasvit.tasks.objective import LabelObjective
from nasvit.training.execution import SIMPLE
from nasvit.training.learner import Learner
from nasvit.training.sampling import NetAug, Phases
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe

RECIPE = Recipe(optimizer="adamw", learning_rate=4e-3, epochs=4, batch_size=32, ema_decay=0.9, clip_norm=1.0)
BLOCKS = (
    BlockSpec("inverted", 8, expand=2, shortcut=True),
    BlockSpec("inverted", 16, 2, expand=2, squeeze_excite=True, shortcut=False),
)
SMALL = Family("small", "a test", StemSpec(8, stride=1), (BLOCKS,), HeadSpec(24))


def network() -> AugmentedNetwork:
    augmented = augment(SMALL, width=(1, 2), expand=(1, 2), classes=10, image_channels=1, seed=5)
    assert isinstance(augmented, AugmentedNetwork)
    return augmented


def trainer(folder: Path, recipe: Recipe = RECIPE, **settings: Any) -> Trainer:
    images = load_images("digits", "train", channels=1).subset(np.arange(96))
    loader = Loader(images, batch_size=32, normalization=Normalization.of(images))
    return Trainer(learner(recipe, **settings), loader, recipe, folder, seed=3, chance_loss=2.3)


def learner(recipe: Recipe, objective: LabelObjective | None = None, **settings: Any) -> Learner:
    augmented = network()
    return Learner(augmented, recipe, objective, sampling=NetAug(augmented, **settings))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 1, 8, 8, generator=generator), torch.randint(10, (8,), generator=generator)


def gradients(task: Learner) -> torch.Tensor:
    task.zero_grad()
    task.add_gradients(*batch(), np.random.default_rng(1), SIMPLE)
    return task.shared.gradients.rows.clone()


def test_a_step_adds_the_weighted_gradients_of_one_augmented_network() -> None:
    bare = replace(RECIPE, clip_norm=0.0)
    alone, half, whole = (gradients(learner(bare, weight=weight)) for weight in (0.0, 0.5, 1.0))
    assert whole.abs().sum() > alone.abs().sum()
    torch.testing.assert_close(whole - alone, 2 * (half - alone), rtol=1e-4, atol=1e-6)
    expected = network()
    F.cross_entropy(expected.at(expected.base).train()(batch()[0]), batch()[1]).backward()
    torch.testing.assert_close(alone, expected.gradients.rows)


def test_both_networks_of_a_step_learn_from_a_teacher_that_runs_once() -> None:
    calls = []

    class Teacher(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(images)
            return torch.eye(10)[:8]

    bare, objective = replace(RECIPE, clip_norm=0.0), LabelObjective(0.0, Teacher(), Distillation(0.5))
    taught = gradients(learner(bare, objective))
    assert len(calls) == 1
    assert not torch.allclose(taught, gradients(learner(bare)))


def test_widths_are_augmented_and_channels_sorted_in_the_first_phase_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sorted_at, widths = trainer(tmp_path), [], []
    task = run.learner
    assert isinstance(task.model, AugmentedNetwork)
    monkeypatch.setattr(sampling_module, "sort_channels", lambda *_: sorted_at.append(run.step))
    sample = task.model.sample
    monkeypatch.setattr(
        task.model, "sample", lambda generator, widths: recorded.append(widths) or sample(generator, widths=widths)
    )
    recorded = widths
    run.run()
    assert widths == 6 * [True] + 6 * [False]
    assert sorted_at == [0, 3]


def test_sorting_takes_moments_and_average_along(tmp_path: Path) -> None:
    """Sorted in the middle or never: the widest network and its average learn the same."""
    scores = []
    for sorts in (False, True):
        run = trainer(tmp_path / str(sorts), replace(RECIPE, clip_norm=0.0), phases=Phases(1.0, sort=False))
        task = run.learner
        assert isinstance(task.model, AugmentedNetwork)
        widest = task.model.largest_plan
        task.model.double()
        assert run.average is not None
        run.average.model.double()

        for step in range(4):
            if sorts and step == 2:
                sort_channels(task.model, [run.optimizer], [run.average.model])
            task.zero_grad()
            images, labels = batch()
            F.cross_entropy(task.model.at(widest).train()(images.double()), labels).backward()  # type: ignore[arg-type]
            run.optimizer.step()
            run.average.update(task.model)
        scores.append([each.at(widest).train()(batch()[0].double()) for each in (task.model, run.average.model)])  # type: ignore[operator]
    for unsorted, sorted_ in zip(*scores, strict=True):
        torch.testing.assert_close(unsorted, sorted_, rtol=1e-8, atol=1e-8)


def test_a_training_that_was_stopped_in_the_first_phase_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole").run().state_dict()
    for until in (3, 4):
        trainer(tmp_path / "parts").run(until=until)
    parts = trainer(tmp_path / "parts").run().state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_an_illegal_phase_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"widths: 1.5 is illegal; legal: numbers from 0 to 1"):
        Phases(widths=1.5)


def test_the_trainer_sorts_its_optimizers_moments_and_its_average_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = trainer(tmp_path), []
    monkeypatch.setattr(sampling_module, "sort_channels", lambda *asked: seen.append(asked))
    assert run.average is not None
    run.learner.before_step(run)
    assert seen == [(run.learner.model, [run.optimizer], [run.average.model])]


def test_sorting_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path, phases=Phases(sort=False))
    monkeypatch.setattr(sampling_module, "sort_channels", lambda *_: pytest.fail("sorted"))
    run.learner.before_step(run)


def test_the_gradients_of_both_networks_are_clipped_together() -> None:
    assert float(gradients(learner(replace(RECIPE, clip_norm=1e-3))).norm()) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("place", [0, 1])
def test_the_loss_is_no_number_if_that_of_either_network_is_none(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task, calls = learner(RECIPE), []

    def loss(logits: torch.Tensor, targets: Any) -> torch.Tensor:
        calls.append(logits)
        return logits.sum() * (math.inf if len(calls) == place + 1 else 1.0)

    monkeypatch.setattr(LabelObjective, "loss", lambda self, *arguments: loss(*arguments))
    values = task.add_gradients(*batch(), np.random.default_rng(1), SIMPLE)
    assert not math.isfinite(values["loss"])


def test_both_networks_of_a_step_drop_features_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    task, dropped = learner(replace(RECIPE, dropout=0.25)), []
    forward = Drop.forward
    monkeypatch.setattr(
        Drop, "forward", lambda self, x: dropped.append((self.drop_prob, self.training)) or forward(self, x)
    )
    gradients(task)
    assert dropped == [(0.25, True)] * 2
