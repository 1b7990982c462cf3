"""Shipping: a network as files for other runtimes, each loaded again and compared before it counts."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.branches import fuse
from nasvit.data.pictures import BATCH, BATCH_DENSE, Pictures
from nasvit.export.card import CARD, Card, is_card
from nasvit.export.dense_parity import (
    BoxComparison,
    ClassesComparison,
    MaskComparison,
    ObjectComparison,
    one_by_one,
)
from nasvit.export.formats import FORMATS, Format, Run, RunAll, format_of
from nasvit.export.parity import MOST_DEVIATION, AnyParity, ClassComparison, Comparison, compare
from nasvit.export.program import PROGRAM, check_complete, on_processor
from nasvit.files.records import versions
from nasvit.files.whole import unfinished_folder
from nasvit.heads.decoded import DECODED, Decoded, DecodedObjects, DecoderPlace
from nasvit.heads.detections import SHOWN, Choice
from nasvit.layers import Normalize

COMPARED, CALIBRATED = 512, 256
"""Test images that files are compared on, and training images that integers are calibrated on, at most."""


@dataclass(frozen=True)
class Shipped:
    """One written file that agrees with the network.

    Args:
        format: name of its format.
        int8: whether its weights and activations are integers of 8 bits.
        decoder: whether it chooses objects or classes of pixels itself ("inside"), or says everything ("outside").
        choice: how it chooses objects, of a detector with the decoder inside.
        file: name of the file.
        files: names of all that belongs to it.
        bytes: size of all that belongs to it.
        width: width of a network with several.
        parity: how its scores compare with the network's.
        compared_on: the images of that comparison.
        versions: versions of the packages that wrote it.
        input: what it takes, in words; see :func:`input_of`.
    """

    format: str
    int8: bool
    decoder: DecoderPlace
    choice: Choice | None
    file: str
    files: tuple[str, ...]
    bytes: int
    width: float | None
    parity: AnyParity
    compared_on: str
    versions: Mapping[str, str]
    input: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a card."""
        return {**asdict(self), "files": list(self.files)}


def as_saved(network: nn.Module, card: Card) -> nn.Module:
    """Return a copy of a network, in float32 and evaluation mode, that takes pixels from 0 to 1.

    Raises:
        ValueError: if the network shares its weights with a supernet, or its batch norms have no statistics.
    """
    check_complete(network)
    copied = copy.deepcopy(on_processor(network)).float()
    parts = [Normalize(card.mean, card.deviation), copied] if card.mean else [copied]
    return nn.Sequential(*parts).eval().requires_grad_(False)


def input_of(card: Card) -> str:
    """Return in words what the files of a network take, whose mean and deviation are not to be applied once more."""
    colors = {1: "gray", 3: "RGB"}.get(card.spec.channels, f"{card.spec.channels} channels")
    return f"pixels from 0 to 1, {colors}; " + ("normalization is inside" if card.mean else "not normalized")


def told_of(card: Card) -> dict[str, str]:
    """Return what a file tells of its network by itself, without the card, where a format has room for that."""
    return {
        "task": card.spec.task,
        "classes": json.dumps(list(card.classes), ensure_ascii=False),
        "input": input_of(card),
        "image_size": json.dumps(list(card.shape[1:])),
        "nasvit": versions()["nasvit"],
    }


def folded(network: nn.Module, card: Card) -> nn.Module:
    """Return what :func:`as_saved` does, with batch norms and branches folded into convolutions, as it is shipped."""
    return fuse(as_saved(network, card), batch_norms=True).requires_grad_(False)


