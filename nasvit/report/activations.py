"""``nasvit activations``: the images that activate a channel of a network most, at every width that the network has."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from heapq import nlargest
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import torch
from torch import Tensor

from nasvit.data.pictures import (
    BATCH,
    BATCH_DENSE,
    decodable,
    letterboxed_picture,
    open_picture,
    opened_picture,
    picture_files,
)
from nasvit.export.card import Card
from nasvit.files.records import versions, write_json
from nasvit.report.loaded import task_of_card
from nasvit.report.watched import Layer, Watched, watched_widths
from search_spaces.ranges import Range, checks

PICTURES = (".png", ".pdf", ".svg", ".jpg")


@dataclass(frozen=True)
class Activated:
    """An image with the largest value of a channel.

    Args:
        file: the image.
        value: the value.
        place: left, top, right and bottom, in pixels of what the network sees, of the cell of the map that has the
            value; None: the layer has no map.
        predicted: the class that a classifier says; empty of others.
    """

    file: Path
    value: float
    place: tuple[float, float, float, float] | None
    predicted: str

    def is_mistaken(self, classes: Sequence[str]) -> bool:
        """Return whether the image lies in the folder of another class than the network says."""
        return bool(self.predicted) and self.file.parent.name in {*classes} - {self.predicted}

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        place = None if self.place is None else [round(each, 2) for each in self.place]
        said = {"predicted": self.predicted} if self.predicted else {}
        return {"file": str(self.file), "value": self.value, "place": place, **said}


@dataclass
class Row:
    """What activates a channel at one width.

    Args:
        watched: the width.
        strongest: its images, the strongest first.
        least: the smallest value of all images.
    """

    watched: Watched
    strongest: list[Activated] = field(default_factory=list)
    least: float = float("inf")

    def take(self, found: Sequence[Activated], top: int) -> None:
        """Keep the strongest of those that are kept and of others, which come later among equals."""
        self.strongest = nlargest(top, [*self.strongest, *found], key=lambda each: each.value)
        self.least = min([self.least, *(each.value for each in found)])

    @property
    def is_dead(self) -> bool:
        """Whether all images activate the channel alike, so that none is stronger than another."""
        return self.strongest[0].value <= self.least


@checks
def show_activations(
    folder: Path,
    images: tuple[Path, ...],
    *,
    layer: str | None,
    channel: Annotated[int, Range(0, 1_000_000)] | None,
    top: Annotated[int, Range(1, 100)],
    out: Path,
) -> None:
    """Draw the images that activate a channel most, one row a width, and print how many of them widths share.

    Args:
        folder: a saved network.
        images: image files, and folders of them.
        layer: name of a layer; the last one with a map whose number of channels differs between the widths if left out.
        channel: number of a channel in the whole network; the first one that all widths have if left out.
        top: how many images.
        out: the picture; a JSON file of that name is written beside it.

    Raises:
        ValueError: if there is no such network, layer, channel or image, or the picture cannot be written so.
    """
    if out.suffix.lower() not in PICTURES:
        raise ValueError(f"--out {out}: legal are names that end in {', '.join(PICTURES)}")
    if not images:
        raise ValueError("of which images? Give image files or folders of them")
    files, widths = picture_files(images), watched_widths(folder)
    name = _layer(layer, widths)
    number = _channel(channel, name, widths)
    rows, seen = [Row(each) for each in widths], 0
    for opened in _opened(files, widths[0].card):
        pixels, seen = torch.cat([*opened.values()]), seen + len(opened)
        for row in rows:
            row.take([*_activated(row.watched, name, number, [*opened], pixels)], top)
    if not seen:
        raise ValueError("none of the images can be decoded")
    _print(rows, name, number, seen)
    _draw(rows, name, number, out)
    write_json(out.with_suffix(".json"), _content(folder, rows, name, number, seen))
    print(f"{out}, {out.with_suffix('.json').name}: {_shares_in_words(rows, seen)}")


def _layer(asked: str | None, widths: Sequence[Watched]) -> str:
    """Return the layer that is asked for; if none is, the last one with a map whose channels differ by the width."""
    known = [name for name in widths[0].layers if all(name in each.layers for each in widths)]
    if asked is not None:
        if asked not in known:
            near = get_close_matches(asked, known, 3, 0)
            raise ValueError(
                f"--layer {asked}: the network has no such layer with channels at every width; "
                f"nearest: {', '.join(near)}; legal: {', '.join(known)}"
            )
        return asked
    if not known:
        raise ValueError("the network has no layers with channels that are the same at all widths")

    def worth(name: str) -> tuple[bool, bool]:
        every = [each.layers[name] for each in widths]
        return len({len(each.channels) for each in every}) > 1, max(every[0].grid) > 1

    return max(reversed(known), key=worth)


def _channel(asked: int | None, name: str, widths: Sequence[Watched]) -> int:
    """Return the channel that is asked for; the first one of a layer that all widths have if none is."""
    for each in widths if asked is not None else ():
        channels = each.layers[name].channels
        if asked not in channels:
            at = f" at {each.label}" if each.label else ""
            raise ValueError(f"--channel {asked}: {name} has the channels {_ranges(channels)}{at}")
    if asked is not None:
        return asked
    shared = set.intersection(*({*each.layers[name].channels} for each in widths))
    if not shared:
        raise ValueError(f"--layer {name}: the widths share no channel of it")
    return min(shared)


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers in words: ``0 to 7, 12 to 15``."""
    begins = [each for each in numbers if each - 1 not in {*numbers}]
    ends = [each for each in numbers if each + 1 not in {*numbers}]
    return ", ".join(f"{a} to {b}" if a < b else f"{a}" for a, b in zip(begins, ends, strict=True))


