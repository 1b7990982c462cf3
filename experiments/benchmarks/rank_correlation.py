"""How well a predictor ranks networks it never saw, against the number it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.benchmarks.tables import Table
from predictors.accuracy import Predictor
from predictors.ensemble import Ensemble
from predictors.metrics import Quality, kendall_tau, quality


def rank_correlations(table: Table, trained: Sequence[int], splits: int) -> list[dict[str, Any]]:
    """Return one record for each number of trained networks (one random run each), read on all other networks.

    ``kendall_tau`` is against the mean of all runs; ``kendall_tau_unused_runs`` is against all runs but a random one,
    to compare with ``one_training_tau``: that random run itself.
    """
    records = []
    for size in (size for size in trained if size <= len(table.codes) // 2):
        found = []
        for split in range(splits):
            rng = np.random.default_rng([split, 2])
            order = rng.permutation(len(table.codes))
            single, others = _hold_one_run_out(table.runs, rng)
            predictor: Predictor = Ensemble(table.genome, table.proxies)
            predictor.fit(table.codes[order[:size]], single[order[:size]])
            held = order[size:]
            mean, spread = predictor.predict(table.codes[held])
            known = np.isfinite(others[held])
            apples = _apples(mean[known], single[held][known], others[held][known])
            found.append([*asdict(quality(mean, spread, table.truth[held])).values(), *apples])
        names = [*Quality.__dataclass_fields__, "kendall_tau_unused_runs", "one_training_tau"]
        means = dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))
        records.append({"table": table.name, "trained": size, "splits": splits, **means})
    return records


def _hold_one_run_out(runs: np.ndarray[Any, np.dtype[np.float64]], rng: np.random.Generator) -> tuple[Any, Any]:
    """Return one random run of every network and the mean of its others (NaN where it has no other)."""
    keys = np.where(np.isfinite(runs), rng.random(runs.shape), -1.0)
    chosen = keys.argmax(axis=1)
    rows = np.arange(len(runs))
    others = runs.copy()
    others[rows, chosen] = np.nan
    count = np.isfinite(others).sum(axis=1)
    total = np.nansum(others, axis=1)
    return runs[rows, chosen], np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _apples(mean: Any, single: Any, others: Any) -> tuple[float, float]:
    if len(others) < 2:
        return float("nan"), float("nan")
    return kendall_tau(mean, others), kendall_tau(single, others)


def print_rank_correlations(table: Table, trained: Sequence[int], splits: int) -> list[dict[str, Any]]:
    """Print and return :func:`rank_correlations`."""
    records = rank_correlations(table, trained, splits)
    print(f"\n{table.name}: predictor on networks it never saw, mean of {splits} splits")
    print("trained   tau  top fifth    rmse  within 1 sd  2 sd   tau on unused runs (one real training of the network)")
    for record in records:
        print(
            f"{record['trained']:7} {record['kendall_tau']:.3f}      {record['kendall_tau_top']:.3f} "
            f"{record['rmse']:7.3f}         {record['within_one_deviation']:.2f}  {record['within_two_deviations']:.2f}"
            f"   {record['kendall_tau_unused_runs']:.3f} ({record['one_training_tau']:.3f})",
            flush=True,
        )
    return records
