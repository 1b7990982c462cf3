"""Tables of really trained networks: reading them, and training by looking up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes, Floats, Mask, Proxies
from predictors.pool import Constraint, row_hashes
from search_spaces.genome import Gene, Genome

COSTS = ("macs", "params", "latency")
FREE = ("macs", "params")
"""Costs known without training or measuring, which a predictor may read."""


class BudgetSpentError(Exception):
    """Every evaluation of the budget has been used."""


@dataclass(frozen=True)
class Table:
    """The distinct networks of a table that were trained at least once.

    Args:
        name: file name without its ending.
        genome: the decisions.
        codes: ``(n, d)``, one row per distinct network.
        every_code: ``(m, d)``, m >= n: all rows of the file.
        stands_for: ``(m,)`` index into ``codes`` of the network each row of the file is; -1 where never trained.
        runs: ``(n, r)`` scores, higher is better; NaN where a run is missing.
        costs: name -> ``(n,)``.
        cap: largest first cost allowed; ``inf`` allows all.
    """

    name: str
    genome: Genome
    codes: Codes
    every_code: Codes
    stands_for: NDArray[np.int64]
    runs: NDArray[np.float64]
    costs: dict[str, NDArray[np.float64]]
    cap: float = np.inf

    @cached_property
    def truth(self) -> NDArray[np.float64]:
        """Mean score of every network over its runs, ``(n,)``."""
        return np.asarray(np.nanmean(self.runs, axis=1))

    @cached_property
    def allowed(self) -> Mask:
        """Networks under the cap, ``(n,)``."""
        if not np.isfinite(self.cap):
            return np.ones(len(self.codes), dtype=bool)
        return np.asarray(next(iter(self.costs.values())) <= self.cap)

    @cached_property
    def best(self) -> float:
        """Highest truth under the cap."""
        return float(self.truth[self.allowed].max())

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """Rank of every network among those under the cap, 1 is best, ties share the best rank, ``(n,)``."""
        ordered = np.sort(self.truth[self.allowed])
        return len(ordered) - np.searchsorted(ordered, self.truth, side="right") + 1

    @cached_property
    def _sorted_hashes(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        hashes = row_hashes(self.every_code)
        order = np.argsort(hashes)
        return hashes[order], order

    def find(self, codes: Codes) -> NDArray[np.int64]:
        """Return the network each row is, ``(k,)``; -1 where the table has none."""
        hashes, order = self._sorted_hashes
        wanted = row_hashes(codes)
        place = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
        return np.where(hashes[place] == wanted, self.stands_for[order[place]], -1)

    def feasible(self, codes: Codes) -> Mask:
        """Return which rows are networks of the table under the cap."""
        found = self.find(codes)
        return (found >= 0) & self.allowed[found]

    def canonical(self, codes: Codes) -> Codes:
        """Return the row that stands for the same network; rows the table does not have stay as they are."""
        found = self.find(codes)
        return np.where((found >= 0)[:, None], self.codes[found], codes)

    @property
    def constraint(self) -> Constraint:
        """The table as a search space."""
        return Constraint(self.genome, self.feasible, canonical=self.canonical, members=self.codes[self.allowed])

    @property
    def proxies(self) -> Proxies | None:
        """Logarithms of the costs that are free to know; None if the table has none."""
        free = [np.log(np.maximum(self.costs[name], 1e-12)) for name in FREE if name in self.costs]
        if not free:
            return None
        values = np.stack(free, axis=1)

        def look_up(codes: Codes) -> Floats:
            found = self.find(codes)
            return np.where((found >= 0)[:, None], values[found], np.nan)

        return look_up


def read_table(path: Path, cap_quantile: float | None = None) -> Table:
    """Read a table file.

    Args:
        path: an ``.npz`` in the documented format.
        cap_quantile: cap on the table's first cost, as a quantile over the rows of the file; None for no cap.

    Raises:
        ValueError: if an array is missing, or a cap is asked of a table without costs.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    missing = [name for name in ("codes", "cards", "names", "ordinal", "recipe", "score") if name not in arrays]
    if missing:
        raise ValueError(f"{path}: not a table of trained networks, no array {', '.join(missing)}")
    costs = {name: arrays[name].astype(np.float64) for name in COSTS if name in arrays}
    cap = np.inf
    if cap_quantile is not None:
        if not costs:
            raise ValueError(f"{path}: a cap needs one of the costs {', '.join(COSTS)}, and the table has none")
        cap = float(np.nanquantile(next(iter(costs.values())), cap_quantile))
    scores = arrays["score"].astype(np.float64).reshape(len(arrays["codes"]), -1)
    own = np.arange(len(scores))
    rows = np.unique(arrays.get("canonical", own))
    rows = rows[np.isfinite(scores[rows]).any(axis=1)]
    place = np.full(len(scores), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    return Table(
        path.stem,
        _genome(arrays),
        arrays["codes"][rows].astype(np.uint8),
        arrays["codes"].astype(np.uint8),
        place[arrays.get("canonical", own)],
        scores[rows],
        {name: values[rows] for name, values in costs.items()},
        cap,
    )


def _genome(arrays: dict[str, NDArray[np.generic]]) -> Genome:
    columns = zip(arrays["names"], arrays["cards"], arrays["ordinal"], arrays["recipe"], strict=True)
    return Genome(
        tuple(Gene(str(name), tuple(range(int(card))), bool(order), bool(use)) for name, card, order, use in columns)
    )


class Training:
    """Trains networks of a table within a budget; a network trained before costs nothing again.

    Args:
        table: the truth.
        budget: distinct networks that may be trained.
        rng: draws which of a network's runs is seen.
    """

    def __init__(self, table: Table, budget: int, rng: np.random.Generator) -> None:
        self.table = table
        self.budget = budget
        self.rng = rng
        self.order: list[int] = []
        self.seen: dict[int, tuple[int, float]] = {}
        """Network -> the run that was seen and its score."""

    def train(self, network: int) -> float:
        """Return the score of one random run of a network.

        Raises:
            BudgetSpentError: if the network is new and the budget is used up.
        """
        if network not in self.seen:
            if len(self.order) >= self.budget:
                raise BudgetSpentError
            runs = np.flatnonzero(np.isfinite(self.table.runs[network]))
            run = int(self.rng.choice(runs))
            self.seen[network] = (run, float(self.table.runs[network, run]))
            self.order.append(network)
        return self.seen[network][1]

    def train_codes(self, codes: Codes) -> Floats:
        """Train the networks of several rows."""
        return np.array([self.train(int(network)) for network in self.table.find(codes)])

    def unused_score(self, network: int, budget: int) -> float:
        """Return the mean of a network's runs that the first ``budget`` evaluations did not see; NaN without any."""
        runs = self.table.runs[network].copy()
        if network in self.order[:budget]:
            runs[self.seen[network][0]] = np.nan
        return float(np.nanmean(runs)) if np.isfinite(runs).any() else float("nan")
