"""The architectures that none beats in both score and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nasvit.tasks.task import Metric


def pareto_front(costs: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.intp]:
    """Return the candidates that none beats: no other costs as little and scores more, or less and as much.

    Args:
        costs: lower is better, shape ``(n,)``.
        scores: higher is better, shape ``(n,)``; NaN is never on the front.

    Returns:
        Their indices, by rising cost.
    """
    order = np.lexsort((-np.nan_to_num(scores, nan=-np.inf), costs))
    front, best = [], -np.inf
    for index in order:
        if scores[index] > best:
            front.append(index)
            best = scores[index]
    return np.array(front, dtype=np.intp)


def write_front(records: Sequence[Mapping[str, Any]], folder: Path, metric: Metric, chosen: Sequence[str] = ()) -> None:
    """Write ``pareto.csv`` and ``pareto.png``: the score against multiply-adds.

    Args:
        records: with ``key``, ``score``, ``macs``, ``params``, ``memory``.
        folder: where the files go.
        metric: what the score is, and its direction.
        chosen: keys that the plot points out.
    """
    table = pd.DataFrame(list(records))[["key", "score", "macs", "params", "memory"]]
    gain = table["score"].to_numpy() * (1 if metric.higher_is_better else -1)
    front = table.iloc[pareto_front(table["macs"].to_numpy(), gain)]
    front.to_csv(folder / "pareto.csv", index=False)
    _plot(table, front, table[table["key"].isin(list(chosen))], folder / "pareto.png", metric.name)


def _plot(table: pd.DataFrame, front: pd.DataFrame, chosen: pd.DataFrame, path: Path, name: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    axes.scatter(table["macs"] / 1e6, table["score"] * 100, s=14, color="0.65", label="measured")
    axes.step(front["macs"] / 1e6, front["score"] * 100, where="post", color="C0", label="Pareto front")
    axes.scatter(front["macs"] / 1e6, front["score"] * 100, s=22, color="C0")
    if len(chosen):
        x, y = chosen["macs"] / 1e6, chosen["score"] * 100
        axes.scatter(x, y, s=90, marker="*", color="C3", label="chosen", zorder=3)
    axes.set(xlabel="multiply-adds (millions)", ylabel=f"validation {name} (%)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