class Shipping:
    """Writes one network in several formats.

    Args:
        network: a plain network with its weights.
        card: its card.
        folder: folder of the files.
        pictures: images of its classes; None: floats are compared on noise, and there are no integers.
        most_drop: the accuracy that integers may lose, from 0 to 1.
        calibrated: training images that integers are calibrated on, at most.
        compared: test images that files are compared on, at most.
        width: width of a network with several, for the names of files.
        decoder: "inside": files choose objects or classes of pixels themselves, see :mod:`nasvit.heads.decoded`.
        say: gets a line before each step, some of which take minutes.

    Raises:
        ValueError: if a number is illegal, or the network has no decoder.
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
        compared: int = COMPARED,
        width: float | None = None,
        decoder: DecoderPlace = "outside",
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        if not 0 <= most_drop <= 1:
            raise ValueError(f"--most-drop {most_drop}; legal are shares from 0 to 1, such as 0.01 for one point")
        if calibrated < 1:
            raise ValueError(f"--calibration {calibrated}; legal are numbers of images from 1 up")
        if compared < 1:
            raise ValueError(f"--compared {compared}; legal are numbers of images from 1 up")
        self.reference, self.network = as_saved(network, card), folded(network, card)
        if decoder == "inside":
            self.network = _decoded(self.network, card)
        self.card, self.folder, self.pictures, self.decoder = card, folder, pictures, decoder
        self.most_drop, self.calibrated, self.compared, self.width = most_drop, calibrated, compared, width
        self.say = say

    def ship(self, format: Format, *, int8: bool = False) -> Shipped:
        """Write a file, load it again, and compare it with the network; one that disagrees is not left behind.

        Args:
            format: its format.
            int8: as integers of 8 bits.

        Raises:
            ImportError: if a package of the format is not installed.
            ValueError: if the file disagrees with the network, or there are no images to calibrate integers on.
        """
        if self.decoder == "inside":
            format.check_decoder(self.card.spec.task)
        format.require(writing=True, int8=int8)
        self.folder.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(self.folder) as unfinished:
            path = unfinished / file_of(format, int8, self.width, self.decoder)
            try:
                parity = self._written(format, path, int8)
            except ValueError as error:
                raise ValueError(f"{path.name}: {error}") from error
            except Exception as error:  # exporters and runtimes raise errors of every kind
                raise ValueError(f"{path.name}: {format.name} failed: {type(error).__name__}: {error}") from error
            self._check(path, parity, int8)
            files = format.files(path)
            size = sum(file.stat().st_size for file in files)
            for file in files:
                file.replace(self.folder / file.name)
        names = tuple(file.name for file in files)
        made_by = versions() | format.versions(int8=int8)
        choice = SHOWN if isinstance(self.network, DecodedObjects) else None
        told = format.name, int8, self.decoder, choice, path.name, names, size, self.width
        return Shipped(*told, parity, self._source, made_by, input_of(self.card))

    def _written(self, format: Format, path: Path, int8: bool) -> AnyParity:
        batch = self.network.batch if isinstance(self.network, Decoded) else None
        if int8:
            calibration = self._calibration()
            images = sum(map(len, calibration))
            self.say(f"calibrating integers on {images} training images and writing {path.name}")
            format.write_int8(self.network, path, self.card.shape, calibration, batch)
        else:
            self.say(f"writing {path.name}")
            format.write(self.network, path, self.card.shape, batch)
        decoder = self.network.told() if isinstance(self.network, Decoded) else {}
        format.tell(path, {**told_of(self.card), **decoder})
        compared = self._compared() if batch is None else one_by_one(self._compared())
        return compare(self.reference, format.load_all(path), compared, _comparison(self.card, self.decoder))

    def _calibration(self) -> list[Tensor]:
        if self.pictures is None:
            raise ValueError("integers of 8 bits are calibrated on training images; give --images SOURCE")
        self.say(f"reading training images of {self.pictures.source}")
        return self.pictures.calibration(self.calibrated)

    @property
    def _source(self) -> str:
        """What files are compared on."""
        return "noise" if self.pictures is None else self.pictures.source

    def _compared(self) -> Iterable[tuple[Tensor, Any]]:
        if self.pictures is not None:
            test = self.pictures.test(self.compared)
            self.say(f"comparing it with the network on {len(test.images)} test images of {self._source}")
            return test.evaluation_batches()
        self.say(f"comparing it with the network on {self._source}")
        generator = torch.Generator().manual_seed(0)
        batch = BATCH if self.card.spec.task == "classification" else BATCH_DENSE
        return [(torch.rand(batch, *self.card.shape, generator=generator), None)]

    def _check(self, path: Path, parity: AnyParity, int8: bool) -> None:
        others, most_others = parity.others(), max(parity.most_others, self.most_drop)
        if int8 and (parity.drop > self.most_drop or 1 - parity.agreement > most_others):
            raise ValueError(
                f"{path.name} loses {100 * parity.drop:.1f} points of {parity.metric}, and {others}; allowed are "
                f"{100 * self.most_drop:.1f} points (--most-drop) and {most_others:.0%}; give more --calibration "
                "images, or train it on with `quantize: int8` (nasvit fit), which teaches it to live with the rounding"
            )
        if not int8 and parity.strays > MOST_DEVIATION:
            raise ValueError(
                f"{path.name} disagrees with the network: {parity.told()}, and {others}; it is not written"
            )


_COMPARISONS: dict[tuple[str, DecoderPlace], type[BoxComparison | MaskComparison]] = {
    ("detection", "outside"): BoxComparison,
    ("detection", "inside"): ObjectComparison,
    ("segmentation", "outside"): MaskComparison,
    ("segmentation", "inside"): ClassesComparison,
}


def _comparison(card: Card, decoder: DecoderPlace) -> Comparison:
    """Return what compares files of a network's task with it."""
    kind = _COMPARISONS.get((card.spec.task, decoder))
    return ClassComparison() if kind is None else kind(card)


