"""How well what was measured on some data sets carries over to another one.

    python -m experiments.benchmarks.prior --json experiments/results/prior.json

For every space and every data set that was measured: a prior is made of all other data sets, and asked about this one.
Reported is the rank correlation of what it expects with what was measured, beside that of multiply-adds and of
parameters; and, for several limits of multiply-adds, how many points of accuracy the measured subnet that it would
choose is below the best measured one within the limit (its regret), beside a random one and the costliest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.files.records import versions, write_json
from nasvit.search.candidates import Candidates
from predictors.metrics import spearman
from predictors.prior import Measurement, Prior, has_prior, read_measurements

SHARES = (0.4, 0.6, 0.8, 1.0)
"""Limits: the multiply-adds of the subnet below which this share of the measured ones lies."""

FEWEST = 4  # subnets within a limit among which there is something to choose


@dataclass(frozen=True)
class Settings:
    """What is reported.

    Args:
        json: file for the result; none if left out.
    """

    json: Path | None = None


def report(name: str) -> dict[str, Any]:
    """Return the numbers of one space by the data set that was left out."""
    space = search_spaces.load(name)
    candidates = Candidates(space, cost_table(space, 10).costs)
    measured = read_measurements(space, name)
    found = {}
    for data in dict.fromkeys(each.data for each in measured):
        prior = Prior(space, [each for each in measured if each.data != data], candidates.proxies)
        found[data] = _left_out(prior, candidates, [each for each in measured if each.data == data])
    return found


def _left_out(prior: Prior, candidates: Candidates, held_out: list[Measurement]) -> dict[str, Any]:
    codes = candidates.space.encode([each.architecture for each in held_out])
    scores, expected = np.array([each.score for each in held_out]), prior.predict(codes)[0]
    costs = candidates.costs(codes)
    ranks = {"prior": expected, "macs": costs["macs"], "params": costs["params"]}
    regrets = [
        _regrets(scores[within], expected[within], costs["macs"][within])
        for limit in np.quantile(costs["macs"], SHARES)
        if (within := costs["macs"] <= limit).sum() >= FEWEST
    ]
    return {
        "measured": len(held_out),
        "accuracy": [round(float(end), 4) for end in (scores.min(), scores.max())],
        "spearman": {name: round(spearman(rank, scores), 3) for name, rank in ranks.items()},
        "regret": {way: round(float(np.mean([each[way] for each in regrets])), 2) for way in regrets[0]},
    }


def _regrets(scores: NDArray[Any], expected: NDArray[Any], macs: NDArray[Any]) -> dict[str, float]:
    """Return points of accuracy below the best, of the choice of each way."""
    best = scores.max()
    chosen = {"prior": scores[expected.argmax()], "random": scores.mean(), "costliest": scores[macs.argmax()]}
    return {way: 100 * float(best - score) for way, score in chosen.items()}


def main(settings: Settings) -> None:
    """Report how well priors carry over to a data set that was left out."""
    found = {name: report(name) for name in search_spaces.names() if has_prior(name)}
    for name, sets in found.items():
        for data, numbers in sets.items():
            print(f"{name}, {data} left out: {numbers}")
    if settings.json is not None:
        command = "python -m experiments.benchmarks.prior"
        write_json(settings.json, {"command": command, "versions": versions(), "spaces": found})


if __name__ == "__main__":
    main(tyro.cli(Settings))
