"""The training loop: killed and resumed it is as if nothing had been; a collapse is rolled back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from nasvit.supernets.gradients import FlatGradients
from nasvit.supernets.supernet import build_subnet
from nasvit.training.checkpoint import Checkpoints
from nasvit.training.execution import Execution, Precision, Running
from nasvit.training.learner import Learner, Losses
from nasvit.training.metrics import read_metrics
from nasvit.training.regularization import regularize
from nasvit.training.trainer import Trainer
from tests.nasvit.started import run
from tests.nasvit.training.short import BARE, CHANCE, RECIPE, SPACE, STEPS, learner_of, loader_of, state_of, trainer_of

KINDS = ["network", "project", "saving"]


def trained(kind: str, folder: Path, stops: tuple[int, ...] = ()) -> Trainer:
    """A whole training, stopped at these steps; every part starts from nothing but the folder."""
    for stop in stops:
        trainer_of(learner_of(kind, RECIPE), folder).run(until=stop)
    trainer = trainer_of(learner_of(kind, RECIPE), folder, evaluate=guess, evaluate_every=1)
    trainer.run()
    return trainer


def guess(model: nn.Module) -> dict[str, float]:
    """An evaluation that draws random numbers and depends on the weights."""
    return {"guess": float(torch.rand(()) * 0) + sum(float(p.detach().sum()) for p in model.parameters())}


def assert_same(one: Trainer, other: Trainer) -> None:
    for mine, wanted in ((one.learner.model, other.learner.model), (one.trained, other.trained)):
        state = state_of(wanted)
        assert all(torch.equal(tensor, state[name]) for name, tensor in state_of(mine).items())
    assert metrics(one) == metrics(other)


def metrics(trainer: Trainer) -> list[dict[str, object]]:
    return read_metrics(trainer.folder / "metrics.jsonl", wall_clock=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(kind: str, tmp_path: Path) -> None:
    whole = trained(kind, tmp_path / "whole")
    resumed = trained(kind, tmp_path / "resumed", stops=(3, 4, 7))
    # Evaluations were asked for in the last part only, which began after the first epoch.
    records = [record for record in metrics(whole) if record["step"] != 4 or "epoch" not in record]
    assert metrics(resumed) == records
    assert whole.step == STEPS
    for name in ("learner", "trained"):
        mine, wanted = getattr(resumed, name), getattr(whole, name)
        mine, wanted = (mine.model, wanted.model) if name == "learner" else (mine, wanted)
        assert all(torch.equal(a, b) for a, b in zip(state_of(mine).values(), state_of(wanted).values(), strict=True))


def test_a_run_that_was_killed_in_a_step_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    for kind in KINDS:
        done = run("tests.nasvit.training.short", "killed", str(tmp_path), kind)
        assert done.status == -9, done.said
        # The last record was written after the last checkpoint that is still there, as it is in most kills.
        checkpoints = Checkpoints(tmp_path / kind / "checkpoints")
        last = checkpoints.load_last()
        assert last is not None
        assert last.step == 6
        last.path.unlink()
        resumed, whole = (
            trainer_of(learner_of(kind, RECIPE), tmp_path / kind),
            trainer_of(learner_of(kind, RECIPE), tmp_path / "w" / kind),
        )
        for trainer in (resumed, whole):
            trainer.run()
        assert_same(resumed, whole)


def test_a_finished_run_that_is_run_again_changes_nothing(tmp_path: Path) -> None:
    first = trained("network", tmp_path)
    before, records = state_of(first.trained), metrics(first)
    again = trained("network", tmp_path)
    assert metrics(again) == records
    assert all(torch.equal(tensor, before[name]) for name, tensor in state_of(again.trained).items())


class Collapsing:
    """A learner whose weights turn to nonsense, and its loss to that of guessing, until it is rolled back.

    Args:
        healthy: steps before every collapse, one number for each.
        loss: what nonsense costs.
    """

    def __init__(self, *healthy: int, loss: float = 2.4) -> None:
        self.learner = Learner(build_subnet(SPACE, SPACE.smallest, 10), BARE)
        self.model, self.healthy, self.loss = self.learner.model, list(healthy), loss

    @property
    def gradients(self) -> FlatGradients:
        return self.learner.gradients

    @property
    def loaded(self) -> list[nn.Parameter]:
        return self.learner.loaded

    def zero_grad(self) -> None:
        self.learner.zero_grad()

    def before_step(self, trainer: Trainer) -> None:
        pass

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        self.learner.guard(optimizer)

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, execution: Execution) -> Losses:
        self.learner.add_gradients(images, targets, rng, execution)
        weight = self.model.head.classifier.weight
        if self.healthy and weight.abs().max() < 100:
            self.healthy[0] -= 1
            if self.healthy[0] < 0:
                self.healthy.pop(0)
                torch.nn.init.constant_(weight, 1e3)
        return {"loss": torch.tensor(0.5 if weight.abs().max() < 100 else self.loss)}


LONG = replace(BARE, epochs=15)  # 60 steps


def collapsing(task: Collapsing, folder: Path) -> Trainer:
    return Trainer(task, loader_of(LONG), LONG, folder, seed=0, chance_loss=CHANCE, good_every=10, name="a test")


def test_a_jump_of_the_loss_to_chance_level_is_rolled_back_to_the_last_good_checkpoint(tmp_path: Path) -> None:
    task = Collapsing(30)
    trainer = collapsing(task, tmp_path)
    with pytest.warns(UserWarning, match=r"back at chance level .*; back to step 30, learning rate halved"):
        trainer.run()
    records = read_metrics(tmp_path / "metrics.jsonl")
    at = next(place for place, record in enumerate(records) if record.get("event") == "rollback")
    assert records[at]["step"] == 30
    assert records[at]["collapsed_at"] == 41  # half a window after it
    assert records[at + 1]["step"] == 31
    assert records[at + 1]["learning_rate"] == pytest.approx(records[30]["learning_rate"] / 2)
    assert trainer.step == 60
    assert float(task.model.head.classifier.weight.detach().abs().max()) < 10
    last = trainer.checkpoints.load_last()
    assert last is not None
    assert last.state["rollbacks"] == 1


def test_a_run_that_was_stopped_after_a_rollback_remembers_it(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="training collapsed"):
        collapsing(Collapsing(30), tmp_path).run(until=45)
    again = collapsing(Collapsing(), tmp_path)
    again.run()
    assert again.rollbacks == 1
    events = [record for record in read_metrics(tmp_path / "metrics.jsonl") if record.get("event") == "rollback"]
    assert len(events) == 1


def test_a_loss_that_is_no_number_is_rolled_back_at_once(tmp_path: Path) -> None:
    trainer = collapsing(Collapsing(11, loss=float("nan")), tmp_path)
    with pytest.warns(UserWarning, match="collapsed at step 12: a loss is nan .*back to step 0"):  # 10 is too near
        trainer.run()
    assert trainer.step == 60


def test_where_a_collapse_goes_back_to_does_not_depend_on_when_checkpoints_were_written(tmp_path: Path) -> None:
    often, seldom = collapsing(Collapsing(37), tmp_path / "often"), collapsing(Collapsing(37), tmp_path / "seldom")
    often.checkpoint_seconds = 0
    for trainer in (often, seldom):
        with pytest.warns(UserWarning, match="back to step 30"):
            trainer.run()
    logs = [read_metrics(trainer.folder / "metrics.jsonl", wall_clock=False) for trainer in (often, seldom)]
    assert logs[0] == logs[1]
    for one, other in zip(often.trained.parameters(), seldom.trained.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_rollback_that_helped_gives_the_learning_rate_back(tmp_path: Path) -> None:
    trainer = collapsing(Collapsing(12, loss=float("nan")), tmp_path)
    trainer.good_every = 5
    with pytest.warns(UserWarning, match="back to step 5"):
        trainer.run()
    records = [each for each in read_metrics(tmp_path / "metrics.jsonl") if "learning_rate" in each]
    again = {each["step"]: each["learning_rate"] / trainer.learning_rate(each["step"] - 1) for each in records}
    assert [again[step] for step in (6, 31, 60)] == pytest.approx([0.5, 1.0, 1.0])
    assert sorted(again[step] for step in range(6, 32)) == [again[step] for step in range(6, 32)]


def test_training_that_collapses_again_and_again_ends_with_advice_and_what_was_seen(tmp_path: Path) -> None:
    trainer = collapsing(Collapsing(25, 5, 5, 5), tmp_path)
    with (
        pytest.warns(UserWarning, match="training collapsed"),
        pytest.raises(
            RuntimeError,
            match=r"after 3 rollbacks; lower the learning rate .* or lengthen the warm-up .*\n"
            r"seen at that step: loss 2.4; since step 20 the norm of head.classifier.weight changed most, from [\d.]+ to ",
        ),
    ):
        trainer.run()


def test_a_batch_larger_than_the_images_is_refused_in_words(tmp_path: Path) -> None:
    recipe = replace(BARE, batch_size=129)
    with pytest.raises(ValueError, match="batch_size 129 is more than the 128 training images"):
        trainer_of(learner_of("network", recipe), tmp_path, recipe)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_subnets_compute_in_the_precision_asked_for_and_their_weights_stay_float32(
    precision: Precision, dtype: torch.dtype, tmp_path: Path
) -> None:
    learner = learner_of("project", BARE)
    assert learner.distill is not None
    distill, seen = learner.distill, set()

    def watched(logits: Tensor, soft_targets: Tensor) -> Tensor:
        seen.update((logits.dtype, soft_targets.dtype))
        return distill(logits, soft_targets)

    learner.distill = watched
    trainer_of(learner, tmp_path, BARE, running=Running(precision=precision)).run()
    assert seen == {dtype}
    assert {parameter.dtype for parameter in learner.model.parameters()} == {torch.float32}
    assert all(torch.isfinite(parameter).all() for parameter in learner.model.parameters())


def test_stochastic_depth_grows_along_the_network_and_regularizing_again_replaces_it() -> None:
    network = learner_of("network", BARE).model
    regularize(network, dropout=0.3, drop_path_rate=0.4)
    rates = [module.drop_path.drop_prob for module in network.modules() if getattr(module, "drop_path", None)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.4)
    assert network.head.dropout.drop_prob == 0.3
    regularize(network)
    assert network.head.dropout is None
    assert not any(getattr(module, "drop_path", None) for module in network.modules())
    assert SPACE.largest.depth == (2, 2, 3)


def test_blocks_of_timm_can_be_skipped_and_the_first_never_is() -> None:
    network = timm.create_model("test_convnext", num_classes=10)
    regularize(network, drop_path_rate=0.4)
    rates = [getattr(m.drop_path, "drop_prob", 0.0) for m in network.modules() if hasattr(m, "drop_path")]
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.4)
    network.train()(torch.randn(2, 3, 64, 64)).sum().backward()
