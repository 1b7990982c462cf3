"""How well the search finds the best of really trained networks, beside other searches at equal evaluations.

    python -m experiments.benchmarks.search_tables TABLE... --budget 25 50 100 200 --seeds 50 --json FILE
    python -m experiments.benchmarks.search_tables TABLE... --methods nasvit coarse random --pool 0.01  # fine or not

An evaluation is one new network: it returns one random run of it. Truth is the mean of all runs. Networks are the
distinct ones (``canonical``), those never trained left out; a cap is a quantile of the table's first cost over the
rows of the file. Several budgets are one search read at several points. With ``--pool``, our search draws so large a
share of the networks in every round, as in a space too large to be listed; ``coarse`` is without its fine stage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.baselines import BASELINES
from experiments.benchmarks.rank_correlation import print_rank_correlations
from experiments.benchmarks.tables import BudgetSpentError, Table, Training, read_table
from nasvit.search.driver import Memory, drive
from nasvit.search.engine import EngineSettings, SearchEngine
from predictors.ensemble import KINDS, make_predictor

METHODS = ("nasvit", "coarse", *BASELINES)


@dataclass(frozen=True)
class Ours:
    """Our search.

    Args:
        predictor: name of the predictor that it asks.
        pool: share of the networks that it draws in every round; None: as many as the search draws by default.
    """

    predictor: str
    pool: float | None = None

    def engine(self, table: Table, seed: int, *, fine: bool) -> SearchEngine:
        """Return the search of a table, with or without its fine stage."""
        settings = EngineSettings(fine=fine)
        if self.pool is not None:
            settings = replace(settings, pool=max(1, round(self.pool * int(table.allowed.sum()))))
        predictor = partial(make_predictor, self.predictor, table.genome, table.proxies)
        return SearchEngine(table.constraint, predictor, seed, settings)


@dataclass(frozen=True)
class Reading:
    """One search read after ``budget`` evaluations.

    Args:
        budget: evaluations.
        regret_best_evaluated: best truth minus the best truth among the evaluated.
        regret_recommended: best truth minus the truth of the recommended network.
        score_on_unused_runs: mean of the recommended network's runs that the search never saw; NaN without any.
        rank: rank of the best evaluated, 1 is best.
        seconds: processor time of the search until then, evaluations included (they are look-ups).
    """

    budget: int
    regret_best_evaluated: float
    regret_recommended: float
    score_on_unused_runs: float
    rank: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and print it."""
    options = _parse(arguments)
    ours = Ours(options.predictor, options.pool)
    records: list[dict[str, Any]] = []
    correlations: list[dict[str, Any]] = []
    for path in options.tables:
        for cap in options.cost_quantile or [None]:
            records += compare(path, cap, options.methods, options.budget, options.seeds, options.jobs, ours)
            if options.json:
                _write(options.json, records)
        if options.splits:
            correlations += print_rank_correlations(read_table(path), options.trained, options.splits)
            if options.predictor_json:
                _write(options.predictor_json, correlations)


def compare(
    path: Path,
    cap: float | None,
    methods: Sequence[str],
    budgets: Sequence[int],
    seeds: int,
    jobs: int,
    ours: Ours,
) -> list[dict[str, Any]]:
    """Run every method ``seeds`` times on one table, print what came out, and return one record per budget."""
    table = read_table(path, cap)
    limit = "no cap" if cap is None else f"cap {table.cap:.6g} (quantile {cap})"
    print(f"\n{table.name}, {limit}: {int(table.allowed.sum())} networks, best {table.best:.4f}", flush=True)
    regrets = f"{'regret best evaluated':32} {'regret recommended':32}"
    print(f"{'method':10} {'n':>4}  {regrets} unused runs  best  0.1%  rank")
    records = []
    for method in methods:
        tasks = [(path, cap, method, tuple(sorted(budgets)), seed, ours) for seed in range(seeds)]
        if jobs == 1:
            runs = [run_seed(*task) for task in tasks]
        else:
            with ProcessPoolExecutor(jobs) as pool:
                runs = list(pool.map(run_seed, *zip(*tasks, strict=True)))
        for readings in zip(*runs, strict=True):
            record = _summarize(table, cap, method, readings)
            records.append(record)
            _print_record(record, readings)
    return records


_TABLES: dict[tuple[Path, float | None], Table] = {}


def run_seed(
    path: Path, cap: float | None, method: str, budgets: tuple[int, ...], seed: int, ours: Ours
) -> list[Reading]:
    """Run one method once and read it at every budget."""
    if (path, cap) not in _TABLES:
        _TABLES.clear()
        _TABLES[path, cap] = read_table(path, cap)
        _ = _TABLES[path, cap].rank
    table = _TABLES[path, cap]
    training = Training(table, min(budgets[-1], int(table.allowed.sum())), np.random.default_rng([seed, 1]))
    if method in ("nasvit", "coarse"):
        return _run_ours(ours.engine(table, seed, fine=method == "nasvit"), table, training, budgets)
    return _run_baseline(table, training, method, budgets, np.random.default_rng([seed, 0]))


