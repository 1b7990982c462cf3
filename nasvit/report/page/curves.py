"""Loss and score of every training, drawn from the logs that the trainings write."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasvit.experiment.stages.jobs import KINDS
from nasvit.report.page.holding import LOG, Entry, Holding
from nasvit.report.page.plotting import Figure, color, plot
from nasvit.report.page.reading import Reader, number_of
from nasvit.tasks.task import title_of

MOST_POINTS = 80
"""Points of a line: the losses of more steps are averaged."""

_LEARNED = "training images"
_WORDS = {"random_0": "a random subnet", "random_1": "another random subnet"}
Line = tuple[list[float], list[float]]
"""Places along both axes."""


@dataclass(frozen=True)
class Group:
    """The curves of trainings that belong together.

    Args:
        title: whose trainings.
        figures: the plots.
        is_chosen: whether they are of the supernet, or of a network that is no comparison.
        notes: what happened in them.
    """

    title: str
    figures: tuple[Figure, ...]
    is_chosen: bool = True
    notes: tuple[str, ...] = ()


def curves(holding: Holding) -> list[Group]:
    """Return the curves of the supernet, and of every network."""
    reader, groups = holding.reader, list[Group]()
    if (holding.folder / "train" / LOG).is_file():
        groups.append(_supernet(reader, holding.metric))
    chosen = holding.chosen
    found = [
        _network(reader, f"network-{number}", entry, holding.metric, chosen=entry in chosen)
        for number, entry in enumerate(holding.entries)
    ]
    return [group for group in [*groups, *found] if group.figures]


def _supernet(reader: Reader, metric: str) -> Group:
    log = _Log(reader, Path("train"))
    scores = {_WORDS.get(name, name): line for name, line in log.scores(metric).items()}
    figures = [
        _lines("supernet-loss", "supernet: loss", "loss", {"largest subnet": log.loss}),
        _lines("supernet-score", f"supernet: {title_of(metric)} on held-out images", f"{title_of(metric)} (%)", scores),
    ]
    return Group("Supernet", tuple(each for each in figures if each is not None), notes=log.events)


def _network(reader: Reader, name: str, entry: Entry, metric: str, *, chosen: bool) -> Group:
    logs = {
        KINDS.get(how, how): _Log(reader, folder.relative_to(reader.folder)) for how, folder in entry.trainings.items()
    }
    scores = {
        f"{how}, {part}" if part else how: line
        for how, log in logs.items()
        for part, line in log.scores(metric).items()
    }
    title = entry.title
    figures = [
        _lines(f"{name}-loss", f"{title}: loss", "loss", {how: log.loss for how, log in logs.items()}),
        _lines(f"{name}-score", f"{title}: {title_of(metric)} on {_seen(scores)}", f"{title_of(metric)} (%)", scores),
    ]
    told = [f"{how}: {event}" for how, log in logs.items() for event in log.events]
    return Group(title, tuple(each for each in figures if each is not None), chosen, tuple(told))


def _seen(scores: Mapping[str, Line]) -> str:
    """Return which images scores are of."""
    return f"held-out and {_LEARNED}" if any(_LEARNED in name for name in scores) else "held-out images"


class _Log:
    """The log of one training."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self._records = reader.lines(folder / LOG)

    @property
    def loss(self) -> Line:
        """The loss by steps, several of them averaged to one point."""
        steps = [each for each in self._records if "loss" in each and "epoch" not in each]
        places, losses = (np.array([number_of(each.get(name)) for each in steps]) for name in ("step", "loss"))
        parts = np.array_split(np.arange(len(steps)), min(len(steps), MOST_POINTS)) if steps else []
        means = [(float(places[part].mean()), _mean(losses[part])) for part in parts]
        return _without_ways_back([x for x, _ in means], [y for _, y in means])

    def scores(self, metric: str) -> dict[str, Line]:
        """Return percentages by steps: of the network, under an empty name, or of several subnets by their names.

        What a network scores on images that it was trained on has a name of its own.
        """
        evaluations = [each for each in self._records if "epoch" in each]
        pattern = re.compile(rf"{re.escape(metric)}_(.+)")
        found: dict[str, Line] = {}
        for each in evaluations:
            named = {match[1]: each[name] for name in each if (match := pattern.fullmatch(name))}
            if "training_score" in each:
                named |= {"": each.get("score"), _LEARNED: each["training_score"]}
            for name, value in (named or {"": each.get("score")}).items():
                line = found.setdefault(name, ([], []))
                line[0].append(number_of(each.get("step")))
                line[1].append(100 * number_of(value))
        return {name: _without_ways_back(*line) for name, line in found.items()}

    @property
    def events(self) -> tuple[str, ...]:
        """What happened, in words."""
        back = [each for each in self._records if each.get("event") == "rollback"]
        return tuple(
            f"collapsed at step {each.get('collapsed_at')} ({each.get('reason')}), and went on from step "
            f"{each.get('step')} at half the learning rate"
            for each in back
        )


def _mean(values: Any) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _without_ways_back(steps: Sequence[float], values: Sequence[float]) -> Line:
    """Return a line that is interrupted where a training went back to an earlier step."""
    x, y = list[float](), list[float]()
    for step, value in zip(steps, values):
        if x and step < x[-1]:
            x.append(math.nan)
            y.append(math.nan)
        x.append(step)
        y.append(value)
    return x, y


def _lines(name: str, title: str, label: str, lines: Mapping[str, Line]) -> Figure | None:
    """Return a plot of lines by their names; None if there is nothing to see."""
    drawn = {key: line for key, line in lines.items() if np.isfinite(line[1]).any()}
    if not drawn:
        return None

    def paint(axes: Any) -> None:
        for number, (key, (x, y)) in enumerate(drawn.items()):
            marker = "o" if len(x) <= 30 else None
            style = "-" if number < 8 else "--"
            axes.plot(x, y, style, color=color(number), label=key, marker=marker, markersize=3)
        axes.set(xlabel="training step", ylabel=label)

    return plot(name, title, paint, caption=title.rpartition(": ")[2].capitalize())
