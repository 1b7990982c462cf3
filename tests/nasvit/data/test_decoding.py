"""Images of every kind of file are what viewers show of them, wherever they are decoded."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, TiffImagePlugin

import nasvit
from nasvit.data import BadImageError, EncodedImages, load_images
from nasvit.data.decoding import shown
from nasvit.data.pictures import open_picture
from tests.nasvit.data.annotated_folders import annotation, write_coco, write_masks

HEIGHT, WIDTH = 16, 24


def gradient() -> np.ndarray:
    """Smooth colors, so that JPEG keeps them, all corners different: uint8 (16, 24, 3)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 8 * x, 30 + 12 * y, 200 - 4 * x - 4 * y], 2).astype(np.uint8)


RGB = gradient()
GRAY = RGB[..., 0]
HALF = np.where(np.arange(WIDTH) < 12, 255, 0)[None].repeat(HEIGHT, 0).astype(np.uint8)
ON_WHITE = np.where(HALF[..., None] > 0, RGB, 255)
CHECKS = np.where(np.indices((HEIGHT, WIDTH)).sum(0) % 2, 255, 0).astype(np.uint8)


def image(pixels: np.ndarray, mode: str | None = None) -> Image.Image:
    made = Image.fromarray(pixels)
    return made if mode is None else made.convert(mode)


def with_alpha(pixels: np.ndarray) -> Image.Image:
    made = image(pixels)
    made.putalpha(image(HALF))
    return made


