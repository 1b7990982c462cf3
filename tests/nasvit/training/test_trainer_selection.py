"""The trainer keeps the best weights by a rule, and no subnet's bad loss reaches the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasvit.compute import Compute
from nasvit.supernets.supernet import Supernet
from nasvit.tasks.distillation import KLDivergence
from nasvit.tasks.task import Metric
from nasvit.training.conflict import Sum
from nasvit.training.learner import Learner, Values
from nasvit.training.metrics import read_metrics
from nasvit.training.optimizers import is_decayed_unless_depthwise
from nasvit.training.sampling import Sandwich
from nasvit.training.trainer import Trainer
from tests.nasvit.filled import filled
from tests.nasvit.training.short import BARE, SPACE, learner_of, state_of, trainer_of

ACCURACY = Metric("accuracy")
FIVE = replace(BARE, epochs=5)  # of 4 steps


class Scripted:
    """An evaluation that says what it was told, by the number of the epoch, and remembers the weights."""

    def __init__(self, accuracies: list[float]) -> None:
        self.accuracies, self.weights = accuracies, dict[float, dict[str, Tensor]]()
        self.left: Iterator[float] = iter(accuracies)

    def __call__(self, model: nn.Module) -> Values:
        accuracy = next(self.left)
        self.weights.setdefault(accuracy, state_of(model))
        return {"score": accuracy}


def scored(folder: Path, script: Scripted, metric: Metric = ACCURACY) -> Trainer:
    return trainer_of(learner_of("network", FIVE), folder, FIVE, evaluate=script, evaluate_every=1, keep_best=metric)


def test_the_weights_that_scored_highest_are_kept_and_the_first_of_equals(tmp_path: Path) -> None:
    script = Scripted([0.2, 0.5, 0.4, 0.5, 0.3])
    trainer = scored(tmp_path, script)
    last = state_of(trainer.run())
    assert [r["score"] for r in read_metrics(tmp_path / "metrics.jsonl") if "epoch" in r] == pytest.approx(
        script.accuracies
    )
    best = state_of(trainer.load_best())
    assert all(torch.equal(tensor, script.weights[0.5][name]) for name, tensor in best.items())
    assert not all(torch.equal(tensor, last[name]) for name, tensor in best.items())


def test_where_lower_is_better_the_weights_that_scored_lowest_are_kept(tmp_path: Path) -> None:
    script = Scripted([0.5, 0.2, 0.4, 0.2, 0.3])
    trainer = scored(tmp_path, script, Metric("error", higher_is_better=False))
    trainer.run()
    best = state_of(trainer.load_best())
    assert all(torch.equal(tensor, script.weights[0.2][name]) for name, tensor in best.items())


def test_a_run_that_was_stopped_keeps_the_best_of_before(tmp_path: Path) -> None:
    script = Scripted([0.6, 0.5, 0.4, 0.2, 0.3])
    scored(tmp_path, script).run(until=8)
    again = scored(tmp_path, script)
    again.run()
    best = state_of(again.load_best())
    assert all(torch.equal(tensor, script.weights[0.6][name]) for name, tensor in best.items())


def test_the_best_of_a_training_that_was_not_scored_is_refused_in_words(tmp_path: Path) -> None:
    trainer = trainer_of(learner_of("network", BARE), tmp_path, BARE)
    trainer.run()
    with pytest.raises(ValueError, match="no evaluation was scored"):
        trainer.load_best()


def test_the_trainer_decays_what_the_rule_says(tmp_path: Path) -> None:
    trainer = trainer_of(learner_of("network", BARE), tmp_path, BARE, decays=is_decayed_unless_depthwise)
    decayed = [p for group in trainer.optimizer.param_groups[:1] for p in group["params"]]
    assert decayed
    assert all(parameter.ndim < 4 or parameter.shape[1] > 1 for parameter in decayed)


class BadOnce:
    """A distillation loss that is not a number the first time."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        self.calls -= 1
        return KLDivergence()(student, teacher) * (float("nan") if self.calls == 0 else 1.0)


def test_a_smaller_subnets_loss_that_is_no_number_never_reaches_the_weights(tmp_path: Path) -> None:
    sampling = Sandwich(SPACE, random=1)
    task = Learner(filled(Supernet(SPACE, 10)), BARE, sampling=sampling, distill=BadOnce(4), conflict=Sum())
    trainer = trainer_of(task, tmp_path, BARE, checkpoint_seconds=0)
    with pytest.warns(UserWarning, match="a loss is nan .*back to step 0"):
        trainer.run()
    assert all(torch.isfinite(parameter).all() for parameter in task.model.parameters())
    events = [record for record in read_metrics(tmp_path / "metrics.jsonl") if record.get("event") == "rollback"]
    assert [(event["step"], event["collapsed_at"]) for event in events] == [(0, 2)]


def test_a_process_that_is_done_waits_for_the_last_evaluation_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(learner_of("network", BARE), tmp_path, BARE)
    trainer.run()
    scored_last = {"model": {name: tensor + 1 for name, tensor in state_of(trainer.trained).items()}}

    def first_process_ends() -> None:
        trainer.checkpoints.save_best(trainer.step, scored_last, 0.5, ACCURACY)

    def from_first(compute: Compute, work: Callable[[], Any]) -> Any:
        first_process_ends()
        return work()

    monkeypatch.setattr(Compute, "from_first", from_first)
    best = state_of(trainer.load_best())
    assert all(torch.equal(tensor, scored_last["model"][name]) for name, tensor in best.items())
