from __future__ import annotations

import pytest

from nasvit.search.early_stop import epochs_of, score_at, stopping_share

SETTLED = [[0.1, 0.5, 0.6, 0.7], [0.2, 0.4, 0.5, 0.6], [0.3, 0.3, 0.4, 0.5], [0.4, 0.2, 0.3, 0.4]]


def test_trainings_stop_at_the_first_epoch_that_ranks_as_the_end_does() -> None:
    assert stopping_share(SETTLED, 0.9) == 0.5


def test_a_ranking_that_never_settles_means_training_to_the_end() -> None:
    curves = [[0.1, 0.1, 0.3], [0.2, 0.2, 0.2], [0.3, 0.3, 0.1]]
    assert stopping_share(curves, 0.5) == 1.0


def test_equal_accuracies_say_nothing_of_a_ranking() -> None:
    assert stopping_share([[0.1, 0.5], [0.1, 0.6]], 0.0) == 1.0


def test_candidates_that_differ_in_epochs_are_compared_at_the_same_share() -> None:
    doubled = [[value for value in curve for _ in range(2)] for curve in SETTLED[:2]] + SETTLED[2:]
    assert stopping_share(doubled, 0.9) == 0.5


def test_a_share_of_the_epochs_is_rounded_up() -> None:
    assert [epochs_of(3, share) for share in (0.01, 1 / 3, 0.34, 1.0)] == [1, 1, 2, 3]
    assert score_at([0.1, 0.2, 0.3], 0.5) == 0.2


def test_one_curve_is_no_ranking() -> None:
    with pytest.raises(ValueError, match="at least two training curves, got 1"):
        stopping_share([[0.1]], 0.5)