def with_turn(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


def palette(**options: Any) -> tuple[Image.Image, dict[str, Any]]:
    made = Image.fromarray((GRAY // 8).astype(np.uint8), "P")
    made.putpalette(np.repeat(np.arange(0, 256, 8), 3).astype(np.uint8).tobytes())
    return made, options


def lab() -> Image.Image:
    profiles = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
    return ImageCms.applyTransform(image(RGB), ImageCms.buildTransform(*profiles, "RGB", "LAB"))


def frames(path: Path) -> None:
    image(RGB).save(path, save_all=True, append_images=[image(255 - RGB)], duration=100, lossless=True)


def png16(path: Path, channels: np.ndarray) -> None:
    """Write a PNG of 16 bits, of red, green and blue, which Pillow cannot."""
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def mpo(path: Path) -> None:
    image(RGB).save(path, save_all=True, append_images=[image(255 - RGB)], quality=100, subsampling=0, format="MPO")


def twelve_bits(path: Path) -> None:
    """Write a TIFF whose gray values have 16 bits and start at white."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[262] = 0
    image((255 - GRAY).astype(np.uint16) * 257).save(path, tiffinfo=info)


Write = Callable[[Path], object]
TURNS = {
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: np.rot90(RGB),
    8: np.rot90(RGB, -1),
}
KINDS: dict[str, tuple[Write, np.ndarray]] = {
    "gray of 16 bits.png": (lambda path: image(GRAY.astype(np.uint16) * 257).save(path), GRAY),
    "gray of 16 bits.tiff": (lambda path: image(GRAY.astype(np.uint16) * 257).save(path), GRAY),
    "gray of 16 bits.pgm": (lambda path: image(GRAY.astype(np.int32) * 257).save(path), GRAY),
    "gray of 16 bits, transparent.png": (
        lambda path: image(np.where(HALF > 0, GRAY.astype(np.uint16) * 257, 7)).save(path, transparency=7),
        ON_WHITE[..., 0],
    ),
    "white is zero.tiff": (twelve_bits, GRAY),
    "floats.tiff": (lambda path: image((GRAY / 255).astype(np.float32)).save(path), GRAY),
    "colors of 16 bits.png": (lambda path: png16(path, RGB.astype(np.uint16) * 257), RGB),
    "opacity.png": (lambda path: with_alpha(RGB).save(path), ON_WHITE),
    "opacity.webp": (lambda path: with_alpha(RGB).save(path, lossless=True), ON_WHITE),
    "gray with opacity.png": (lambda path: with_alpha(GRAY).save(path), ON_WHITE[..., 0]),
    "a transparent gray.png": (
        lambda path: image(np.where(HALF > 0, GRAY, 7)).save(path, transparency=7),
        ON_WHITE[..., 0],
    ),
    "a transparent color.png": (
        lambda path: image(np.where(HALF[..., None] > 0, RGB, 7)).save(path, transparency=(7, 7, 7)),
        ON_WHITE,
    ),
    "palette.png": (lambda path: palette()[0].save(path), GRAY // 8 * 8),
    "a transparent entry.gif": (
        lambda path: palette()[0].save(path, transparency=10),
        np.where(GRAY // 8 == 10, 255, GRAY // 8 * 8),
    ),
    "transparent entries.png": (
        lambda path: palette()[0].save(path, transparency=bytes(255 * (number < 20) for number in range(32))),
        np.where(GRAY // 8 < 20, GRAY // 8 * 8, 255),
    ),
    "one bit.png": (lambda path: image(CHECKS, "1").save(path), CHECKS),
    "one bit.tiff": (lambda path: image(CHECKS, "1").save(path), CHECKS),
    "inks.tiff": (lambda path: image(RGB, "CMYK").save(path), RGB),
    "inks, inverted.jpg": (lambda path: image(RGB, "CMYK").save(path, quality=100), RGB),
    "lab.tiff": (lambda path: lab().save(path), RGB),
    "frames.gif": (lambda path: frames(path), np.asarray(image(RGB).convert("P", palette=1).convert("RGB"))),
    "frames.webp": (frames, RGB),
    "frames.png": (frames, RGB),
    "two views.mpo": (mpo, RGB),
    **{
        f"turned {turn}.{ending}": (
            lambda path, turn=turn, stored=stored: image(stored.copy()).save(
                path, exif=with_turn(turn), quality=100, subsampling=0
            ),
            RGB,
        )
        for turn, stored in TURNS.items()
        for ending in ("jpg", "png", "tiff")
    },
    "a broken entry.jpg": (
        lambda path: image(RGB).save(path, exif=b"Exif\0\0nonsense", quality=100, subsampling=0),
        RGB,
    ),
}


@pytest.mark.parametrize(("write", "expected"), KINDS.values(), ids=KINDS)
def test_an_image_of_any_kind_is_what_viewers_show(
    write: Write, expected: np.ndarray, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / request.node.callspec.id
    write(path)
    slack = {"lab": 16, "frames": 20}.get(path.stem, 6 if path.suffix in (".jpg", ".mpo") else 2)
    for channels, mode in ((3, "RGB"), (1, "L")):
        images = EncodedImages.of_files([path], channels)
        wanted = np.asarray(image(np.ascontiguousarray(expected)).convert(mode)).astype(int)
        opened = images.open(0)
        assert opened.mode == mode and images.size(0) == (opened.height, opened.width) == expected.shape[:2]
        assert np.abs(np.asarray(opened).astype(int) - wanted).max() <= slack
    small = EncodedImages.of_files([path], 3).open(0, least=(8, 12))
    assert (small.height, small.width) in ((8, 12), (16, 24))


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (GRAY.astype(np.float32), "its floats run from 40 to 224; legal are 0 to 1"),
        (np.full((4, 4), np.nan, dtype=np.float32), "its floats run from nan to nan"),
        (GRAY.astype(np.int32), "whole numbers of more than 16 bits"),
    ],
)
def test_numbers_of_unknown_meaning_are_refused_by_name(pixels: np.ndarray, words: str, tmp_path: Path) -> None:
    image(pixels).save(tmp_path / "odd.tiff")
    with pytest.raises(BadImageError, match=rf"odd\.tiff: .*{words}"):
        EncodedImages.of_files([tmp_path / "odd.tiff"]).open(0)


def test_an_image_of_too_many_pixels_is_refused_by_name_before_it_is_decoded(tmp_path: Path) -> None:
    size, data = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0), zlib.compress(bytes(1000))
    for name, content in ((b"IHDR", size), (b"IDAT", data), (b"IEND", b"")):
        with (tmp_path / "bomb.png").open("ab") as file:
            file.write(b"" if file.tell() else b"\x89PNG\r\n\x1a\n")
            file.write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))
    images = EncodedImages.of_files([tmp_path / "bomb.png"])
    for look in (images.open, images.size):
        with pytest.raises(BadImageError, match=r"bomb\.png: .*900000000 pixels.* exceeds limit of 178956970"):
            look(0)


def test_a_folder_a_prediction_and_a_data_set_of_torchvision_show_the_same(tmp_path: Path) -> None:
    for label in ("cats", "dogs"):
        (tmp_path / label).mkdir()
        for number in range(5):
            turned = image(np.rot90(RGB).copy())
            turned.putalpha(image(np.rot90(HALF).copy()))
            turned.save(tmp_path / label / f"{number}.png", exif=with_turn(6))
    pixels = load_images(tmp_path).pixels[0]
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), ON_WHITE)
    square = load_images(tmp_path, image_size=16).pixels[0]
    assert torch.equal(open_picture(tmp_path / "cats" / "0.png", (3, 16, 16)), square[None].float() / 255)
    stream = io.BytesIO((tmp_path / "cats" / "0.png").read_bytes())
    assert np.array_equal(np.asarray(shown(Image.open(stream), 3)), ON_WHITE)


def test_boxes_and_masks_belong_to_the_image_as_it_is_shown_or_as_it_lies_in_its_file(tmp_path: Path) -> None:
    for part in ("train", "val"):
        folder = write_coco(tmp_path / "boxes", [annotation(1, 1, (0, 0, 5, 5))], part=part)
    masks = write_masks(tmp_path / "masks", {name: np.eye(10, 20) for name in "abcde"})
    stored, seen = np.zeros((10, 20, 3), dtype=np.uint8), np.zeros((20, 10, 3), dtype=np.uint8)
    stored[0, 0], seen[0, 0] = 255, 255
    for number, pixels in ((1, stored), (2, seen)):  # one is annotated as it lies there, one as it is shown
        image(pixels).save(folder / "train" / f"{number}.png", exif=with_turn(6))
    image(seen).save(masks / "images" / "train" / "a.jpg", exif=with_turn(6), quality=100, subsampling=0)
    images = load_images(f"coco:{folder}", task="detection", memory_limit=0).images
    assert isinstance(images, EncodedImages)
    assert [np.argwhere(np.asarray(images.open(row))[..., 0] > 0).tolist() for row in (0, 1)] == [[[0, 0]], [[0, 19]]]
    segmented = load_images(f"masks:{masks}", task="segmentation", memory_limit=0).images
    assert isinstance(segmented, EncodedImages)
    assert {segmented.size(index) for index in range(len(segmented))} == {(10, 20)}


def test_files_are_decoded_in_one_place() -> None:
    package = Path(nasvit.__file__).parent
    opening = [path for path in package.rglob("*.py") if "Image.open(" in path.read_text(encoding="utf-8")]
    found = sorted(str(path.relative_to(package)) for path in opening)
    # the last one writes code for others, the second one reads heads
    assert found == ["data/box_list.py", "data/encoded.py", "export/bundles/snippets.py"]
