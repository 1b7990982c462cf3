from __future__ import annotations

import json

import numpy as np
import pytest

from predictors.gaussian_process import GaussianProcess
from predictors.report import format_report, predictor_report
from search_spaces.genome import Gene, Genome

GENOME = Genome(tuple(Gene(f"width{index}", (0, 1, 2, 3)) for index in range(5)))


def make() -> GaussianProcess:
    return GaussianProcess(GENOME)


def evaluated(count: int) -> tuple[np.ndarray, np.ndarray]:
    codes = np.unique(GENOME.sample(count, np.random.default_rng(0)), axis=0)
    return codes, codes.sum(1) + 0.3 * np.random.default_rng(1).standard_normal(len(codes))


def test_a_report_holds_rank_correlation_calibration_and_a_rising_learning_curve() -> None:
    report = predictor_report(make, *evaluated(90), np.random.default_rng(0))
    assert report["kendall_tau"] > 0.7
    assert 0.3 < report["within_one_deviation"] < report["within_two_deviations"] <= 1
    curve = report["learning_curve"]
    assert [point["trained"] for point in curve] == sorted(point["trained"] for point in curve)
    assert curve[-1]["kendall_tau"] > curve[0]["kendall_tau"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert "Kendall tau" in format_report(report)


def test_what_was_predicted_of_held_out_candidates_is_kept_beside_what_was_measured() -> None:
    codes, scores = evaluated(40)
    report = predictor_report(
        make, np.concatenate([codes, codes[:3]]), np.append(scores, scores[:3] + 1), np.random.default_rng(0)
    )
    predicted, measured = (np.array(report["held_out"][name]) for name in ("predicted", "measured"))
    assert sorted(measured) == pytest.approx(sorted([*(scores[:3] + 0.5), *scores[3:]]))
    assert np.sqrt(((predicted - measured) ** 2).mean()) == pytest.approx(report["rmse"])


def test_no_candidate_is_predicted_by_a_predictor_that_saw_it_under_another_evaluation() -> None:
    codes, _ = evaluated(40)
    lottery = 10.0 * np.random.default_rng(2).standard_normal(len(codes))  # nothing to learn but the rows themselves
    twice, scores = np.concatenate([codes, codes]), np.concatenate([lottery + 0.1, lottery - 0.1])
    report = predictor_report(make, twice, scores, np.random.default_rng(0))
    assert report["distinct"] == len(codes) == report["evaluations"] // 2
    assert abs(report["kendall_tau"]) < 0.4
    assert report["noise"] == pytest.approx(0.1 * np.sqrt(2))


def test_a_short_search_with_failures_is_reported_without_what_it_cannot_tell() -> None:
    codes, scores = evaluated(12)
    scores[3:] = np.nan
    report = predictor_report(make, codes, scores, np.random.default_rng(0))
    assert report == {"evaluations": 3, "distinct": 3, "noise": None}
    assert "too few" in format_report(report)


def test_equal_scores_leave_the_correlation_out_instead_of_writing_what_is_no_number() -> None:
    codes, _ = evaluated(30)
    report = predictor_report(make, codes, np.ones(len(codes)), np.random.default_rng(0))
    assert "kendall_tau" not in report
    assert report["rmse"] == pytest.approx(0)
    json.dumps(report, allow_nan=False)
    assert "too alike" in format_report(report)
