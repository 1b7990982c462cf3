"""What a number of held-out images can show."""

from __future__ import annotations

import numpy as np
import pytest

from nasvit.search.sight import GROUPS, in_groups, smallest_seen
from nasvit.tasks.classification import ClassificationScore


def score(**each: np.ndarray) -> ClassificationScore:
    return ClassificationScore(0.5, 0.5, 1.0, 4, {name: values.astype(np.float32) for name, values in each.items()})


def test_few_images_are_kept_one_by_one_and_many_as_means_of_groups_from_everywhere() -> None:
    assert in_groups(score(accuracy=np.array([1, 0, 1, 1]))) == {"accuracy": [1, 0, 1, 1]}
    sorted_by_class = np.repeat(np.arange(8.0), GROUPS)
    (groups,) = in_groups(score(loss=sorted_by_class)).values()
    assert groups == [3.5] * GROUPS
    assert in_groups(ClassificationScore(0.5, 0.5, 1.0, 4)) == {}


def test_two_networks_that_err_on_the_same_images_are_told_apart_more_easily() -> None:
    right = np.array([1, 1, 1, 0, 0, 1, 1, 0] * 10)
    alike, other = right.copy(), np.roll(right, 1)
    alike[0] = 0
    near, far = (smallest_seen([(right.tolist(), each.tolist())]) for each in (alike, other))
    assert near is not None and far is not None
    assert near == pytest.approx(2 * np.sqrt((1 / 80 - 1 / 80**2) * 80 / 79 / 80))
    assert near < far / 4


@pytest.mark.parametrize("images", [300, 4000])
def test_what_cannot_be_seen_is_what_chance_does_in_nineteen_of_twenty_cases(images: int) -> None:
    rng = np.random.default_rng(0)
    seen, differences = [], []
    for _ in range(200):
        hard = rng.random(images)
        one, other = ((hard + 0.3 * rng.standard_normal(images) < 0.6).astype(float) for _ in range(2))
        pair = [in_groups(score(accuracy=each))["accuracy"] for each in (one, other)]
        seen.append(smallest_seen([(pair[0], pair[1])]))
        differences.append(abs(one.mean() - other.mean()))
    beyond = np.mean(np.array(differences) > np.array(seen))
    assert 0.01 <= beyond <= 0.11


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert smallest_seen([]) is None
    assert smallest_seen([([], [0.5, 0.2]), ([1.0], [0.0])]) is None
