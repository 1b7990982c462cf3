"""The candidates that none beats in both what they measured and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasvit.search.judge import Judge

Records = Sequence[Mapping[str, Any]]
"""With ``key``, ``score``, the task's other numbers, ``macs``, ``params``, ``memory``."""


def pareto_front(records: Records, judge: Judge) -> list[Mapping[str, Any]]:
    """Return the records that none beats, by rising multiply-adds: no other takes as few and measured better.

    Of records that measured the same, the one of fewest multiply-adds is on the front.
    """
    front: list[Mapping[str, Any]] = []
    for record in sorted(records, key=lambda each: (each["macs"], judge.rank(each, ()))):
        if not front or judge.better(record, front[-1]):
            front.append(record)
    return front


def write_front(finalists: Records, others: Records, folder: Path, judge: Judge, chosen: Sequence[str] = ()) -> None:
    """Write ``pareto.csv``, the front of what was measured thoroughly, and ``pareto.png``, against multiply-adds.

    Args:
        finalists: measured thoroughly.
        others: what the search learned from, which is drawn too.
        folder: where the files go.
        judge: decides which is better, and by which number.
        chosen: keys that the plot points out.
    """
    import pandas as pd  # which takes half a second

    front = pareto_front(finalists, judge)
    numbers = [*dict.fromkeys([judge.name, "score", *([] if judge.loss is None else [judge.loss.name])])]
    columns = ["key", *numbers, "macs", "params", "memory"]
    pd.DataFrame(front, columns=columns).assign(judged_by=judge.name).to_csv(folder / "pareto.csv", index=False)
    stars = [record for record in finalists if record["key"] in set(chosen)]
    _plot({"other": others, "finalist": finalists, "front": front, "chosen": stars}, folder / "pareto.png", judge)


def _plot(records: Mapping[str, Records], path: Path, judge: Judge) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    percent = judge.decisive == judge.metric
    (x, y), (front_x, front_y), (finalist_x, finalist_y), (star_x, star_y) = (
        _points(records[kind], judge, 100 if percent else 1) for kind in ("other", "front", "finalist", "chosen")
    )
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    axes.scatter(x, y, s=10, color="0.8", label="learned from")
    axes.scatter(finalist_x, finalist_y, s=18, color="C0", alpha=0.5, label="measured thoroughly")
    axes.step(front_x, front_y, where="post", color="C0", label="Pareto front of these")
    axes.scatter(star_x, star_y, s=90, marker="*", color="C3", label="chosen", zorder=3)
    unit = "(%)" if percent else "(lower is better)"
    axes.set(xlabel="multiply-adds (millions)", ylabel=f"validation {judge.decisive.name} {unit}")
    if not judge.decisive.higher_is_better:
        axes.invert_yaxis()  # better is up, whatever is drawn
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _points(records: Records, judge: Judge, scale: float) -> tuple[list[float], list[float]]:
    return [record["macs"] / 1e6 for record in records], [scale * judge.value(record) for record in records]
