"""Priors: what measurements on some data sets say of subnets on another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import search_spaces
from nasvit.costs.tables import cost_table
from predictors.arrays import Codes, Floats
from predictors.metrics import spearman
from predictors.prior import FEWEST, Measurement, Prior, find_prior, has_prior, read_measurements

SPACE = search_spaces.load("micro8")
SHIPPED = [name for name in search_spaces.names() if has_prior(name)]


def proxies(codes: Codes) -> Floats:
    costs = cost_table(SPACE, 10).costs(codes)
    return np.log(np.stack([costs["macs"], costs["params"]], axis=1))


def quality(codes: Codes) -> Floats:
    """What makes subnets good in these tests: wide stages and large kernels, whatever they cost."""
    names = SPACE.genome.names
    wide = [codes[:, names.index(name)] for name in ("width.conv1", "width.mix3")]
    return np.asarray(wide[0] + 2.0 * wide[1] - 1.5 * codes[:, names.index("kernel_size.conv1")], dtype=np.float64)


def measured(data: str, count: int, seed: int, scored: Callable[[Floats], Floats]) -> list[Measurement]:
    codes = SPACE.genome.sample(count, np.random.default_rng(seed))
    scores = scored(quality(codes))
    found = zip(SPACE.decode(codes), scores.tolist(), strict=True)
    return [Measurement(data, architecture, score, 1 - score) for architecture, score in found]


def test_a_prior_ranks_subnets_it_has_not_seen_as_they_were_measured() -> None:
    prior = Prior(SPACE, measured("one", 30, 0, lambda good: 0.5 + 0.05 * good), proxies)
    others = SPACE.genome.sample(200, np.random.default_rng(9))
    assert spearman(prior.predict(others)[0], quality(others)) > 0.9


def test_how_hard_a_data_set_is_and_how_far_its_scores_spread_changes_nothing() -> None:
    easy, hard = (measured("two", 20, 1, scored) for scored in (lambda g: 0.9 + 0.01 * g, lambda g: 0.2 + 0.04 * g))
    first = measured("one", 20, 0, lambda good: 0.5 + 0.05 * good)
    others = SPACE.genome.sample(50, np.random.default_rng(9))
    expected = [Prior(SPACE, first + second, proxies).predict(others)[0] for second in (easy, hard)]
    np.testing.assert_allclose(*expected, atol=1e-9)


def test_every_data_set_is_predicted_from_the_others() -> None:
    one = measured("one", 25, 0, lambda good: 0.5 + 0.05 * good)
    against = measured("against", 25, 1, lambda good: 0.5 - 0.05 * good)
    found = {name: spearman(*pair) for name, pair in Prior(SPACE, one + against, proxies).left_out().items()}
    assert set(found) == {"one", "against"}
    assert all(value < -0.8 for value in found.values())
    assert Prior(SPACE, one, proxies).left_out() == {}


def test_rows_of_a_cut_space_are_expected_to_be_what_their_architectures_are() -> None:
    prior = Prior(SPACE, measured("one", 30, 0, lambda good: 0.5 + 0.05 * good), proxies)
    cut = SPACE.cut({"width.conv1": [16], "depth.mix3": [1, 3], "kernel_size.conv2": [5]})
    rows = cut.genome.sample(40, np.random.default_rng(3))
    assert len(cut.genome) < len(SPACE.genome)
    np.testing.assert_array_equal(prior.within(cut).predict(rows)[0], prior.predict(SPACE.encode(cut.decode(rows)))[0])


def test_too_few_measurements_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=f"needs {FEWEST} measurements on one data set"):
        Prior(SPACE, measured("one", FEWEST - 1, 0, lambda good: good), proxies)


def test_a_line_that_is_no_measurement_is_named(tmp_path: Path) -> None:
    good = {"data": "one", "score": 0.5, "loss": 1.0, "architecture": json.loads(SPACE.smallest.to_json())}
    elsewhere = good | {"architecture": good["architecture"] | {"resolution": 9}}
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(good) + "\n\n" + json.dumps(elsewhere) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"own.jsonl, line 2 is no measurement of space 'micro8': resolution is 9"):
        read_measurements(SPACE, path)
    path.write_text('{"data": "one"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1 is no measurement"):
        read_measurements(SPACE, path)
    with pytest.raises(FileNotFoundError, match=r"experiments.priors makes one"):
        read_measurements(SPACE, tmp_path / "none.jsonl")


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_was_measured_on_subnets_of_the_space_each_once_on_every_data_set(name: str) -> None:
    found = read_measurements(search_spaces.load(name), name)
    assert len({(each.data, each.architecture) for each in found}) == len(found)
    assert all(0 < each.score < 1 and each.loss > 0 for each in found)
    assert len({each.data for each in found}) >= 2


def test_a_space_that_nobody_measured_has_no_prior() -> None:
    assert find_prior("nasvit", proxies) is None


def test_measurements_of_a_data_set_can_be_left_out() -> None:
    whole = find_prior("micro8", proxies)
    assert whole is not None
    left = find_prior("micro8", proxies, without=whole.data[:1])
    assert left is not None
    assert left.data == whole.data[1:]


def test_the_search_space_of_a_measurement_may_be_any_equal_one() -> None:
    renamed = replace(SPACE, name="mine")
    prior = Prior(renamed, measured("one", 20, 0, lambda good: 0.5 + 0.05 * good), proxies)
    assert prior.within(SPACE).predict(SPACE.genome.sample(3, np.random.default_rng(0)))[0].shape == (3,)
