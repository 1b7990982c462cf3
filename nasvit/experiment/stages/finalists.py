"""The finalists of a search: which candidates are measured thoroughly, and their measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasvit.compute import Compute
from nasvit.experiment.stages.choice import Records, finalists_of
from nasvit.experiment.stages.trials import Trials
from nasvit.experiment.workbench import Workbench
from nasvit.search.candidates import Candidate
from nasvit.search.evaluate import Journal
from nasvit.search.finalists import best_under
from nasvit.search.pareto import pareto_front
from nasvit.search.run import imagine
from nasvit.search.study import Study
from predictors.accuracy import Predictor
from predictors.arrays import Codes
from predictors.pool import Constraint, distinct


def find_finalists(bench: Workbench, study: Study, seed: int) -> list[Candidate]:
    """Return what is worth measuring thoroughly: what promises most, and the evaluated candidates that none beats.

    Args:
        bench: the experiment.
        study: the evaluations, on which a predictor is fitted.
        seed: of the search for what it predicts best.
    """
    codes, scores = study.told()
    predictor = study.plan.make_predictor().fit(codes, scores)
    finalists: list[Candidate] = []
    for number, constraint in enumerate(study.constraints):
        rng = np.random.default_rng([seed, number])
        rows = _promising(predictor, constraint, codes, bench.experiment.search.finalists, rng)
        finalists += study.plan.candidates.decode(rows)
    return finalists + _unbeaten(bench, study)


def _unbeaten(bench: Workbench, study: Study) -> list[Candidate]:
    """Return the evaluated candidates that none beats, if measuring them again costs no training.

    Where evaluations look at all held-out images, no candidate that was seen then beats a chosen one.
    """
    if bench.experiment.search.evaluate != "inherited":
        return []
    judge, evaluated = study.plan.judge, finalists_of(bench, study.records)
    front = {record["key"] for record in pareto_front(study.records, judge)}
    front |= {
        best_under(budget, evaluated, judge).record["key"]
        for budget in bench.budgets
        if any(each.meets(budget) for each in evaluated)
    }
    return [each.candidate for each in evaluated if each.record["key"] in front]


def _promising(
    predictor: Predictor, constraint: Constraint, evaluated: Codes, count: int, rng: np.random.Generator
) -> Codes:
    """Return the candidates of highest predicted mean, evaluated or not."""
    imagined = imagine(predictor, constraint, evaluated, count, rng).codes
    rows = distinct(np.concatenate([constraint.clean(evaluated), imagined]))
    return rows[np.argsort(-predictor.predict(rows)[0], kind="stable")[:count]]


def measure(trials: Trials, candidates: Sequence[Candidate], path: Path, compute: Compute) -> Records:
    """Return the thorough records of finalists, and those of earlier searches whose scores mean the same.

    Args:
        trials: measures them; each process its share.
        candidates: the finalists.
        path: file that keeps every record at once.
        compute: the processes.
    """
    known = compute.from_first(lambda: _known(path))
    own = Journal(path.with_suffix(f".{compute.rank}.jsonl") if compute.rank else path, trials.thorough)
    wanted = {candidate.key: candidate for candidate in candidates}
    left = [candidate for key, candidate in wanted.items() if key not in known]
    for candidate in left[compute.rank :: compute.count]:
        own.record(candidate)
    return known | {key: record for records in compute.gather(own.records) for key, record in records.items()}


def _known(path: Path) -> Records:
    """Return what any number of processes measured of finalists before."""
    journals = [Journal(each, _nothing) for each in sorted(path.parent.glob(f"{path.stem}*.jsonl"))]
    return {key: record for journal in journals for key, record in journal.records.items()}


def _nothing(candidate: Candidate) -> dict[str, Any]:
    raise AssertionError(f"{candidate} is only looked up here")
