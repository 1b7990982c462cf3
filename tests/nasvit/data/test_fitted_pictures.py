"""Pictures as a network that finds boxes or masks takes them, and sizes of images in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasvit.data.config import DataConfig, height_and_width
from nasvit.data.letterbox import fitted
from nasvit.data.pictures import Pictures, letterboxed_picture, opened_picture
from search_spaces.reading import load_yaml
from search_spaces.saved import to_json_value
from tests.nasvit.data.annotated_folders import annotation, write_coco, write_masks

SHAPE = (3, 16, 24)


def test_one_file_is_fitted_as_those_of_a_set_are(tmp_path: Path) -> None:
    write_coco(tmp_path, [annotation(1, 1, (2, 1, 6, 4))], images=1)
    write_coco(tmp_path, [annotation(1, 1, (2, 1, 6, 4))], images=1, part="test")
    pixels = np.random.default_rng(0).integers(256, size=(10, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "test" / "1.png")
    pictures = Pictures(f"coco:{tmp_path}", SHAPE, ("cat", "dog"), task="detection")
    (expected, targets), *_ = pictures.test().evaluation_batches()
    image, cut = opened_picture(tmp_path / "test" / "1.png", 3), fitted((10, 20), (16, 24))
    assert torch.allclose(letterboxed_picture(image, (16, 24)), expected, atol=1e-6)
    assert cut.extent((10, 20)) == (12, 24)
    assert cut.scale == 1.2 == pytest.approx(float(targets.scale))
    assert len(pictures.calibration(1)) == 1


def test_pictures_have_masks_where_the_network_makes_some(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_masks(tmp_path, {"a": [[0, 1], [5, 1]]}, part)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    pictures = Pictures(str(tmp_path), (3, 2, 2), ("a", "b"), task="segmentation", ignore_index=5)
    (_, masks), *_ = pictures.test().evaluation_batches()
    assert masks.tolist() == [[[0, 1], [255, 1]]]


@pytest.mark.parametrize(("text", "size"), [("[128, 160]", (128, 160)), ("64", 64), ("null", None)])
def test_a_file_says_one_side_or_height_and_width(tmp_path: Path, text: str, size: Any) -> None:
    (tmp_path / "data.yaml").write_text(f"source: digits\nimage_size: {text}\n")
    config = load_yaml(DataConfig, tmp_path / "data.yaml")
    assert config.image_size == size
    assert to_json_value(config)["image_size"] == (list(size) if isinstance(size, tuple) else size)
    assert height_and_width(config.image_size) == ((64, 64) if size == 64 else size)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("image_size: [128, 0]", r"image_size\[1\]: 0 is illegal; legal: whole numbers from 1 to 4096"),
        ("image_size: [1, 2, 3]", "image_size: has 3 entries; legal: 2"),
        ("ignore_index: 256", "ignore_index: 256 is illegal; legal: whole numbers from 0 to 255"),
    ],
)
def test_sizes_and_values_out_of_range_are_refused_by_line(tmp_path: Path, field: str, message: str) -> None:
    (tmp_path / "data.yaml").write_text(f"source: digits\n{field}\n")
    with pytest.raises(ValueError, match=f"data.yaml:2: {message}"):
        load_yaml(DataConfig, tmp_path / "data.yaml")
