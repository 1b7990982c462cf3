"""Number formats, accumulation, compilation, and steps that are read late or left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from nasvit.compute import Compute
from nasvit.data import Normalization
from nasvit.supernets.gradients import FlatGradients
from nasvit.supernets.supernet import build_subnet
from nasvit.training.collapse import MOST_SKIPPED
from nasvit.training.execution import MOST_COMPILED, Execution, LossScale, Running, resolve
from nasvit.training.learner import Learner
from nasvit.training.metrics import read_metrics
from nasvit.training.optimizers import GuardedStep, build_optimizer
from nasvit.training.sampling import Member
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe
from tests.nasvit.training.jointly import Doubled
from tests.nasvit.training.short import (
    BARE,
    CHANCE,
    RECIPE,
    SHALLOW,
    SPACE,
    digits,
    learner_of,
    loader_of,
    state_of,
    trainer_of,
)
from tests.nasvit.training.test_trainer import LONG, Collapsing

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Late(Compute):
    """A processor whose numbers are read three steps late, as those of an accelerator are."""

    @property
    def late_steps(self) -> int:
        return 3


LATE = Late()


@pytest.mark.parametrize("kind", ["project", "network"])
def test_numbers_that_are_read_late_are_logged_all_and_change_nothing(kind: str, tmp_path: Path) -> None:
    weights, logs = [], []
    for name, compute in (("now", Compute()), ("late", LATE)):
        trainer = trainer_of(learner_of(kind, RECIPE), tmp_path / name, compute=compute)
        trainer.run()
        weights.append(state_of(trainer.trained))
        logs.append(read_metrics(tmp_path / name / "metrics.jsonl", wall_clock=False))
    assert logs[0] == logs[1]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize("stop", [3, 5])
def test_a_late_reading_training_that_was_stopped_logs_and_ends_as_one_that_was_not(stop: int, tmp_path: Path) -> None:
    for name, stops in (("whole", [None]), ("stopped", [stop, None])):
        for until in stops:
            trainer = trainer_of(learner_of("network", RECIPE), tmp_path / name, compute=LATE, checkpoint_seconds=0)
            trainer.run(until=until)
        torch.save(state_of(trainer.trained), tmp_path / f"{name}.pt")
    whole, stopped = (torch.load(tmp_path / f"{name}.pt") for name in ("whole", "stopped"))
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in whole.items())
    logs = [read_metrics(tmp_path / name / "metrics.jsonl", wall_clock=False) for name in ("whole", "stopped")]
    assert logs[0] == logs[1]


def test_a_collapse_that_is_noticed_late_is_rolled_back_and_no_checkpoint_holds_it(tmp_path: Path) -> None:
    task = Collapsing(10, loss=float("nan"))
    trainer = Trainer(task, loader_of(LONG), LONG, tmp_path, seed=0, chance_loss=CHANCE, good_every=5, compute=LATE)
    with pytest.warns(UserWarning, match="collapsed at step 11: a loss is nan .*back to step 5"):
        trainer.run()
    assert trainer.step == 60
    steps = [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl") if "loss" in record]
    assert steps == [*range(1, 11), *range(6, 61)]  # what was done before going back stays in the log


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop_tf", "lamb"])
def test_gradients_that_are_not_finite_never_reach_the_weights(optimizer: Any, waits: bool) -> None:
    recipe = Recipe(optimizer=optimizer, learning_rate=0.1, epochs=1, batch_size=8, weight_decay=0.1)
    torch.manual_seed(0)
    layer, spared = nn.Linear(5, 3), nn.Linear(5, 3)
    spared.load_state_dict(layer.state_dict())
    gradients = FlatGradients(layer.parameters())
    step = GuardedStep(build_optimizer(layer.named_parameters(), recipe), lambda: gradients, waits=waits)
    before = state_of(layer)
    gradients.rows.fill_(torch.inf)
    step(torch.isfinite(gradients.norm()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in state_of(layer).items())
    gradients.rows.fill_(0.5)
    step(torch.isfinite(gradients.norm()))
    assert not torch.equal(layer.weight, before["weight"])
    assert all(torch.isfinite(tensor).all() for tensor in state_of(layer).values())
    if waits or optimizer in ("adamw", "sgd"):  # the moments of the others have seen a gradient of zero
        FlatGradients(spared.parameters()).rows.fill_(0.5)
        build_optimizer(spared.named_parameters(), recipe).step()
        assert all(torch.equal(tensor, state_of(spared)[name]) for name, tensor in state_of(layer).items())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_training_goes_on_from_an_optimizer_that_updates_in_another_way(optimizer: Any, tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimizer=optimizer)
    trainer_of(learner_of("network", recipe), tmp_path, recipe).run(until=2)
    path = max(tmp_path.glob("checkpoints/step-*.pt"))
    content = torch.load(path, weights_only=True)
    for group in content["state"]["optimizer"]["param_groups"]:
        group["fused"] = not group["fused"]  # as on a device without fused updates
    torch.save(content, path)
    trainer = trainer_of(learner_of("network", recipe), tmp_path, recipe)
    trainer.run(until=3)
    assert all(group["fused"] is trainer.optimizer.defaults["fused"] for group in trainer.optimizer.param_groups)


class OverflowsBackward(torch.autograd.Function):
    """The identity, whose gradient is infinite."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * torch.inf


