"""Saved networks and exported files as commands use them: loaded, with all their outputs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.data.annotated import TaskName
from nasvit.export.card import Card, is_card, way_out
from nasvit.export.dense_parity import for_meter
from nasvit.export.formats import Floats, RunAll
from nasvit.export.saved import load_saved
from nasvit.export.shipping import as_saved, folded, load_file_with_outputs
from nasvit.export.switchable import SwitchableModel
from nasvit.heads.decoded import DecoderPlace
from nasvit.heads.detections import SHOWN, Choice
from nasvit.supernets.widths import names_of


class Loaded:
    """A saved network or a shipped file.

    Args:
        path: a folder that nasvit saved, or a file that ``nasvit export`` wrote into one.
        threads: threads of one operation.
        width: width of a saved network with several.
        fold: fold batch norms into convolutions, as files have them.

    Raises:
        ValueError: if there is no such network, or the width is illegal.
    """

    def __init__(self, path: Path, threads: int = 1, width: float | None = None, *, fold: bool = False) -> None:
        if not path.exists():
            told = "there is no such saved network or exported file (nasvit export writes files)"
            raise ValueError(f"{path}: {told}{way_out(path)}")
        self.decoder: DecoderPlace = "outside"
        self._choice = SHOWN
        if path.is_dir():
            network, self.card = plain_network(path, width)
            self.run: RunAll = _running((folded if fold else as_saved)(network, self.card))
        elif width is not None:
            raise ValueError(f"--width {width:g}: {path} is a file, and has the width that it was exported at")
        else:
            self.run, self.card = load_file_with_outputs(path, threads)
            told = self.card.exports.get(path.name, {})
            self.decoder = told.get("decoder", "outside")
            self._choice = Choice(**told["choice"]) if told.get("choice") else SHOWN

    def outputs(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return all that it says of pixels from 0 to 1 ``(batch, channels, height, width)``, in float32."""
        return tuple(torch.from_numpy(each).float() for each in self.run(np.ascontiguousarray(pixels.numpy())))

    def said(self, pixels: Tensor) -> Any:
        """Return what a detector or segmenter says of pixels, as meters take it; Objects, if it chooses them itself."""
        outputs = self.outputs(pixels)
        if self.decoder == "inside":
            return for_meter(outputs, self.card)
        return outputs if len(outputs) > 1 else outputs[0]

    @property
    def one_at_a_time(self) -> bool:
        """Whether it takes no batches."""
        return self.decoder == "inside" and self.card.spec.task == "detection"

    def threshold(self, asked: float | None) -> float:
        """Return the least score of a detector's objects.

        Args:
            asked: by the user; None: the usual one.

        Raises:
            ValueError: if the file has left out objects of that score.
        """
        least = self._choice.threshold
        if asked is not None and asked < least and self.one_at_a_time:
            raise ValueError(
                f"--threshold {asked:g}: the decoder inside this file leaves out scores up to {least:g}; give that or "
                "more, or the saved network's folder"
            )
        return least if asked is None else asked


def _running(network: nn.Module) -> RunAll:
    @torch.inference_mode()
    def run(pixels: Floats) -> tuple[Floats, ...]:
        outputs = network(torch.from_numpy(pixels))
        return tuple(each.numpy() for each in (outputs if isinstance(outputs, tuple) else (outputs,)))

    return run


def plain_network(folder: Path, width: float | None) -> tuple[nn.Module, Card]:
    """Load a saved network, of several widths one, with its card.

    Raises:
        ValueError: if there is no such width.
    """
    network, card = load_saved(folder)
    if isinstance(network, SwitchableModel):
        widths = names_of(network.widths)
        if width not in widths:
            raise ValueError(f"{folder} runs at several widths; give --width, one of {_words(widths)}")
        return network.export(widths[width]), card
    if width is not None:
        raise ValueError(f"--width {width}: {folder} has one width only")
    return network, card


def _words(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def task_at(path: Path) -> TaskName:
    """Return the task of a saved network or an exported file; classification where there is none."""
    folder = path if path.is_dir() else path.parent
    return task_of_card(Card.read(folder)) if is_card(folder) else "classification"


def task_of_card(card: Card) -> TaskName:
    """Return the task of a saved network."""
    task: TaskName = card.spec.task  # type: ignore[assignment]
    return task
