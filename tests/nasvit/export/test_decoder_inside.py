"""Files with their decoder inside give the objects and classes that are chosen outside of others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nasvit.data.pictures import letterboxed_picture, opened_picture
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS, Floats
from nasvit.export.formats.contract import Start
from nasvit.export.saved import load_saved
from nasvit.export.shipping import Shipping
from nasvit.heads.detections import SHOWN
from nasvit.report.shipping import pictures_at
from tests.nasvit.export.classifiers import classifier, command
from tests.nasvit.export.dense_networks import boxes_folder, masks_folder, noise, saved_detector, saved_segmenter

Shown = pytest.CaptureFixture[str]


def unsure(folder: Path) -> None:
    """Let a saved detector find nothing in pictures without contrast, and something in others."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "network.safetensors")
    del weights, save_file


class Wrong(type(FORMATS["torch"])):  # type: ignore[misc]
    """Programs whose runtime does something to what they return."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def start(self, path: Path, threads: int = 1) -> Start:
        run = super().start(path, threads)

        def changed(pixels: Floats) -> Sequence[Any]:
            return self.what(*run(pixels))  # type: ignore[no-any-return]

        return changed
