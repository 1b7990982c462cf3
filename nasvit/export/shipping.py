"""Shipping: a network as files for other runtimes, each loaded again and compared before it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.branches import fuse
from nasvit.data.pictures import BATCH, Pictures
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS, Format, Run
from nasvit.export.parity import MOST_DEVIATION, Parity, compare
from nasvit.export.program import check_complete, on_processor
from nasvit.layers import Normalize

COMPARED, CALIBRATED = 512, 256
"""Test images that files are compared on, and training images that integers are calibrated on, at most."""

INT8 = "-int8"


@dataclass(frozen=True)
class Shipped:
    """One written file that agrees with the network.

    Args:
        format: name of its format.
        int8: whether its weights and activations are integers of 8 bits.
        file: name of the file.
        bytes: size of all that belongs to it.
        parity: how its scores compare with the network's.
        compared_on: the images of that comparison.
        versions: versions of the packages that wrote it.
    """

    format: str
    int8: bool
    file: str
    bytes: int
    parity: Parity
    compared_on: str
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a card."""
        return asdict(self)


def whole(network: nn.Module, card: Card) -> nn.Module:
    """Return a network that takes pixels from 0 to 1, with its batch norms folded into its convolutions.

    Raises:
        ValueError: if the network shares its weights with a supernet, or its batch norms have no statistics.
    """
    check_complete(network)
    folded = fuse(on_processor(network).eval(), batch_norms=True).float()
    parts = [Normalize(card.mean, card.deviation), folded] if card.mean else [folded]
    return nn.Sequential(*parts).eval().requires_grad_(False)


class Shipping:
    """Writes one network in several formats.

    Args:
        network: a plain network with its weights.
        card: its card.
        folder: folder of the files.
        pictures: images of its classes; None: floats are compared on noise, and there are no integers.
        most_drop: the accuracy that integers may lose.
        calibrated: training images that integers are calibrated on.
    """

    def __init__(
        self,
        network: nn.Module,
        card: Card,
        folder: Path,
        pictures: Pictures | None = None,
        *,
        most_drop: float = 0.01,
        calibrated: int = CALIBRATED,
    ) -> None:
        self.network, self.card, self.folder, self.pictures = whole(network, card), card, folder, pictures
        self.most_drop, self.calibrated = most_drop, calibrated

    def ship(self, format: Format, *, int8: bool = False) -> Shipped:
        """Write a file, load it again, and compare it with the network; one that disagrees is not left behind.

        Args:
            format: its format.
            int8: as integers of 8 bits.

        Raises:
            ImportError: if a package of the format is not installed.
            ValueError: if the file disagrees with the network, or there are no images to calibrate integers on.
        """
        format.require()
        self.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.folder, prefix="unfinished-") as unfinished:
            path = Path(unfinished) / file_of(format, int8)
            if int8:
                format.write_int8(self.network, path, self.card.shape, self._calibration())
            else:
                format.write(self.network, path, self.card.shape)
            parity = compare(self.network, format.load(path), self._compared())
            self._check(path, parity, int8)
            files = format.files(path)
            size = sum(file.stat().st_size for file in files)
            for file in files:
                file.replace(self.folder / file.name)
        on = "noise" if self.pictures is None else self.pictures.source
        return Shipped(format.name, int8, path.name, size, parity, on, format.versions())

    def _calibration(self) -> list[Tensor]:
        if self.pictures is None:
            raise ValueError("integers of 8 bits are calibrated on training images; give --images SOURCE")
        return self.pictures.calibration(self.calibrated)

    def _compared(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        if self.pictures is not None:
            yield from self.pictures.test(COMPARED).evaluation_batches()
            return
        generator = torch.Generator().manual_seed(0)
        yield torch.rand(BATCH, *self.card.shape, generator=generator), None

    def _check(self, path: Path, parity: Parity, int8: bool) -> None:
        if int8 and parity.drop > self.most_drop:
            what = "accuracy" if parity.accuracy is not None else "agreement"
            raise ValueError(
                f"{path.name} loses {100 * parity.drop:.1f} points of {what}, more than {100 * self.most_drop:.1f}; "
                "give more --calibration images, or a larger --most-drop"
            )
        if not int8 and not parity.deviation <= MOST_DEVIATION:
            raise ValueError(
                f"{path.name} disagrees with the network: its scores deviate by {parity.deviation:.2g} of the largest, "
                f"and the classes of {1 - parity.agreement:.1%} of {parity.images} images are others; nothing is left"
            )


def file_of(format: Format, int8: bool) -> str:
    """Return the name of a format's file."""
    name = Path(format.file)
    return f"{name.stem}{INT8}{name.suffix}" if int8 else format.file


def with_shipped(card: Card, shipped: Sequence[Shipped]) -> Card:
    """Return a card that tells of files, too, besides those that it told of before."""
    return replace(card, exports={**card.exports, **{each.file: each.to_json() for each in shipped}})


def load_file(path: Path, threads: int = 1) -> tuple[Run, Card]:
    """Load a shipped file, with the card beside it.

    Raises:
        ValueError: if its name is that of no format.
        FileNotFoundError: if there is no card beside it.
    """
    card = Card.read(path.parent)
    for format in FORMATS.values():
        if path.name in (file_of(format, False), file_of(format, True)):
            format.require()
            return format.load(path, threads), card
    names = ", ".join(format.file for format in FORMATS.values())
    raise ValueError(f"{path}: its name is that of no format; legal: {names}, and the same with {INT8}")