def overflowing(at: Callable[[int], bool]) -> Learner:
    """A learner whose backward pass overflows at some steps, though its losses are finite."""
    learner, calls = Learner(build_subnet(SPACE, SPACE.smallest, 10), BARE), [0]
    loss = learner.objective.loss

    def overflow(logits: Tensor, learned: Any) -> Tensor:
        calls[0] += 1
        return loss(OverflowsBackward.apply(logits) if at(calls[0]) else logits, learned)

    object.__setattr__(learner.objective, "loss", overflow)
    return learner


def test_an_overflow_in_the_backward_pass_costs_one_step_and_nothing_else(tmp_path: Path) -> None:
    learner = overflowing(lambda call: call == 2)
    trainer_of(learner, tmp_path, BARE).run()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record.get("skipped") for record in records] == [None, 1, None, None]
    assert all(torch.isfinite(parameter).all() for parameter in learner.model.parameters())


def test_overflows_without_end_are_a_collapse(tmp_path: Path) -> None:
    learner = overflowing(lambda call: call > 4)
    trainer = Trainer(
        learner, loader_of(LONG), LONG, tmp_path, seed=0, chance_loss=CHANCE, checkpoint_seconds=0, name="a test"
    )
    words = f"the gradients of {MOST_SKIPPED + 1} steps in a row are not finite"
    with pytest.warns(UserWarning, match=words), pytest.raises(RuntimeError, match=words):
        trainer.run()


def test_a_float16_training_scales_its_loss_and_learns(tmp_path: Path) -> None:
    learner = learner_of("project", BARE)
    trainer = trainer_of(learner, tmp_path, BARE, running=Running(precision="float16"))
    before = state_of(learner.model)
    trainer.run()
    assert trainer.execution.scale is not None
    assert all(torch.isfinite(parameter).all() for parameter in learner.model.parameters())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in state_of(learner.model).items())
    losses = [record["loss"] for record in read_metrics(tmp_path / "metrics.jsonl")]
    exact = trainer_of(learner_of("project", BARE), tmp_path / "exact", BARE)
    exact.run(until=1)
    assert losses[0] == pytest.approx(read_metrics(tmp_path / "exact" / "metrics.jsonl")[0]["loss"], rel=2e-2)


@pytest.mark.parametrize("kind", ["project", "sum"])
def test_the_scale_of_the_loss_does_not_show_in_the_gradients(kind: str) -> None:
    found = []
    for factor in (1.0, 2.0**10):
        learner, execution = learner_of(kind, BARE, torch.float64), Execution()
        execution.scale = LossScale(CPU, start=factor)
        images, targets = loader_of(BARE).batch(0, 0)
        torch.manual_seed(0)
        learner.zero_grad()
        learner.add_gradients(images.double(), targets, np.random.default_rng(0), execution)
        found.append(learner.gradients.rows.clone())
    torch.testing.assert_close(*found)


def test_a_scale_is_halved_by_an_overflow_doubled_after_many_good_steps_and_kept_in_checkpoints() -> None:
    scale = LossScale(CPU, start=8.0, interval=3)
    good, bad = torch.tensor(True), torch.tensor(False)
    factors = []
    for sound in (bad, good, good, good, good, bad):
        scale.update(sound)
        factors.append(float(scale.factor))
    assert factors == [4, 4, 4, 8, 8, 4]
    other = LossScale(CPU)
    other.load_state_dict(scale.state_dict())
    for each in (scale, other):
        each.update(good)
    assert float(other.factor) == float(scale.factor)
    assert int(other.good) == int(scale.good) == 1


@pytest.mark.parametrize("kind", ["project", "network"])
def test_accumulated_parts_add_up_to_the_gradients_of_the_batch_where_no_batch_norm_joins_images(kind: str) -> None:
    found = []
    for accumulate in (1, 4):
        learner = learner_of(kind, BARE, torch.float64)
        evaluate_norms(learner)
        images, targets = loader_of(BARE).batch(0, 0)
        learner.zero_grad()
        execution = Execution(Running(precision="float32", accumulate=accumulate))
        learner.add_gradients(images.double(), targets, np.random.default_rng(0), execution)
        found.append(learner.gradients.rows.clone())
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def evaluate_norms(learner: Learner) -> None:
    """Let batch norms of the subnets of a learner leave their input as it is, so that images do not meet."""
    prepare = learner._prepare

    def without_norms(subnet: nn.Module, member: Any, execution: Execution) -> None:
        prepare(subnet, member, execution)
        for module in subnet.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.forward = lambda x: x  # type: ignore[method-assign]

    learner._prepare = without_norms  # type: ignore[method-assign]


def test_parts_of_unequal_size_count_by_their_images() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    found = []
    for accumulate in (1, 3):
        learner = Learner(network, BARE)
        learner.zero_grad()
        images, targets = loader_of(replace(BARE, batch_size=32)).batch(0, 0)
        running = Running(precision="float32", accumulate=accumulate)
        values = learner.add_gradients(images.double(), targets, np.random.default_rng(0), Execution(running))
        found.append((learner.gradients.rows.clone(), values["loss"]))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("accumulate", [0, -2])