def _decoded(network: nn.Module, card: Card) -> Decoded:
    """Return a network with its decoder inside.

    Raises:
        ValueError: if it is none of boxes or masks.
    """
    kind = DECODED.get(card.spec.task)
    if kind is None:
        legal = " and ".join(DECODED)
        raise ValueError(f"--decoder inside: legal for {legal}; this network is for {card.spec.task}")
    return kind(network, card.shape[1:])


def file_of(format: Format, int8: bool, width: float | None = None, decoder: DecoderPlace = "outside") -> str:
    """Return the name of a format's file, such as ``network-0.5-decoded-int8.onnx``."""
    name = Path(format.file)
    parts = ["" if width is None else f"-{width:g}", "-decoded" if decoder == "inside" else "", "-int8" if int8 else ""]
    return f"{name.stem}{''.join(parts)}{name.suffix}"


def with_shipped(card: Card, shipped: Sequence[Shipped]) -> Card:
    """Return a card that tells of files, too, besides those that it told of before."""
    return replace(card, exports={**card.exports, **{each.file: each.to_json() for each in shipped}})


def load_file(path: Path, threads: int = 1, *, trust: bool = False) -> tuple[Run, Card]:
    """Load a shipped file, with the card beside it.

    Args:
        path: the file.
        threads: threads of one operation.
        trust: load a program of PyTorch, too, that this user did not write on this machine: it runs whatever its author
            put in.

    Raises:
        ValueError: if the card does not tell of it, its runtime cannot load it, or it needs trust.
        FileNotFoundError: if there is no card beside it.
    """
    run, card = load_file_with_outputs(path, threads, trust=trust)
    return lambda pixels: run(pixels)[0], card


def load_file_with_outputs(path: Path, threads: int = 1, *, trust: bool = False) -> tuple[RunAll, Card]:
    """Load a shipped file, which gives all its outputs, with the card beside it; as in :func:`load_file`."""
    format, card = require_runtime(path)
    if not (trust or format.may_start(path)):
        raise ValueError(
            f"{path} is a program, which runs whatever its author put in, and was not written by you on this machine; "
            "if you know it, say so: nasvit --trust ..., in Python trust=True"
        )
    try:
        return format.load_all(path, threads), card
    except Exception as error:  # runtimes raise errors of every kind
        raise ValueError(f"{path}: {format.runtime} cannot load it: {type(error).__name__}: {error}") from error


def require_runtime(path: Path) -> tuple[Format, Card]:
    """Return the format of a shipped file, whose runtime is imported, and the card beside it.

    Raises:
        ImportError: if a package of the runtime is not installed.
        ValueError: if the card does not tell of the file.
        FileNotFoundError: if there is no card beside it.
    """
    if not is_card(path.parent):
        raise FileNotFoundError(f"{path}: the {CARD} that tells its classes must lie beside it, and does not")
    card = Card.read(path.parent)
    if path.suffix == Path(PROGRAM).suffix and path.name not in card.exports:
        format: Format = FORMATS["torch"]  # saved with the network
    elif path.name in card.exports:
        format = format_of(card.exports[path.name]["format"])
    else:
        told = ", ".join(card.exports) or "none"
        raise ValueError(
            f"{path}: the card beside it tells of no such file (it tells of {told}); nasvit export writes it"
        )
    format.require()
    return format, card
