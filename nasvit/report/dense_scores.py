"""``nasvit evaluate`` of detectors and segmenters: their score on images, class by class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from nasvit.compute import ALONE
from nasvit.data.pictures import Pictures
from nasvit.export.card import Card
from nasvit.export.dense_parity import one_by_one, task_of_network
from nasvit.files.records import write_json
from nasvit.report.console import open_console
from nasvit.report.loaded import Loaded
from nasvit.tasks.task import title_of

_OF_CLASS = {"detection": "average precision", "segmentation": "intersection over union"}


def evaluate_dense(loaded: Loaded, path: Path, source: str, pictures: Pictures, *, out: Path | None) -> None:
    """Print the score of a detector or segmenter on test images, class by class.

    Args:
        loaded: the network.
        path: where it lies.
        source: name of the images.
        pictures: the images, with boxes or masks.
        out: JSON file that gets the numbers, too.
    """
    card, task = loaded.card, task_of_network(loaded.card)
    meter = task.meter()
    batches = pictures.test().evaluation_batches()
    for pixels, targets in one_by_one(batches) if loaded.one_at_a_time else batches:
        meter.update(loaded.said(pixels), targets)
    score: Any = meter.score(ALONE)
    inside = loaded.decoder == "inside"
    numbers = {name: value for name, value in score.numbers().items() if name != "loss" or not inside}
    open_console().print(_table(card, score.of_classes))
    words = [f"{title_of(name)} {value:.2%}" for name, value in numbers.items() if name != "loss"]
    words += [f"loss {numbers['loss']:.4f}"] if "loss" in numbers else []
    print(f"{path}: {', '.join(words)} on {score.images} test images of {source}")
    if loaded.one_at_a_time:
        least = loaded.threshold(None)
        print(f"of the objects with scores above {least:g} that its decoder chooses; elsewhere precision looks at all")
    if out is not None:
        of_classes = {name: score.of_classes.get(number) for number, name in enumerate(card.classes)}
        content = {"network": str(path), "images": score.images, "source": source, **numbers, "per_class": of_classes}
        content |= {"decoder": loaded.decoder}
        write_json(out, content)


def _table(card: Card, of_classes: Mapping[int, float]) -> Table:
    """Return a row for every class, the worst ones first."""
    table = Table()
    table.add_column("class")
    table.add_column(_OF_CLASS[card.spec.task], justify="right")
    for number in sorted(range(len(card.classes)), key=lambda each: of_classes.get(each, math.inf)):
        value = of_classes.get(number)
        table.add_row(card.classes[number], "not in these images" if value is None else f"{value:.1%}")
    return table
