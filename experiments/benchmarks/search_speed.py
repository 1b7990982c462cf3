"""Candidates a second, on one thread: sampling, exact cost, predictor, and the whole loop of a search over them.

    python -m experiments.benchmarks.search_speed --json experiments/results/search_speed.json

The loop samples, counts MACs, drops what exceeds a cap that 5 % of random candidates meet, scores the rest with a
predictor of two hidden layers of 128 (and a head of 16), and keeps the best 100. Beside it the same is done the
straightforward way: one candidate at a time, as a network of module objects whose layers are counted. Both are timed
in turns, in processor seconds; a number is the median.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import search_spaces
from nasvit.costs.counting import count_on_meta
from nasvit.costs.tables import cost_table
from nasvit.files.records import versions
from nasvit.layers.calibration import track_statistics
from nasvit.supernets.supernet import Supernet
from predictors.arrays import Codes, Floats
from predictors.mlp import MLP
from search_spaces import Architecture


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        spaces: search spaces.
        candidates: candidates in one timed turn.
        single: candidates in one timed turn of the straightforward way.
        turns: timed turns of everything.
        share: share of random candidates under the cap.
        keep: candidates kept.
        json: file for the result; none if left out.
    """

    spaces: tuple[str, ...] = ("nasvit", "alphanet")
    candidates: int = 1_048_576
    single: int = 2
    turns: int = 7
    share: float = 0.05
    keep: int = 100
    json: Path | None = None


class Bench:
    """One space with its cost table, a fitted predictor, a cap, and a supernet without memory."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.settings = settings
        self.space = search_spaces.load(name)
        self.genome, self.table = self.space.genome, cost_table(self.space, 1000)
        self.rng = np.random.default_rng(0)
        self.population = self.genome.sample(settings.candidates, self.rng)
        macs = self.table.macs(self.population)
        self.cap = float(np.quantile(macs, settings.share))
        self.feasible = self._under_cap(self.population, macs)
        # What it learned does not matter here, only what it costs to ask.
        self.predictor = MLP(self.genome, members=1, width=128, head_width=16, steps=20)
        self.predictor.fit(self.population[:256], -np.log(macs[:256]))
        with torch.device("meta"):
            self.supernet = Supernet(self.space, 1000)

    def seconds(self) -> dict[str, float]:
        """Return the median processor seconds that one candidate takes in every part."""
        turns: dict[str, tuple[Callable[[], object], int]] = {
            "sampling": (lambda: self.genome.sample(self.settings.candidates, self.rng), self.settings.candidates),
            "exact cost": (lambda: self.table.macs(self.population), self.settings.candidates),
            "predictor": (lambda: self.predictor.predict(self.feasible), len(self.feasible)),
            "whole loop": (self.whole_loop, self.settings.candidates),
            "one at a time": (self.one_at_a_time, self.settings.single),
        }
        for run, _ in turns.values():
            run()
        taken: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(self.settings.turns):
            for name, (run, candidates) in turns.items():
                begin = time.thread_time()
                run()
                taken[name].append((time.thread_time() - begin) / candidates)
        return {name: statistics.median(values) for name, values in taken.items()}

    def whole_loop(self, batch: int = 131_072) -> Codes:
        """Sample, count, filter, score, and return the best ``(keep, genes)``."""
        best, scores = self._nothing()
        for start in range(0, self.settings.candidates, batch):
            codes = self.genome.sample(min(batch, self.settings.candidates - start), self.rng)
            codes = self._under_cap(codes, self.table.macs(codes))
            best, scores = self._keep(
                np.concatenate([best, codes]), np.concatenate([scores, self.predictor.predict(codes)[0]])
            )
        return best

    def one_at_a_time(self) -> Codes:
        """Do the same with one network of module objects for each candidate."""
        best, scores = self._nothing()
        for _ in range(self.settings.single):
            codes = self.genome.sample(1, self.rng)
            if self.count(self.space.decode(codes)[0]) <= self.cap:
                score = self.predictor.predict(codes)[0]
                best, scores = self._keep(np.concatenate([best, codes]), np.concatenate([scores, score]))
        return best

    def count(self, architecture: Architecture) -> int:
        """Return the MACs of one subnet, counted on its layers."""
        side = architecture.resolution
        image = torch.empty(1, self.space.image_channels, side, side, device="meta")
        network = self.supernet.at(architecture)
        track_statistics(network)
        return count_on_meta(network.eval(), image).macs

    def _nothing(self) -> tuple[Codes, Floats]:
        return self.population[:0], np.zeros(0)

    def _under_cap(self, codes: Codes, macs: np.ndarray[Any, np.dtype[np.int64]]) -> Codes:
        return codes.T.take(np.flatnonzero(macs <= self.cap), axis=1).T

    def _keep(self, codes: Codes, scores: Floats) -> tuple[Codes, Floats]:
        if len(codes) <= self.settings.keep:
            return codes, scores
        kept = np.argpartition(-scores, self.settings.keep)[: self.settings.keep]
        return codes[kept], scores[kept]


def measure(settings: Settings) -> dict[str, Any]:
    """Return candidates a second in every part, and how many times as fast the loop is as one at a time."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in settings.spaces:
        seconds = Bench(name, settings).seconds()
        found[name] = {part.replace(" ", "_"): round(1.0 / value, 1) for part, value in seconds.items()}
        found[name]["loop_over_one_at_a_time"] = round(seconds["one at a time"] / seconds["whole loop"])
    return found


def main() -> None:
    """Measure, print and write."""
    settings = tyro.cli(Settings, description=__doc__)
    found = measure(settings)
    for name, speed in found.items():
        for part, value in speed.items():
            print(f"{name:10} {part:24} {value:>14,.0f}{'' if 'over' in part else ' candidates/s'}", flush=True)
    if settings.json:
        config = {name: value for name, value in asdict(settings).items() if name != "json"}
        # On a busy machine processor seconds are not enough: others take the caches and the core's other half.
        result = {
            "candidates_per_second": found,
            "load_average": os.getloadavg()[0],
            "processors": os.cpu_count(),
            "settings": config,
            "versions": versions(),
        }
        settings.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
