"""What a step will take is foreseen, on tensors without numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nasvit.layers.alive import AliveTensors
from nasvit.training.execution import PLAIN
from nasvit.training.learner import Learner
from nasvit.training.memory import StepMemory, step_memory
from nasvit.training.optimizers import MOMENTS
from nasvit.training.trainer import Trainer
from tests.nasvit.training.short import RECIPE, learner_of, state_of, trainer_of


def foreseen(trainer: Trainer) -> StepMemory:
    return step_memory(trainer, trainer.loader.batch(0, 0))


def running(**how: Any) -> Any:
    return {"running": replace(PLAIN, **how)}


@pytest.mark.parametrize("kind", ["network", "switches", "project", "saving"])
def test_the_tensors_of_a_step_are_foreseen_and_nothing_changes(kind: str, tmp_path: Path) -> None:
    trainer = trainer_of(learner_of(kind, RECIPE), tmp_path)
    before, found = state_of(trainer.learner.model), foreseen(trainer)
    assert all(torch.equal(before[name], value) for name, value in trainer.learner.model.state_dict().items())
    trainer.step = trainer.steps - 1  # where no rule spares anything
    trainer.try_step(trainer.loader.batch(0, 0))
    after = foreseen(trainer)
    assert after.there == pytest.approx(found.held, rel=0.01)  # with moments now
    assert (after.held, after.activations) == (pytest.approx(found.held, rel=0.01), found.activations)
    with AliveTensors() as alive:
        alive.ignore([*trainer.learner.model.parameters(), *trainer.learner.model.buffers()])
        alive.ignore([trainer.learner.gradients.rows])
        trainer.try_step(trainer.loader.batch(0, 0))
    assert 0.85 < found.activations / alive.peak < 1.15


def test_parts_of_batches_and_blocks_that_are_run_again_take_less(tmp_path: Path) -> None:
    def activations(**how: Any) -> int:
        return foreseen(trainer_of(learner_of("project", RECIPE), tmp_path, **running(**how))).activations

    whole = activations()
    assert activations(recompute=True) < 0.7 * whole
    assert activations(accumulate=4) < 0.4 * whole
    assert 0.4 * whole < activations(precision="bfloat16") < 0.8 * whole


@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_the_moments_of_every_optimizer_are_known(name: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimizer=name, ema_decay=0.0)
    torch.manual_seed(0)
    learner = Learner(nn.Sequential(nn.Flatten(), nn.Linear(64, 640), nn.ReLU(), nn.Linear(640, 10)), recipe)
    trainer = trainer_of(learner, tmp_path, recipe)
    found = foreseen(trainer)
    trainer.try_step(trainer.loader.batch(0, 0))
    assert foreseen(trainer).there == pytest.approx(found.held, rel=0.01)
    assert found.missing == found.whole - found.there > 0
