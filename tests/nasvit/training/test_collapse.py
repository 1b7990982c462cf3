"""Noticing a collapse, and nothing else."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasvit.training.collapse import Collapse, CollapseDetector

CHANCE = math.log(10)


def feed(detector: CollapseDetector, losses: list[float], start: int = 0) -> Collapse | None:
    for step, loss in enumerate(losses, start):
        found = detector.update(step, loss)
        if found is not None:
            return found
    return None


def learning(count: int = 200) -> list[float]:
    noise = np.random.default_rng(0).normal(0, 0.15, count)
    return [CHANCE * (0.3 + 0.7 * math.exp(-step / 40)) + float(noise[step]) for step in range(count)]


def test_learning_is_no_collapse() -> None:
    assert feed(CollapseDetector(CHANCE), learning()) is None


def test_a_jump_to_chance_level_is_noticed_within_a_window_and_said_in_numbers() -> None:
    found = feed(CollapseDetector(CHANCE, window=20), [*learning(), *[CHANCE] * 30])
    assert found is not None and 200 <= found.step < 220
    assert "chance level at step" in found.reason and "2.303" in found.reason


def test_a_network_that_has_not_learned_yet_has_not_collapsed() -> None:
    assert feed(CollapseDetector(CHANCE), [CHANCE * 1.1] * 500) is None


@pytest.mark.parametrize("chance", [CHANCE, math.inf])  # nobody knows what a detector's guess costs
def test_a_loss_that_never_was_better_and_grows_without_end_has_diverged(chance: float) -> None:
    found = feed(CollapseDetector(chance), [CHANCE, *[1e20] * 30])
    assert found is not None and found.step < 30 and "diverged" in found.reason and "1e+20" in found.reason
    assert feed(CollapseDetector(chance), [CHANCE, *[9 * CHANCE] * 30]) is None
    assert feed(CollapseDetector(chance), [CHANCE * 4, *[30 * CHANCE] * 30]) is None  # a loss with more in it


def test_a_few_bad_batches_are_no_collapse_however_bad() -> None:
    losses = learning()
    for step in (100, 101, 102, 150):
        losses[step] = 1e6
    assert feed(CollapseDetector(CHANCE), losses) is None


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_noticed_at_once(loss: float) -> None:
    found = CollapseDetector(CHANCE).update(7, loss)
    assert found is not None and found.step == 7 and "step 7" in found.reason


@given(cut=st.integers(0, 215))
def test_a_resumed_detector_notices_at_the_same_step(cut: int) -> None:
    losses = [*learning(), *[CHANCE] * 30]
    unbroken = feed(CollapseDetector(CHANCE), losses)
    first, second = CollapseDetector(CHANCE), CollapseDetector(CHANCE)
    before = feed(first, losses[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before or feed(second, losses[cut:], start=cut) == unbroken


def test_after_a_reset_recovery_is_given_a_window_of_time() -> None:
    detector = CollapseDetector(CHANCE, window=20)
    assert feed(detector, [*learning(), *[CHANCE] * 30]) is not None
    detector.reset()
    assert feed(detector, [CHANCE] * 19) is None
    assert feed(detector, [CHANCE]) is not None


def test_a_checkpoint_on_the_way_down_is_not_healthy() -> None:
    detector = CollapseDetector(CHANCE, window=5)
    assert detector.healthy
    feed(detector, [0.5] * 5)
    assert detector.healthy
    assert feed(detector, [0.9 * CHANCE] * 5) is None
    assert not detector.healthy


@pytest.mark.parametrize("values", [{"chance_loss": 0}, {"window": 0}, {"learned": 0.99}])
def test_values_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="0 < learned < collapsed"):
        CollapseDetector(**{"chance_loss": CHANCE, **values})  # type: ignore[arg-type]
