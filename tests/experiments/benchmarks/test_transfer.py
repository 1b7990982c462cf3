"""The benchmark of transfer: two halves of the classes, and means over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.benchmarks import transfer
from experiments.benchmarks.transfer import Settings, summary, write_halves
from nasvit.data import ImageSet, load_images


def images(source: str, part: str) -> ImageSet:
    pixels = torch.arange(3 * 8 * 8, dtype=torch.uint8).reshape(1, 3, 8, 8).repeat(40, 1, 1, 1)
    return ImageSet(pixels, torch.arange(40) % 4, ("ant", "bee", "cat", "dog"), f"{source} {part}")


def test_each_half_of_the_classes_gets_as_many_images_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "load_images", images)
    write_halves(Settings("some", out=tmp_path, many=5, few=2, tested=3))
    for half, classes, count in (("first", ("ant", "bee"), 5), ("other", ("cat", "dog"), 2)):
        train, test = (load_images(str(tmp_path / "images" / half), part) for part in ("train", "test"))
        assert train.classes == classes
        assert np.bincount(train.targets).tolist() == [count] * 2 and np.bincount(test.targets).tolist() == [3] * 2
    kept = tmp_path / "images" / "first" / "train" / "ant" / "0.png"
    kept.unlink()
    write_halves(Settings("some", out=tmp_path, many=5, few=2, tested=3))
    assert not kept.exists()


def test_means_are_those_of_one_way_over_its_seeds() -> None:
    rows: list[dict[str, Any]] = [
        {"start": "random", "fit": 0.2, "run": {"scores": {"finetuned": 0.3, "supernet": 0.9}}},
        {"start": "weights-1", "fit": 0.6},
        {"start": "random", "fit": 0.4, "run": {"scores": {"finetuned": 0.5, "supernet": 0.9}}},
    ]
    assert summary(rows) == {"random": {"fit": 0.3, "run": 0.4}, "weights-1": {"fit": 0.6}}