def test_a_batch_of_no_parts_is_refused(accumulate: int) -> None:
    with pytest.raises(ValueError, match="accumulate: .*; legal: whole numbers from 1"):
        Running(accumulate=accumulate)


def test_a_processor_computes_in_float32_unless_asked() -> None:
    assert resolve("auto", CPU) == "float32"
    assert resolve("bfloat16", CPU) == "bfloat16"


def test_a_device_without_mixed_precision_says_so() -> None:
    with pytest.raises(ValueError, match="precision bfloat16: meta has no mixed precision; legal there is float32"):
        resolve("bfloat16", torch.device("meta"))


@pytest.fixture
def compiled_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let graphs be captured, forward and backward, and run as they are: what takes long is left out."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **options: real(*args, **options, backend="aot_eager"))
    torch._dynamo.reset()


LAST = replace(SHALLOW, stages=SHALLOW.stages[-1:])
"""One convolution and one block of attention, each of which takes seconds to capture."""


@pytest.mark.usefixtures("compiled_in_no_time")
@pytest.mark.parametrize(
    ("kind", "graphs"), [("project", 2), ("network", 1), pytest.param("switches", 2, marks=pytest.mark.slow)]
)
def test_what_is_compiled_trains_to_the_same_weights_in_few_graphs(kind: str, graphs: int, tmp_path: Path) -> None:
    weights = []
    for name, compiles in (("eager", False), ("compiled", True)):
        learner = learner_of(kind, BARE, space=LAST)
        running = Running(precision="float32", compile=compiles)
        trainer = trainer_of(learner, tmp_path / name, BARE, running=running)
        trainer.run()
        weights.append(state_of(learner.model))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    compiled = trainer.execution.graphs
    # Releases as early as 2.6 stop at every shared parameter, and so make a graph of each layer.
    assert compiled == graphs if torch.__version__ >= TorchVersion("2.14") else compiled >= graphs
    assert read_metrics(tmp_path / "compiled" / "metrics.jsonl")[-1]["graphs"] == compiled
    assert "graphs" not in read_metrics(tmp_path / "eager" / "metrics.jsonl")[-1]


@pytest.mark.usefixtures("compiled_in_no_time")
def test_no_more_subnets_are_compiled_than_pytorch_compiles_of_one_code(monkeypatch: pytest.MonkeyPatch) -> None:
    execution, network = Execution(Running(precision="float32", compile=True)), nn.Linear(2, 2)
    runners = [execution.runner(network, Member(number, fixed=True)) for number in range(MOST_COMPILED + 2)]
    assert [runner is network for runner in runners] == [False] * MOST_COMPILED + [True] * 2
    assert execution.runner(network, Member("drawn")) is network
    assert execution.runner(network, Member(0, fixed=True)) is not network


def test_the_memory_layout_of_accelerators_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights, outputs = [], []
    layouts = (("contiguous", (), torch.contiguous_format), ("channels_last", ("cpu",), torch.channels_last))
    for name, kinds, layout in layouts:
        monkeypatch.setattr("nasvit.compute._CHANNELS_LAST", kinds)
        learner = learner_of("project", BARE, torch.float64)
        compute = Compute()
        supernet = compute.place(learner.model)
        strides = [each.stride() for each in supernet.parameters() if each.ndim == 4]
        assert strides == [
            torch.empty_like(each, memory_format=layout).stride() for each in supernet.parameters() if each.ndim == 4
        ]
        loader = Doubled(digits(), batch_size=32, normalization=Normalization.of(digits()))
        Trainer(learner, loader, BARE, tmp_path / name, seed=3, chance_loss=CHANCE, checkpoint_seconds=0).run(until=2)
        again = learner_of("project", BARE, torch.float64)
        compute.place(again.model)
        trainer = Trainer(again, loader, BARE, tmp_path / name, seed=3, chance_loss=CHANCE)
        trainer.run()  # goes on from a checkpoint
        weights.append(state_of(trainer.trained))
        images = loader.calibration_batches(1)[0].double()
        network = trainer.trained.extract(SPACE.smallest, [images]).eval()
        outputs.append(network(images))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-9, atol=1e-11, msg=name)
    torch.testing.assert_close(*outputs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_deterministic_training_asks_pytorch_for_sums_that_have_an_order(deterministic: bool, tmp_path: Path) -> None:
    seen = list[bool]()

    class Watching(Learner):
        def add_gradients(self, *given: Any) -> Any:
            seen.append(torch.are_deterministic_algorithms_enabled())
            return super().add_gradients(*given)

    learner = Watching(learner_of("network", BARE).model, BARE)
    running = Running(precision="float32", deterministic=deterministic)
    Trainer(learner, loader_of(BARE), BARE, tmp_path, seed=3, chance_loss=CHANCE, running=running).run()
    assert len(seen) == 4
    assert set(seen) == {deterministic}
    assert not torch.are_deterministic_algorithms_enabled()
