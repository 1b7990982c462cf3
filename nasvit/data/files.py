"""Labeled images in files: folders of class folders, tar files of these, and parquet files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm.data.readers.reader_image_in_tar import ReaderImageInTar
from torchvision.datasets import ImageFolder

_TEST_NAMES = ("test", "val", "validation")  # Where there are several, the first is the test split.
_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "labels", "fine_label")


@dataclass(frozen=True)
class Labeled:
    """Encoded images with their labels, as read from files.

    Args:
        items: path or bytes of every image.
        targets: class index of every image.
        classes: name of every class index.
        note: description of the source.
        has_test_split: whether the source has a test split of its own, so that these images are one split only.
    """

    items: tuple[Path | bytes, ...]
    targets: tuple[int, ...]
    classes: tuple[str, ...]
    note: str
    has_test_split: bool


def read_folder(folder: Path, split: str) -> Labeled:
    """Read one split of a folder, whatever its layout (``nasvit.data.load_images`` lists the layouts).

    Args:
        folder: an existing folder.
        split: ``train`` or ``test``; a folder without splits is read as a whole.

    Raises:
        ValueError: if the folder has no known layout, the split is missing, or its classes are not those of ``train``.
    """
    if _one_train_set(folder, "train-*.parquet"):
        return _read_parquet_split(folder, split)
    train = [path for path in (folder / "train", folder / "train.tar") if path.exists()]
    if not train:
        return _read_class_folders(folder, has_test_split=False)
    tests = [path for name in _TEST_NAMES for path in (folder / name, folder / f"{name}.tar") if path.exists()]
    if not tests:
        raise ValueError(
            f"{folder}: there is {train[0].name} but none of {', '.join(_TEST_NAMES)} (folder or .tar) beside it"
        )
    labeled = _read_part(train[0] if split == "train" else tests[0])
    expected = labeled.classes if split == "train" else _classes(train[0])
    if labeled.classes != expected:
        raise ValueError(
            f"{tests[0]} does not have the classes of {train[0]}: "
            f"different are {sorted(set(labeled.classes) ^ set(expected))}"
        )
    return labeled


def read_tar(path: Path, *, has_test_split: bool = False) -> Labeled:
    """Read a tar file of one folder per class.

    Args:
        path: the tar file. Its images are kept in memory, still encoded.
        has_test_split: whether the file is one split of a source with both.
    """
    reader = ReaderImageInTar(str(path))
    # timm numbers classes in natural order; every other reader here in the order of sorted().
    classes = tuple(sorted(reader.class_name_to_idx))
    number = {reader.class_name_to_idx[name]: index for index, name in enumerate(classes)}
    items, targets = [], []
    for index in range(len(reader)):
        stream, target = reader[index]
        items.append(stream.read())
        targets.append(number[target])
    return Labeled(tuple(items), tuple(targets), classes, f"tar file {path.name}", has_test_split)


def _read_part(path: Path) -> Labeled:
    if path.suffix == ".tar":
        return read_tar(path, has_test_split=True)
    return _read_class_folders(path, has_test_split=True)


def _classes(path: Path) -> tuple[str, ...]:
    if path.suffix == ".tar":
        return tuple(sorted(ReaderImageInTar(str(path)).class_name_to_idx))
    return tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir()))


def _read_class_folders(folder: Path, *, has_test_split: bool) -> Labeled:
    try:
        found = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder}: not one folder of images per class ({error}); nor has it train and test folders, train.tar and "
            "test.tar, or train-*.parquet and test-*.parquet"
        ) from error
    items = tuple(Path(path) for path, _ in found.samples)
    targets = tuple(target for _, target in found.samples)
    return Labeled(items, targets, tuple(found.classes), f"image folder {folder.name}", has_test_split)


def _one_train_set(folder: Path, pattern: str) -> list[Path]:
    # The Hugging Face layout keeps the files of a configuration in a folder of its own; there may be several.
    files = sorted(folder.glob(pattern)) or sorted(folder.glob(f"*/{pattern}"))
    parents = sorted({path.parent for path in files})
    if len(parents) > 1:
        raise ValueError(f"{folder}: parquet files in several folders; name one of {[str(path) for path in parents]}")
    return files


def _read_parquet_split(folder: Path, split: str) -> Labeled:
    patterns = ("train-*.parquet",) if split == "train" else tuple(f"{name}-*.parquet" for name in _TEST_NAMES)
    files = next((found for pattern in patterns if (found := _one_train_set(folder, pattern))), None)
    if files is None:
        raise ValueError(f"{folder}: no {' or '.join(patterns)} for the {split} split")
    parquet = _pyarrow_parquet()
    tables = [parquet.read_table(file) for file in files]
    image_column = _column(tables[0].column_names, _IMAGE_COLUMNS, files[0])
    label_column = _column(tables[0].column_names, _LABEL_COLUMNS, files[0])
    items = tuple(cell["bytes"] for table in tables for cell in table.column(image_column).to_pylist())
    targets = tuple(int(cell) for table in tables for cell in table.column(label_column).to_pylist())
    classes = _class_names(tables[0].schema.metadata, label_column, targets)
    return Labeled(items, targets, classes, f"parquet {folder.name}", has_test_split=True)


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "reading parquet files needs pyarrow, which is not installed: pip install 'nasvit[data]'"
        ) from error
    return pyarrow.parquet


def _column(present: list[str], legal: tuple[str, ...], file: Path) -> str:
    for name in legal:
        if name in present:
            return name
    raise ValueError(f"{file}: no column {' or '.join(legal)}; it has {', '.join(present)}")


def _class_names(metadata: dict[bytes, bytes] | None, column: str, targets: tuple[int, ...]) -> tuple[str, ...]:
    described = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    names = described.get("info", {}).get("features", {}).get(column, {}).get("names")
    return tuple(names) if names else tuple(str(index) for index in range(max(targets) + 1))