def _run_ours(engine: SearchEngine, table: Table, training: Training, budgets: tuple[int, ...]) -> list[Reading]:
    begin = time.process_time()
    trials = Memory(training.train_codes, table.codes[:0], np.zeros(0))
    readings = []
    for budget in budgets:
        drive(trials, [engine], min(budget, training.budget))
        engine.catch_up(trials.codes, trials.scores, trials.codes[:0])
        recommended = int(table.find(engine.recommend(1).codes)[0])
        readings.append(_read(training, budget, recommended, time.process_time() - begin))
    return readings


def _run_baseline(
    table: Table, training: Training, method: str, budgets: tuple[int, ...], rng: np.random.Generator
) -> list[Reading]:
    begin = time.process_time()
    with contextlib.suppress(BudgetSpentError):
        BASELINES[method](table, training, rng)
    seconds = time.process_time() - begin
    readings = []
    for budget in budgets:
        evaluated = training.order[:budget]
        recommended = max(evaluated, key=lambda network: training.seen[network][1])
        readings.append(_read(training, budget, recommended, seconds * len(evaluated) / len(training.order)))
    return readings


def _read(training: Training, budget: int, recommended: int, seconds: float) -> Reading:
    table, evaluated = training.table, training.order[:budget]
    return Reading(
        budget,
        table.best - float(table.truth[evaluated].max()),
        table.best - float(table.truth[recommended]),
        training.unused_score(recommended, budget),
        int(table.rank[evaluated].min()),
        seconds,
    )


def _summarize(table: Table, cap: float | None, method: str, readings: Sequence[Reading]) -> dict[str, Any]:
    ranks = np.array([reading.rank for reading in readings])
    unused = np.array([reading.score_on_unused_runs for reading in readings])
    permille = max(1, round(0.001 * int(table.allowed.sum())))
    return {
        "table": table.name,
        "cap": cap,
        "method": method,
        "budget": readings[0].budget,
        "seeds": len(readings),
        "regret_best_evaluated": _quantiles([reading.regret_best_evaluated for reading in readings]),
        "regret_recommended": _quantiles([reading.regret_recommended for reading in readings]),
        "score_on_unused_runs": float(np.nanmean(unused)) if np.isfinite(unused).any() else None,
        "found_best_share": float((ranks == 1).mean()),
        "found_top_permille_share": float((ranks <= permille).mean()),
        "rank_best_evaluated": _quantiles(ranks.tolist()),
        "seconds": float(np.mean([reading.seconds for reading in readings])),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    found = np.quantile(np.asarray(values, dtype=np.float64), (0.25, 0.5, 0.75, 0.9))
    return {name: float(value) for name, value in zip(("q25", "median", "q75", "q90"), found, strict=True)}


def _print_record(record: dict[str, Any], readings: Sequence[Reading]) -> None:
    def text(name: str) -> str:
        part = record[name]
        return f"{part['median']:.3f} [{part['q25']:.3f}, {part['q75']:.3f}] {part['q90']:.3f}"

    unused = record["score_on_unused_runs"]
    print(
        f"{record['method']:10} {record['budget']:4}  {text('regret_best_evaluated'):32} "
        f"{text('regret_recommended'):32} {'-' if unused is None else format(unused, '.3f'):>11} "
        f"{record['found_best_share']:5.0%} {record['found_top_permille_share']:5.0%} "
        f"{record['rank_best_evaluated']['median']:5.0f}  {record['seconds']:.2f} s",
        flush=True,
    )


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path, metavar="TABLE", help="table files (.npz)")
    parser.add_argument("--budget", nargs="+", type=int, default=[25, 50, 100, 200], help="evaluations, one or several")
    parser.add_argument("--seeds", type=int, default=50, help="searches of each method")
    parser.add_argument("--cost-quantile", nargs="+", type=float, help="caps on the first cost; without it, no cap")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["nasvit", *BASELINES])
    parser.add_argument("--predictor", choices=("ensemble", *KINDS), default="gaussian_process", help="of our search")
    parser.add_argument("--pool", type=float, help="share of the networks that our search draws in every round")
    parser.add_argument("--json", type=Path, help="write the records of the searches here")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--splits", type=int, default=5, help="splits for the predictor's rank correlation; 0 skips it")
    parser.add_argument("--trained", nargs="+", type=int, default=[25, 50, 100, 200, 400], help="trained networks")
    parser.add_argument("--predictor-json", type=Path, help="write the records of the predictor here")
    options = parser.parse_args(arguments)
    if options.pool is not None and not 0 < options.pool <= 1:
        parser.error("--pool is a share of the networks, above 0 and at most 1")
    if min(options.budget) < 1 or options.seeds < 1 or options.jobs < 1:
        parser.error("--budget, --seeds and --jobs must be at least 1")
    return options


if __name__ == "__main__":
    main()
