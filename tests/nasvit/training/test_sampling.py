"""Which widths train in a step."""

from __future__ import annotations

import numpy as np
import pytest

from nasvit.training.sampling import AllSwitches, RandomWidths
from tests.nasvit.supernets.tiny import FAMILY, tiny


def test_all_switches_train_in_every_step_the_largest_first() -> None:
    plan = FAMILY.plan(0.5)
    network = tiny(0.25, plan, 1.0)
    drawn = AllSwitches(network)(np.random.default_rng(0))
    assert [member.subnet for member in drawn] == [1.0, plan, 0.25]
    assert [member.regularized for member in drawn] == [True, False, False]
    assert [member.name for member in drawn] == ["", plan.key, "0.25"]


def test_random_widths_come_after_the_largest_and_the_smallest_and_follow_from_the_generator() -> None:
    sampler = RandomWidths(0.25, 1.0, random=3)
    drawn = sampler(np.random.default_rng(1))
    assert [member.subnet for member in drawn[:2]] == [1.0, 0.25]
    assert len(drawn) == 5
    assert drawn == sampler(np.random.default_rng(1))
    assert drawn != sampler(np.random.default_rng(2))


def test_no_width_is_drawn_from_a_gap() -> None:
    sampler, rng = RandomWidths(0.25, 1.0, random=200, gaps=((0.3, 0.9), (0.95, 0.97))), np.random.default_rng(0)
    assert not any(0.3 < each.subnet < 0.9 or 0.95 < each.subnet < 0.97 for each in sampler(rng))


@pytest.mark.parametrize("widths", [(0.0, 1.0), (1.0, 0.5), (1.0, 1.0)])
def test_widths_out_of_order_are_refused(widths: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="legal: 0 < smallest < largest"):
        RandomWidths(*widths)


def test_a_gap_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing"):
        RandomWidths(0.25, 1.0, gaps=((0.2, 1.0),))


def test_gaps_that_leave_nothing_together_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing"):
        RandomWidths(0.25, 1.0, gaps=((0.5, 1.1), (0.2, 0.6)))
    RandomWidths(0.25, 1.0, gaps=((0.2, 0.6),))
