"""Mean and standard deviation, and applying them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nasvit.data import EncodedImages, ImageSet, Normalization
from nasvit.data.images import from_pixels
from nasvit.data.normalization import Normalizer
from tests.nasvit.pretend import PretendDevice


def image_set(pixels: np.ndarray) -> ImageSet:
    return ImageSet(from_pixels(pixels), torch.zeros(len(pixels), dtype=torch.int64), ("any",), "made")


@given(seed=st.integers(0, 1000), channels=st.sampled_from([1, 3]), count=st.integers(1, 5))
def test_mean_and_std_are_those_of_all_pixels(seed: int, channels: int, count: int) -> None:
    pixels = np.random.default_rng(seed).integers(256, size=(count, 4, 6, channels), dtype=np.uint8)
    found = Normalization.of(image_set(pixels))
    assert np.allclose(found.mean, pixels.mean(axis=(0, 1, 2)) / 255, atol=1e-6)
    assert np.allclose(found.std, pixels.std(axis=(0, 1, 2)) / 255, atol=1e-6)


def test_mean_and_std_do_not_overflow_on_many_white_pixels() -> None:
    pixels = np.full((1500, 64, 64, 1), 255, dtype=np.uint8)
    pixels[::2] = 0
    found = Normalization.of(image_set(pixels))
    assert (found.mean, found.std) == ((0.5,), (0.5,))


def test_encoded_images_of_different_sizes_have_a_mean(tmp_path: Path) -> None:
    for name, size, level in (("a", (8, 8), 0), ("b", (20, 10), 255)):
        Image.new("RGB", size, (level,) * 3).save(tmp_path / f"{name}.png")
    encoded = EncodedImages.of_files((tmp_path / "a.png", tmp_path / "b.png"))
    found = Normalization.of(ImageSet(encoded, torch.tensor([0, 0]), ("any",), "files"))
    assert found.mean == (0.5,) * 3 and found.origin == "files, all 2 images"


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_normalized_in_the_asked_memory_layout(channels_last: bool, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(2, 4, 5, channels), dtype=np.uint8)
    mean, std = (0.5, 0.4, 0.3)[:channels], (0.1, 0.2, 0.3)[:channels]
    normalizer = Normalizer(Normalization(mean, std, "made"), channels_last=channels_last)
    images = normalizer(torch.from_numpy(pixels))
    expected = (pixels / 255 - np.array(mean)) / np.array(std)
    assert images.dtype == torch.float32 and images.shape == (2, channels, 4, 5)
    assert np.allclose(images.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert images.is_contiguous(memory_format=layout)


def test_images_with_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="images have 1 channels"):
        Normalizer(Normalization.imagenet())(torch.zeros(1, 2, 2, 1, dtype=torch.uint8))


def test_constants_are_put_on_the_device_once_for_images_of_one_width() -> None:
    normalizer = Normalizer(Normalization.imagenet(), torch.device("meta"))
    pixels = torch.zeros(2, 4, 5, 3, dtype=torch.uint8, device="meta")
    normalizer(pixels)
    with PretendDevice() as watched:
        images = normalizer(pixels)
    assert images.device.type == "meta" and watched.copies == 0


def test_a_set_without_contrast_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="every image of made"):
        Normalization.of(image_set(np.zeros((2, 2, 2, 1), dtype=np.uint8)))
