"""Held-out splits: in proportion, disjoint, recorded."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasvit.data import hold_out, load_images
from nasvit.data.splits import automatic_share, held_out_indices


@given(
    counts=st.lists(st.integers(5, 40), min_size=2, max_size=6),
    fraction=st.sampled_from([0.2, 0.3, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_image_is_on_one_side_and_classes_are_in_proportion(
    counts: list[int], fraction: float, seed: int
) -> None:
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    kept, held = held_out_indices(targets, fraction=fraction, seed=seed)
    assert sorted([*kept, *held]) == list(range(len(targets)))
    for count, number in zip(counts, np.bincount(targets.numpy()[held], minlength=len(counts))):
        assert abs(number - fraction * count) <= 1


def test_the_whole_is_the_images_as_they_were_before_the_split() -> None:
    digits = load_images("digits")
    data = hold_out(digits, fraction=0.2)
    assert torch.equal(data.whole.pixels, digits.pixels) and torch.equal(data.whole.targets, digits.targets)
    assert len(data.whole) == len(data.train) + len(data.validation)


def test_the_seed_decides_the_split_and_nothing_else_does() -> None:
    digits = load_images("digits")
    np.random.seed(1)
    first = hold_out(digits, seed=3).record
    np.random.seed(2)
    assert hold_out(digits, seed=3).record == first
    assert hold_out(digits, seed=4).record.held_out_sha256 != first.held_out_sha256


def test_search_data_holds_the_training_images_and_no_test_split() -> None:
    digits = load_images("digits")
    data = hold_out(digits, fraction=0.2)
    assert len(data.train) + len(data.validation) == len(digits)
    assert not hasattr(data, "test")
    both = torch.cat([data.train.pixels, data.validation.pixels]).flatten(1).tolist()
    assert sorted(both) == sorted(digits.pixels.flatten(1).tolist())


def test_the_record_survives_json_and_says_what_changed() -> None:
    digits = load_images("digits")
    record = hold_out(digits, seed=0).record
    written = json.loads(json.dumps(record.to_json()))
    record.check(written)
    with pytest.raises(ValueError, match="seed: was 0, is 1"):
        hold_out(digits, seed=1).record.check(written)
    with pytest.raises(ValueError, match="train_sha256"):
        replace(record, train_sha256="other").check(written)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0])
def test_a_fraction_that_leaves_a_side_empty_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        held_out_indices(torch.arange(10) % 2, fraction=fraction, seed=0)


def test_a_class_of_one_image_is_refused_by_its_index() -> None:
    with pytest.raises(ValueError, match="one image only of the classes 7: a class needs two"):
        held_out_indices(torch.tensor([0, 0, 0, 7]), fraction=0.5, seed=0)


def test_a_class_of_two_images_is_on_both_sides() -> None:
    targets = torch.tensor([0] * 8 + [1] * 2)
    kept, held = held_out_indices(targets, fraction=0.5, seed=0)
    assert targets[kept].tolist().count(1) == targets[held].tolist().count(1) == 1


def test_too_few_held_out_images_for_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="each of 5 classes"):
        held_out_indices(torch.arange(20) % 5, fraction=0.1, seed=0)


@pytest.mark.parametrize(
    ("images", "classes", "held_out"),
    [
        (57, 3, 14),  # a quarter at most
        (570, 10, 142),
        (1000, 10, 250),
        (1437, 10, 250),  # some 250 where a quarter is more
        (2500, 10, 250),
        (50_000, 100, 5000),  # a tenth of many
        (30, 10, 10),  # one of each class at least
        (3000, 600, 600),
    ],
)
def test_a_tenth_of_many_images_is_held_out_and_up_to_a_quarter_of_few(
    images: int, classes: int, held_out: int
) -> None:
    targets = torch.arange(images) % classes
    share = automatic_share(targets)
    _, held = held_out_indices(targets, fraction=share, seed=0)
    assert len(held) == held_out


def test_what_is_held_out_of_many_images_is_what_a_tenth_was_before() -> None:
    targets = torch.arange(2511) % 7
    halves = (held_out_indices(targets, fraction=each, seed=3)[1] for each in (automatic_share(targets), 0.1))
    assert np.array_equal(*halves)


def test_the_share_of_few_images_is_chosen_where_none_is_given() -> None:
    digits = load_images("digits")
    assert hold_out(digits).record == hold_out(digits, fraction=250 / len(digits)).record
    assert hold_out(digits).record.held_out == 250
