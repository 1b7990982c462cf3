from __future__ import annotations

import numpy as np

from experiments.benchmarks.search_speed import Bench, Settings, measure

SETTINGS = Settings(spaces=("micro8",), candidates=3000, single=2, turns=1)


def test_everything_is_measured_in_every_space() -> None:
    found = measure(SETTINGS)["micro8"]
    parts = {"sampling", "exact_cost", "predictor", "whole_loop", "one_at_a_time", "loop_over_one_at_a_time"}
    assert found.keys() == parts
    assert min(found.values()) > 0


def test_both_ways_count_the_same_and_the_loop_keeps_the_best_it_scored_under_the_cap() -> None:
    bench = Bench("micro8", SETTINGS)
    architecture = bench.space.decode(bench.population[:1])[0]
    assert bench.count(architecture) == bench.table.macs(bench.population[:1])[0]
    bench.rng = np.random.default_rng(7)
    best = bench.whole_loop(batch=1000)
    assert best.shape == (100, len(bench.genome))
    assert (bench.table.macs(best) <= bench.cap).all()
    again = np.random.default_rng(7)
    seen = np.concatenate([bench.genome.sample(1000, again) for _ in range(3)])
    scores = bench.predictor.predict(seen[bench.table.macs(seen) <= bench.cap])[0]
    np.testing.assert_allclose(np.sort(bench.predictor.predict(best)[0]), np.sort(scores)[-100:], rtol=1e-5)
