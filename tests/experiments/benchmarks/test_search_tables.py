from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.search_tables import METHODS, main
from experiments.benchmarks.tables import BudgetSpentError, Training, read_table
from search_spaces.genome import Gene, Genome


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table of 81 codes, 54 of them distinct networks, one never trained, some runs missing."""
    genome = Genome(tuple(Gene(f"layer{index}", (0, 1, 2)) for index in range(4)))
    codes = np.array(np.unravel_index(np.arange(81), (3, 3, 3, 3))).T.astype(np.uint8)
    same = codes.copy()
    same[:, :2] = np.sort(codes[:, :2], axis=1)
    canonical = (same @ np.array([27, 9, 3, 1])).astype(np.int32)
    noise = 0.1 * np.random.default_rng(0).standard_normal((81, 3))
    scores = (90 + same.sum(1)[:, None] + noise)[canonical].astype(np.float32)
    scores[::5, 1] = np.nan
    scores[canonical == 0] = np.nan
    file = tmp_path / "small.npz"
    arrays = {"codes": codes, "cards": genome.cards, "ordinal": genome.ordinal, "recipe": genome.recipe}
    names, macs = np.array(genome.names), 1.0 + same.sum(1)
    np.savez(file, **arrays, names=names, score=scores, score_name="%", canonical=canonical, macs=macs)
    return file


def test_networks_are_distinct_and_those_never_trained_are_left_out(path: Path) -> None:
    table = read_table(path)
    assert len(table.codes) == 53
    found = table.find(np.array([[0, 2, 1, 1], [2, 0, 1, 1], [0, 0, 0, 0]], np.uint8))
    assert found[0] == found[1] >= 0
    assert found[2] == -1
    assert table.rank.min() == 1


def test_a_missing_run_is_never_drawn_and_the_used_run_is_not_read_again(path: Path) -> None:
    table = read_table(path)
    training = Training(table, 53, np.random.default_rng(0))
    for network in range(53):
        assert np.isfinite(training.train(network))
        run = training.seen[network][0]
        rest = np.delete(table.runs[network], run)
        assert training.unused_score(network, 53) == pytest.approx(np.nanmean(rest))
    assert training.train(5) == training.seen[5][1]  # trained before: free
    with pytest.raises(BudgetSpentError):
        Training(table, 0, np.random.default_rng(0)).train(1)


def test_the_command_writes_one_record_per_table_cap_method_and_budget(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "records.json"
    options = ["--budget", "12", "20", "--seeds", "2", "--cost-quantile", "0.7", "--json", str(out), "--splits", "0"]
    main([str(path), *options, "--pool", "0.1", "--methods", *METHODS])
    records = json.loads(out.read_text())
    assert len(records) == len(METHODS) * 2
    fields = {"table", "cap", "method", "budget", "seeds", "regret_best_evaluated", "regret_recommended"}
    fields |= {"score_on_unused_runs", "found_best_share", "found_top_permille_share", "seconds"}
    for record in records:
        assert fields <= record.keys()
        assert record["regret_best_evaluated"].keys() == {"q25", "median", "q75", "q90"}
        assert record["regret_best_evaluated"]["median"] >= 0
        assert 0 <= record["found_best_share"] <= 1


def test_a_cap_on_a_table_without_costs_is_refused(path: Path, tmp_path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "macs"}
    np.savez(tmp_path / "free.npz", **arrays)
    with pytest.raises(ValueError, match="a cap needs one of the costs"):
        read_table(tmp_path / "free.npz", 0.5)
    np.savez(tmp_path / "bad.npz", **{name: value for name, value in arrays.items() if name != "names"})
    with pytest.raises(ValueError, match="no array names"):
        read_table(tmp_path / "bad.npz")
