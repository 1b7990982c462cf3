"""Sources: digits, torchvision, folders, tar files."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from nasvit.data import NO_AUGMENTATION, EncodedImages, Loader, Normalization, load_images
from nasvit.data.files import list_folder
from tests.nasvit.data.annotated_folders import write_masks
from tests.shared import SHARED, needs_shared

COLORS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def picture(color: str, size: tuple[int, int] = (6, 6)) -> Image.Image:
    return Image.new("RGB", size, COLORS[color])


def encoded(color: str, size: tuple[int, int] = (6, 6)) -> bytes:
    stream = io.BytesIO()
    picture(color, size).save(stream, format="PNG")
    return stream.getvalue()


def write_folder(folder: Path, count: int = 5, sizes: tuple[tuple[int, int], ...] = ((6, 6),)) -> Path:
    for color in COLORS:
        (folder / color).mkdir(parents=True)
        for index in range(count):
            (folder / color / f"{index}.png").write_bytes(encoded(color, sizes[index % len(sizes)]))
    return folder


def write_tar(path: Path, folder: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for entry in sorted(folder.iterdir()):
            archive.add(entry, arcname=entry.name)
    return path


def shows_its_class(image: torch.Tensor, name: str) -> bool:
    return tuple(int(value) for value in image[:, 3, 3]) == COLORS[name]


def test_digits_are_split_the_same_way_every_time_and_share_no_image() -> None:
    train, again, tested = load_images("digits"), load_images("digits"), load_images("digits", "test")
    assert (len(train), len(tested)) == (1438, 359)
    assert torch.equal(train.pixels, again.pixels) and torch.equal(train.targets, again.targets)
    whole = torch.cat([train.pixels, tested.pixels]).flatten(1).to(torch.int64)
    original = sorted(map(tuple, whole.tolist()))
    from sklearn.datasets import load_digits

    expected = np.rint(load_digits().images * (255 / 16)).astype(np.int64).reshape(1797, -1)
    assert original == sorted(map(tuple, expected.tolist()))


def test_digits_are_bytes_from_0_to_255_and_must_not_be_mirrored() -> None:
    digits = load_images("digits")
    assert digits.pixels.dtype == torch.uint8 and digits.pixels.shape[1:] == (1, 8, 8)
    assert int(digits.pixels.min()) == 0 and int(digits.pixels.max()) == 255
    assert not digits.mirror_safe


def test_digits_can_be_loaded_larger_and_with_three_channels() -> None:
    digits = load_images("digits", image_size=16, channels=3)
    assert digits.pixels.shape == (1438, 3, 16, 16)
    assert torch.equal(digits.pixels[:, 0], digits.pixels[:, 2])


def test_images_lie_in_memory_channels_last() -> None:
    assert load_images("digits", channels=3).pixels.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("test_name", ["val", "test", "validation"])
def test_a_folder_with_train_and_test_folders_is_read(tmp_path: Path, test_name: str) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / test_name, count=2)
    train, tested = load_images(tmp_path), load_images(tmp_path, "test")
    assert train.classes == tested.classes == ("blue", "green", "red")
    assert (len(train), len(tested)) == (15, 6)
    assert all(shows_its_class(image, train.classes[target]) for image, target in zip(train.pixels, train.targets))


def test_tar_files_give_what_the_folders_in_them_give(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", count=2)
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("train", "val"):
        write_tar(packed / f"{name}.tar", tmp_path / name)
    for split in ("train", "test"):
        tar, folder = load_images(packed, split), load_images(tmp_path, split)
        assert tar.classes == folder.classes
        assert torch.equal(tar.targets, folder.targets) and torch.equal(tar.pixels, folder.pixels)


def test_classes_of_a_tar_file_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, color in {"10": "red", "9": "green", "a": "blue"}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        for index in range(5):
            (tmp_path / "in" / name / f"{index}.png").write_bytes(encoded(color))
    images = load_images(write_tar(tmp_path / "all.tar", tmp_path / "in"))
    assert images.classes == ("10", "9", "a")
    shown = {"10": "red", "9": "green", "a": "blue"}
    assert all(
        shows_its_class(image, shown[images.classes[target]]) for image, target in zip(images.pixels, images.targets)
    )


def test_a_folder_without_splits_gives_a_fifth_for_testing(tmp_path: Path) -> None:
    write_folder(tmp_path / "all", count=10)
    train, tested = load_images(tmp_path / "all"), load_images(tmp_path / "all", "test")
    assert torch.bincount(train.targets).tolist() == [8, 8, 8]
    assert torch.bincount(tested.targets).tolist() == [2, 2, 2]
    assert "6 of 30 images held out" in tested.note


def test_images_of_different_sizes_stay_encoded_until_a_size_is_given(tmp_path: Path) -> None:
    write_folder(tmp_path / "all", sizes=((6, 6), (8, 12)))
    assert isinstance(load_images(tmp_path / "all").images, EncodedImages)
    assert load_images(tmp_path / "all", image_size=5).pixels.shape == (12, 3, 5, 5)


def test_a_size_that_differs_late_is_noticed_too(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=40)
    (folder / "red" / "9.png").write_bytes(encoded("red", (7, 7)))
    assert isinstance(load_images(folder).images, EncodedImages)


def test_a_set_beyond_the_memory_limit_stays_encoded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all")
    assert isinstance(load_images(folder, memory_limit=12 * 6 * 6 * 3).images, EncodedImages)  # 15 images do not fit.
    assert load_images(folder, memory_limit=15 * 6 * 6 * 3).image_size == (6, 6)


def test_one_channel_makes_images_gray(tmp_path: Path) -> None:
    gray = load_images(write_folder(tmp_path / "all"), channels=1)
    assert gray.channels == 1 and gray.pixels.shape[1] == 1


def test_test_classes_other_than_the_train_classes_are_refused_by_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val")
    (tmp_path / "val" / "red").rename(tmp_path / "val" / "rot")
    with pytest.raises(ValueError, match="no image of red, and has images of rot, which .*classes: from train"):
        load_images(tmp_path, "test")


def test_a_train_folder_alone_is_refused_in_words(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    with pytest.raises(ValueError, match="none of test, val, validation"):
        load_images(tmp_path, "test")


def test_a_path_may_have_the_home_of_the_user_and_variables_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    folder = write_folder(tmp_path / "photos")
    write_tar(tmp_path / "photos.tar", folder)
    expected = load_images(folder).pixels
    for source in ("~/photos", "~/photos.tar", "~/photo*.tar", "$PLACE/photos", "${PLACE}/photos.tar"):
        assert torch.equal(load_images(source).pixels, expected)
    with pytest.raises(ValueError, match="no such folder or tar file.*; the environment variable NOWHERE is not set"):
        load_images("$NOWHERE/photos")
    masks = write_masks(tmp_path / "masks", dict.fromkeys("abcde", [[0, 1]]))
    assert len(load_images(f"masks:~/{masks.name}", task="segmentation")) == 4


def test_a_folder_without_images_is_refused_with_the_legal_layouts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train-\*\.parquet"):
        load_images(tmp_path)


def test_an_unknown_source_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(ValueError, match="'digits', 'torchvision:<class>', 'hf:<name or folder>' and the path of"):
        load_images("digitz")


def test_a_validation_split_cannot_be_loaded_because_it_is_held_out_of_train() -> None:
    with pytest.raises(ValueError, match="held out of 'train'"):
        load_images("digits", "validation")  # type: ignore[arg-type]


def write_idx(folder: Path, name: str, array: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())


def test_a_torchvision_data_set_is_read_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = tmp_path / "FashionMNIST" / "raw"
    for prefix, count in (("train", 30), ("t10k", 10)):
        write_idx(raw, f"{prefix}-images-idx3-ubyte", rng.integers(256, size=(count, 28, 28)))
        write_idx(raw, f"{prefix}-labels-idx1-ubyte", np.arange(count) % 10)
    train = load_images("torchvision:FashionMNIST", root=tmp_path)
    tested = load_images("torchvision:FashionMNIST", "test", root=tmp_path)
    assert train.pixels.shape == (30, 1, 28, 28) and len(tested) == 10
    assert train.classes[0] == "T-shirt/top" and train.mirror_safe
    assert not torch.equal(train.pixels[:10], tested.pixels)


class Shades(torchvision.datasets.VisionDataset):
    """Twenty images of a class each of two, as a data set that knows nothing of splits."""

    classes = ("dark", "light")

    def __init__(self, root: str) -> None:
        super().__init__(root)

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (4, 4), (10 * index,) * 3), index // 10


class SplitShades(Shades):
    """The same with a test split of its own, which is half as large."""

    def __init__(self, root: str, split: str = "train") -> None:
        super().__init__(root)
        self.split = split

    def __len__(self) -> int:
        return {"train": 20, "test": 10}[self.split]


def test_what_does_not_fit_in_memory_at_its_size_is_brought_to_it_image_by_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torchvision.datasets, "Shades", Shades, raising=False)
    stored = Normalization((0.0,) * 3, (1.0,) * 3, "nothing")
    for source in ("digits", "torchvision:Shades"):
        whole = load_images(source, image_size=20, root=tmp_path, channels=3)
        parts = load_images(source, image_size=20, root=tmp_path, channels=3, memory_limit=1000)
        assert isinstance(parts.images, EncodedImages)
        loaders = [
            Loader(images, batch_size=8, augmentation=NO_AUGMENTATION, normalization=stored, image_size=20)
            for images in (whole, parts)
        ]
        assert torch.equal(*(loader.batch(0, 0)[0] for loader in loaders))
        assert parts.images.name(0).endswith(f" of {source}")


def test_a_torchvision_data_set_without_a_test_split_gives_a_fifth_for_testing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torchvision.datasets, "Shades", Shades, raising=False)
    train, tested = (load_images("torchvision:Shades", split, root=tmp_path) for split in ("train", "test"))
    assert (len(train), len(tested)) == (16, 4)
    assert not set(train.pixels[:, 0, 0, 0].tolist()) & set(tested.pixels[:, 0, 0, 0].tolist())


def test_a_torchvision_data_set_of_different_sizes_needs_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Sizes(Shades):
        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new("RGB", (4 + index % 2, 4)), index // 10

    monkeypatch.setattr(torchvision.datasets, "Sizes", Sizes, raising=False)
    with pytest.raises(ValueError, match="its images differ in size; give image_size"):
        load_images("torchvision:Sizes", root=tmp_path)
    assert load_images("torchvision:Sizes", image_size=4, root=tmp_path).pixels.shape == (16, 3, 4, 4)


def test_a_torchvision_data_set_with_a_test_split_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torchvision.datasets, "SplitShades", SplitShades, raising=False)
    train, tested = (load_images("torchvision:SplitShades", split, root=tmp_path) for split in ("train", "test"))
    assert (len(train), len(tested)) == (20, 10)


def test_a_missing_torchvision_data_set_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"could not open CIFAR10 under .* download"):
        load_images("torchvision:CIFAR10", root=tmp_path)


@pytest.mark.parametrize("name", ["CIFAR11", "ImageFolders", "utils"])
def test_an_unknown_torchvision_data_set_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"no data set '{name}'"):
        load_images(f"torchvision:{name}")


@needs_shared
def test_the_shared_caltech_tar_is_read_at_a_given_size() -> None:
    images = load_images(SHARED / "data" / "caltech101_144px", "test", image_size=24)
    assert images.pixels.shape == (2893, 3, 24, 24) and len(images.classes) == 101


def test_folders_are_listed_in_the_order_of_torchvision(tmp_path: Path) -> None:
    for name in ("b/1.png", "b/x/2.PNG", "b/x y/3.jpg", "b/x-1/4.jpeg", "B/z.bmp", "B/a.webp", "é/1.png", "b/10.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture("red", (4, 4 + len(name) % 2)).save(path)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    expected = torchvision.datasets.ImageFolder(str(tmp_path))
    listed = list_folder(tmp_path, "train")
    assert [listed.store.name(index) for index in range(len(listed.store))] == [path for path, _ in expected.samples]
    assert listed.targets.tolist() == expected.targets and list(listed.classes) == expected.classes


def test_hidden_files_and_folders_are_no_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=5)
    for name in ("red/._0.png", "red/.hidden.png", ".git/1.png", "red/.thumbs/1.png", ".DS_Store"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"?")
    images = load_images(folder)
    assert images.classes == ("blue", "green", "red") and len(images) == 12


def test_a_class_without_images_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all")
    (folder / "yellow").mkdir()
    (folder / "yellow" / "notes.txt").write_text("soon")
    with pytest.raises(ValueError, match="no image for the classes yellow"):
        load_images(folder)


def test_choosing_from_encoded_images_shares_what_reads_them(tmp_path: Path) -> None:
    images = load_images(write_folder(tmp_path / "all"), memory_limit=0)
    chosen = images.subset(np.array([7, 2])).subset(np.array([1]))
    assert isinstance(images.images, EncodedImages) and isinstance(chosen.images, EncodedImages)
    assert chosen.images.store is images.images.store
    assert chosen.open(0).tobytes() == images.open(2).tobytes() and chosen.targets[0] == images.targets[2]
