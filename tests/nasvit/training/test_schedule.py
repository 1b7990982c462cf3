"""Learning rates."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasvit.training.schedule import LearningRate, learning_rate
from search_spaces.recipe import Recipe
from tests.shared import SHARED, needs_shared

RELEASED = LearningRate(steps=4000, base=6e-4, warmup_steps=50, warmup_start=1e-6, minimum=1e-5)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 1e-06), (1, 1.298e-05), (49, 0.00058802), (50, 0.0005997725656910133), (2000, 0.000305), (4000, 1e-05)],
)
def test_the_rates_are_those_of_the_released_code(step: int, expected: float) -> None:
    assert RELEASED(step) == expected


@needs_shared
def test_every_recorded_rate_of_the_released_code_is_reproduced_to_the_last_bit() -> None:
    golden = json.loads((SHARED / "golden/nasvit/lr_schedule.json").read_text())
    assert all(RELEASED(step) == rate for step, rate in golden["points"])


def test_the_cosine_is_counted_from_step_0_so_it_is_met_with_a_small_jump() -> None:
    assert RELEASED(50) < 6e-4
    assert RELEASED(50) == LearningRate(steps=4000, base=6e-4, minimum=1e-5)(50)


def test_counted_from_the_end_of_the_warm_up_the_cosine_is_met_without_a_jump() -> None:
    rate = LearningRate(steps=155, base=0.4, warmup_steps=5, decay_after_warmup=True)
    whole = LearningRate(steps=150, base=0.4)
    assert [rate(step) for step in range(5, 156)] == [whole(step) for step in range(151)]
    assert rate(5) == 0.4
    assert rate(155) == rate(200) == 0


def test_a_warm_up_to_the_last_step_leaves_no_decay() -> None:
    assert LearningRate(steps=5, base=1.0, warmup_steps=5, decay_after_warmup=True)(5) == 1.0


@given(
    shape=st.sampled_from(["cosine", "linear", "step", "exponential", "constant"]),
    steps=st.integers(1, 500),
    warmup_share=st.floats(0, 1),
    minimum=st.floats(0, 0.5),
)
def test_after_warm_up_the_rate_never_grows_and_stays_between_minimum_and_base(
    shape: str, steps: int, warmup_share: float, minimum: float
) -> None:
    warmup = int(warmup_share * steps)
    rate = LearningRate(steps=steps, base=1.0, warmup_steps=warmup, minimum=minimum, shape=shape)  # type: ignore[arg-type]
    rates = [rate(step) for step in range(warmup, steps + 3)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates))
    assert all(minimum <= each <= 1.0 for each in rates)
    warming = [rate(step) for step in range(warmup)]
    assert warming == sorted(warming) and all(each < 1.0 for each in warming)


def test_linear_ends_at_the_minimum_and_constant_stays() -> None:
    linear = LearningRate(steps=10, base=1.0, minimum=0.2, shape="linear")
    assert [linear(0), linear(5), linear(10)] == pytest.approx([1.0, 0.6, 0.2])
    assert LearningRate(steps=10, base=0.3, shape="constant")(9) == 0.3


@pytest.mark.parametrize("each", [1, 3])
def test_exponential_falls_as_torchs_own_scheduler_does(each: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs, rates = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), []
    for _ in range(6):  # steps of theirs, each of 1 or 3 of ours
        rates += theirs.get_last_lr() * each
        optimizer.step()
        theirs.step()
    ours = LearningRate(steps=6 * each, base=0.5, shape="exponential", factor=0.9, period=each)
    assert [ours(step) for step in range(6 * each)] == pytest.approx(rates)
    smooth = LearningRate(steps=9, base=0.5, shape="exponential", factor=0.9, period=3, stairs=False, minimum=0.4)
    assert [smooth(step) for step in (0, 1, 3, 6, 9)] == pytest.approx([0.5, 0.5 * 0.9 ** (1 / 3), 0.45, 0.405, 0.4])


def test_cosine_step_and_linear_fall_as_torchs_own_schedulers_do() -> None:
    made = {
        "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0.1),
        "linear": lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.2, 20),
        "step": lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 15], 0.1),
    }
    details: dict[str, Any] = {
        "cosine": {"minimum": 0.1},
        "linear": {"minimum": 0.1},
        "step": {"milestones": (0.5, 0.75), "factor": 0.1},
    }
    for shape, scheduler in made.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
        theirs, rates = scheduler(optimizer), []  # type: ignore[no-untyped-call]
        for _ in range(20):
            rates += theirs.get_last_lr()
            optimizer.step()
            theirs.step()
        ours = LearningRate(steps=20, base=0.5, shape=shape, **details[shape])  # type: ignore[arg-type]
        assert [ours(step) for step in range(20)] == pytest.approx(rates), shape


def test_step_falls_by_the_factor_at_every_milestone() -> None:
    rate = LearningRate(steps=100, base=1.0, shape="step", milestones=(0.5, 0.75), factor=0.1)
    assert [rate(step) for step in (49, 50, 74, 75, 99)] == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"warmup_steps": 11}, "warmup_steps <= steps"),
        ({"shape": "cosines"}, "cosine, linear, step, exponential, constant"),
        ({"minimum": 2.0}, "0 <= minimum <= base"),
    ],
)
def test_illegal_values_are_refused_with_the_legal_ones(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LearningRate(**{"steps": 10, "base": 1.0, **values})  # type: ignore[arg-type]


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ValueError, match="counted from 0"):
        RELEASED(-1)


def test_a_recipe_without_a_schedule_has_the_rates_it_always_had() -> None:
    recipe = Recipe("sgd", 0.1, epochs=7, batch_size=32, warmup_epochs=2)
    assert learning_rate(recipe, 31) == LearningRate(7 * 31, 0.1, warmup_steps=2 * 31)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", {}),
        ({"kind": "cosine", "after_warmup": True}, {"decay_after_warmup": True}),
        ({"kind": "cosine", "minimum": 0.01, "warmup_start": 0.001}, {"minimum": 0.01, "warmup_start": 0.001}),
        ({"kind": "linear", "minimum": 0.01, "after_warmup": True}, {"minimum": 0.01, "decay_after_warmup": True}),
        ({"kind": "step", "milestones": [0.5], "factor": 0.2}, {"milestones": (0.5,), "factor": 0.2}),
        ({"kind": "exponential", "epochs": 2.5, "minimum": 0.01}, {"period": 77.5, "factor": 0.97, "minimum": 0.01}),
        ({"kind": "constant", "warmup_start": 0.05}, {"warmup_start": 0.05}),
    ],
)
def test_every_shape_can_be_asked_for_in_a_recipe(schedule: Any, expected: dict[str, Any]) -> None:
    recipe = Recipe("sgd", 0.1, epochs=7, batch_size=32, warmup_epochs=2, schedule=schedule)
    shape = schedule if isinstance(schedule, str) else schedule["kind"]
    assert learning_rate(recipe, 31) == LearningRate(7 * 31, 0.1, warmup_steps=2 * 31, shape=shape, **expected)