def _opened(files: Sequence[Path], card: Card) -> Iterator[dict[Path, Tensor]]:
    """Yield batches of images as a network takes them; those that cannot be decoded are named and left out."""
    size = BATCH if task_of_card(card) == "classification" else BATCH_DENSE
    for begin in range(0, len(files), size):
        if opened := dict(decodable(files[begin : begin + size], lambda file: _pixels(file, card))):
            yield opened


def _pixels(file: Path, card: Card) -> Tensor:
    """Return an image as the network sees it, ``(1, channels, height, width)``, from 0 to 1."""
    if task_of_card(card) == "classification":
        return open_picture(file, card.shape, card.crop_pct)
    channels, height, width = card.shape
    return letterboxed_picture(opened_picture(file, channels), (height, width))


def _activated(watched: Watched, name: str, channel: int, files: Sequence[Path], pixels: Tensor) -> Iterator[Activated]:
    """Yield what a channel says of every image of a batch."""
    card, layer, said = watched.card, watched.layers[name], watched.of(name, channel, pixels)
    predicted = [""] * len(files)
    if task_of_card(card) == "classification":
        predicted = [card.classes[number] for number in said.outputs.argmax(1).tolist()]
    for each in zip(files, said.values.tolist(), said.cells.tolist(), predicted, strict=True):
        file, value, cell, word = each
        yield Activated(file, value, _place(cell, layer, card), word)


def _place(cell: Sequence[int], layer: Layer, card: Card) -> tuple[float, float, float, float] | None:
    (rows, columns), (_, height, width) = layer.grid, card.shape
    if (rows, columns) == (1, 1):
        return None
    row, column = cell
    return (
        column * width / columns,
        row * height / rows,
        (column + 1) * width / columns,
        (row + 1) * height / rows,
    )


def _print(rows: Sequence[Row], name: str, channel: int, seen: int) -> None:
    print(f"{name}, channel {channel}: its largest values in {seen:,} images")
    for row in rows:
        words = ", ".join(f"{each.file.name} {each.value:.3g}" for each in row.strongest)
        of = f"{row.watched.label} ({len(row.watched.layers[name].channels)} channels): " if row.watched.label else ""
        print(f"{of}{words}")
        if row.is_dead:
            print(f"nasvit: all images activate it alike there, so that {of}the order says nothing", file=sys.stderr)


def _common(rows: Sequence[Row]) -> tuple[float, float] | None:
    """Return the share of the strongest images that two widths have in common, in the mean, and that all have."""
    files = [{each.file for each in row.strongest} for row in rows]
    if len(files) < 2:
        return None
    pairs = mean(len(one & other) / len(one) for one, other in combinations(files, 2))
    return pairs, len(set.intersection(*files)) / len(files[0])


def _shares_in_words(rows: Sequence[Row], seen: int) -> str:
    common, count = _common(rows), len(rows[0].strongest)
    if common is None:
        return f"the {count} strongest images"
    two, every = common
    return (
        f"of the {count} strongest images two widths share {two:.0%} in the mean (chance: {count / seen:.1%}), "
        f"all {len(rows)} widths {every:.0%}"
    )


def _content(folder: Path, rows: Sequence[Row], name: str, channel: int, seen: int) -> dict[str, Any]:
    common = _common(rows)
    shares = {} if common is None else {"common_to_two": common[0], "common_to_all": common[1]}
    _, height, width = rows[0].watched.card.shape
    return {
        "network": str(folder),
        "layer": name,
        "channel": channel,
        "images": seen,
        "seen_at": [height, width],
        **shares,
        "by_chance": len(rows[0].strongest) / seen,
        "rows": [
            {
                "width": row.watched.width,
                "channels": len(row.watched.layers[name].channels),
                "strongest": [each.to_json() for each in row.strongest],
            }
            for row in rows
        ],
        "versions": versions(),
    }


def _draw(rows: Sequence[Row], name: str, channel: int, out: Path) -> None:
    """Draw the images of every width in a row, each with the place of its value; mistaken ones have a red frame."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns = len(rows[0].strongest)
    figure = Figure(figsize=(1.3 * columns + 1, 1.6 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row, places in zip(rows, grid, strict=True):
        card = row.watched.card
        places[0].set_ylabel(row.watched.label)
        for axes, each in zip(places, row.strongest, strict=True):
            axes.imshow(_pixels(each.file, card)[0].permute(1, 2, 0).squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{each.value:.3g}  {each.predicted}", fontsize=7, parse_math=False)
            for side in axes.spines.values():
                side.set(color="red" if each.is_mistaken(card.classes) else "none", linewidth=2)
            if each.place is not None:
                left, top, right, bottom = each.place
                for color, thick in (("black", 2.0), ("yellow", 1.0)):  # seen on any picture
                    corner = (left - 0.5, top - 0.5)  # imshow's pixels are around whole numbers
                    mark = Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=color, linewidth=thick)
                    axes.add_patch(mark)
    figure.suptitle(f"{name}, channel {channel}", fontsize=9, parse_math=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
