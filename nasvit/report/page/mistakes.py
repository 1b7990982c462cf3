"""What a network gets wrong: which classes it mistakes for which, and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasvit.export.card import Card
from nasvit.export.saved import load_saved
from nasvit.export.switchable import SwitchableModel
from nasvit.report.page.holding import Entry, Holding
from nasvit.report.page.reading import number_of
from nasvit.report.page.wrong import Surest, Wrong
from nasvit.report.shipping import Classifier, pictures_of
from nasvit.specs import WidthsSpec
from nasvit.tasks.confusion import Confusion

MOST_NAMED = 40
"""Classes up to which the confusion matrix has their names beside it."""

_CELL, _MOST_LETTERS = 24, 15


@dataclass(frozen=True)
class Cell:
    """How many pictures of one class are taken for one class.

    Args:
        row: the true class.
        column: the class that they are taken for.
        count: pictures.
        share: of all of the true class, from 0 to 1.
        says: that in words.
    """

    row: int
    column: int
    count: int
    share: float
    says: str


@dataclass(frozen=True)
class OfClass:
    """How one class does.

    Args:
        name: its name.
        images: pictures of it.
        right: share of them that is found, from 0 to 1; None without pictures.
        mistaken: what it is mistaken for most, and how often; nothing if it never is.
    """

    name: str
    images: int
    right: float | None
    mistaken: str


@dataclass(frozen=True)
class Mistakes:
    """What a network gets wrong.

    Args:
        network: which network.
        images: test images that it was tried on.
        source: where they are from.
        accuracy: share that is right, from 0 to 1.
        cells: the confusion matrix where it is not zero.
        classes: how every class does, the worst first.
        names: names of the classes.
        wrong: pictures, those first that the network is surest of.
        wrong_in_all: how many are wrong.
    """

    network: str
    images: int
    source: str
    accuracy: float
    cells: tuple[Cell, ...]
    classes: tuple[OfClass, ...]
    names: tuple[str, ...]
    wrong: tuple[Wrong, ...]
    wrong_in_all: int

    @property
    def labeled(self) -> bool:
        """Whether the matrix has names beside it."""
        return len(self.names) <= MOST_NAMED

    @property
    def margin(self) -> int:
        """Room for names beside the matrix."""
        return 14 + 7 * min(_MOST_LETTERS, max(map(len, self.names))) if self.labeled else 4

    @property
    def cell(self) -> float:
        """Side of a cell."""
        return _CELL if self.labeled else 440 / len(self.names)

    @property
    def side(self) -> float:
        """Side of the picture of the matrix."""
        return self.margin + self.cell * len(self.names) + 4


def shown_network(holding: Holding) -> Entry | None:
    """Return the network whose mistakes are shown: of those that were chosen, the one of the highest test score."""
    saved = [entry for entry in holding.entries if entry.deployed is not None]
    chosen = [entry for entry in holding.chosen if entry in saved] or saved

    def score(entry: Entry) -> float:
        assert entry.deployed is not None
        value = number_of(dict(entry.row.get("scores", {})).get(entry.deployed.name))
        return -math.inf if math.isnan(value) else value

    return max(chosen, key=score, default=None)


def mistakes(entry: Entry, most: int) -> Mistakes:
    """Return what a network gets wrong of the test images that belong to its training.

    Args:
        entry: a network that is saved.
        most: test images that are looked at, at most.

    Raises:
        ValueError: if the images are not there, or the network cannot be loaded.
    """
    folder = entry.deployed
    assert folder is not None
    card = Card.read(folder)
    if card.spec.task != "classification":
        told = "nasvit evaluate scores it class by class, nasvit predict draws what it finds"
        raise ValueError(f"the network is for {card.spec.task}; {told}")
    pictures, why = pictures_of(None, card, download=False)
    if pictures is None:
        raise ValueError(f"the test images are not there: {why}")
    classifier = Classifier(folder, width=_widest(folder, card))
    confusion, wrong = Confusion(len(card.classes)), Surest(card.classes)
    for pixels, targets in pictures.test(most).evaluation_batches():
        probabilities = classifier(pixels)
        confusion.update(probabilities, targets)
        wrong.update(pixels, probabilities, targets)
    return Mistakes(
        entry.described,
        confusion.images,
        pictures.source,
        confusion.accuracy,
        tuple(_cells(confusion, card.classes)),
        tuple(_classes(confusion, card.classes)),
        card.classes,
        wrong.pictures,
        confusion.images - int(confusion.counts.trace()),
    )


def _widest(folder: Path, card: Card) -> Any:
    """Return the largest width of a network that runs at several; None of others."""
    if not isinstance(card.spec, WidthsSpec):
        return None
    network = load_saved(folder).network
    assert isinstance(network, SwitchableModel)
    return network.largest


def _cells(confusion: Confusion, names: Sequence[str]) -> list[Cell]:
    seen, found = confusion.seen, list[Cell]()
    for row, column in zip(*confusion.counts.nonzero()):
        count = int(confusion.counts[row, column])
        says = f"{count} of {seen[row]} pictures of {names[row]} are taken for {names[column]}"
        found.append(Cell(int(row), int(column), count, count / int(seen[row]), says))
    return found


def _classes(confusion: Confusion, names: Sequence[str]) -> list[OfClass]:
    found = []
    for index, (name, right) in enumerate(zip(names, confusion.per_class.tolist())):
        mistaken = confusion.mostly_for(index)
        other = "" if mistaken is None else f"{names[mistaken[0]]} ({mistaken[1]})"
        found.append(OfClass(name, int(confusion.seen[index]), None if math.isnan(right) else right, other))
    return sorted(found, key=lambda each: 2.0 if each.right is None else each.right)
