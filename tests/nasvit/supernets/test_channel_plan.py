from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasvit.importing.slimmable import released_plan
from nasvit.models.catalog import mobilenet_v2, resnet
from nasvit.models.plan import ChannelPlan
from search_spaces import make_divisible


@given(st.lists(st.integers(1, 4096), max_size=60))
def test_a_plan_survives_json(channels: list[int]) -> None:
    plan = ChannelPlan(tuple(channels))
    assert ChannelPlan.from_json(plan.to_json()) == plan
    assert ChannelPlan.from_json(plan.to_json()).key == plan.key


@given(st.floats(0.1, 5000), st.sampled_from([1, 4, 8]))
def test_rounding_gives_a_multiple_and_loses_at_most_a_tenth(value: float, divisor: int) -> None:
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert rounded >= 0.9 * value


def test_a_plan_with_no_channels_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="entry 1 is 0"):
        ChannelPlan((8, 0))


def test_text_that_is_no_plan_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="not of the form"):
        ChannelPlan.from_json("[1, 2]")


def test_a_family_names_every_entry_of_its_plans() -> None:
    family = mobilenet_v2()
    names = family.decisions()
    assert len(names) == len(family.plan(0.5).channels)
    assert names[:4] == ("stem", "stages.0.0.out", "stages.1.0.hidden0", "stages.1.0.out")
    assert names[-1] == "head"


def test_a_released_channel_list_of_a_resnet_repeats_the_channels_of_each_stage() -> None:
    family = resnet(50)
    numbers, rest = [64], list(family.plan().channels[1:])
    for stage in family.stages:
        numbers += [rest[2], *rest[: 3 * len(stage)]]
        del rest[: 3 * len(stage)]
    assert released_plan(family, [*numbers, 1000]) == family.plan()
    with pytest.raises(ValueError, match="starts with 8"):
        released_plan(family, [numbers[0], 8, *numbers[2:], 1000])
