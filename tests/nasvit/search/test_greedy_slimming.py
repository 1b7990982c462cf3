from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasvit.search.greedy import Channels, slim_greedily


def cost(channels: Channels) -> int:
    return sum(channels)


@given(st.lists(st.integers(8, 64), min_size=2, max_size=5), st.data())
def test_every_target_is_undercut_and_channels_only_shrink(start: list[int], data: st.DataObject) -> None:
    channels = tuple(start)
    weights = data.draw(st.lists(st.floats(0.1, 2), min_size=len(start), max_size=len(start)))

    def error(left: Channels) -> float:
        return sum(w / c for w, c in zip(weights, left, strict=True))

    total = sum(channels)
    results = slim_greedily(channels, (1,) * len(channels), error, cost, (total // 2, total - 2))
    assert [result.target for result in results] == [total - 2, total // 2]
    for before, after in zip((channels, results[0].channels), (results[0].channels, results[1].channels), strict=True):
        assert all(b >= a >= 1 for b, a in zip(before, after, strict=True))
    assert all(result.cost < result.target for result in results)


def test_channels_are_taken_where_the_error_grows_least() -> None:
    results = slim_greedily((10, 10), (2, 2), lambda left: -left[0] * 3 - left[1], cost, (17,))
    assert results[0].channels == (10, 6)
    assert results[0].chosen == (1, 1)


def test_the_first_of_equal_groups_is_slimmed() -> None:
    assert slim_greedily((4, 4), (1, 1), lambda left: -float(sum(left)), cost, (8,))[0].chosen == (0,)


def test_a_target_below_the_smallest_network_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"target 1 cannot be met: with \(1, 2\) channels"):
        slim_greedily((3, 4), (1, 2), lambda left: -float(sum(left)), cost, (1,))
