"""Hugging Face data sets: memory-mapped and read row by row by the package ``datasets``."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nasvit.data.class_names import Classes, matched
from nasvit.data.listed import Listed, file_size
from nasvit.data.remarks import Remarks
from nasvit.data.roles import TESTS, the_one
from nasvit.data.stores import Indices, part_of

_TESTS_IN_FILES = ("test", "val", "validation")
_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "cls")
_SAVED = ("dataset_dict.json", "state.json")


class HubStore:
    """Images of a column of a data set.

    Args:
        rows: the data set.
        column: its column of images.
        source: what to call it before a user.
    """

    def __init__(self, rows: Any, column: str, source: str) -> None:
        self._rows = rows.select_columns([column]).cast_column(column, _datasets().Image(decode=False))
        self._column, self._source = column, source

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> bytes:
        """Return one image, from the data set or the file that it names; nothing for a row without an image."""
        cell = self._rows[index][self._column]
        if cell is None:
            return b""
        return Path(cell["path"]).read_bytes() if cell["bytes"] is None else bytes(cell["bytes"])

    def file(self, index: int) -> BinaryIO:
        """Return one image as a file, of which only what is asked for is copied out of the data set."""
        if self._rows._indices is not None:
            return io.BytesIO(self.read(index))
        cell = self._rows.data.column(self._column)[index]
        encoded = cell["bytes"].as_buffer() if cell.is_valid else None
        if encoded is None:
            return io.BytesIO(self.read(index))
        content = memoryview(encoded).cast("B")  # signed bytes, which cannot be copied into unsigned ones
        return part_of(len(content), lambda at, count: content[at : at + count])

    def name(self, index: int) -> str:
        """Return source and row."""
        return f"{self._source}, row {index}"


def list_hub(name: str, split: str, rule: Classes = "equal") -> Listed:
    """List one split of a Hugging Face data set.

    Args:
        name: its name on the hub or a folder, of parquet or other files or saved by ``save_to_disk``; behind a colon
            the configuration, where there are several.
        split: ``train`` or ``test``; a data set without a test split is listed as a whole.
        rule: whether all splits must have the same classes.

    Raises:
        ValueError: if there is no such data set, or it has no images and labels.
        ImportError: if ``datasets`` is not installed.
    """
    found = _open(name)
    note = f"Hugging Face data set {Path(name).name if Path(name).exists() else name}"
    if not hasattr(found, "keys"):
        return _listed(found, found, name, note, rule, has_test_split=False)
    training = the_one("train", found, f"data source 'hf:{name}'")
    tests = [each for role in TESTS if (each := the_one(role, found, f"data source 'hf:{name}'"))]
    if training is None and (tests or len(found) != 1):
        raise ValueError(f"data source 'hf:{name}': has no split train; it has {', '.join(found)}")
    train = found[training or next(iter(found))]
    rows = _first_labeled(found[each] for each in tests) if tests and split == "test" else train
    return _listed(rows, train, f"{name} {rows.split or ''}".strip(), note, rule, has_test_split=bool(tests))


def list_parquet(folder: Path, split: str, rule: Classes = "equal") -> Listed:
    """List one split of a folder of parquet files in the Hugging Face layout.

    Args:
        folder: a folder with ``train-*.parquet``, or with a folder in it that has them.
        split: ``train`` or ``test``.
        rule: whether all splits must have the same classes.

    Raises:
        ValueError: if it has no such split.
        ImportError: if ``datasets`` is not installed.
    """
    train = _parquet_rows(one_train_set(folder, "train-*.parquet"))
    rows, note = train, f"parquet {folder.name}"
    if split == "test":
        patterns = [f"{name}-*.parquet" for name in _TESTS_IN_FILES]
        parts = [found for pattern in patterns if (found := one_train_set(folder, pattern))]
        if not parts:
            raise ValueError(f"{folder}: no {' or '.join(patterns)} for the test split")
        rows = _first_labeled(map(_parquet_rows, parts))
    return _listed(rows, train, f"{folder} {split}", note, rule, has_test_split=True)


def one_train_set(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern in a folder or a folder in it.

    Raises:
        ValueError: if several folders have some.
    """
    # The Hugging Face layout keeps the files of a configuration in a folder of its own; there may be several.
    files = sorted(folder.glob(pattern)) or sorted(folder.glob(f"*/{pattern}"))
    parents = sorted({path.parent for path in files})
    if len(parents) > 1:
        raise ValueError(f"{folder}: parquet files in several folders; name one of {[str(path) for path in parents]}")
    return files


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            "reading parquet files and Hugging Face data sets needs datasets, which is not installed: "
            "pip install 'nasvit[data]'"
        ) from error
    return datasets


def _open(name: str) -> Any:
    datasets, config = _datasets(), None
    if not name:
        raise ValueError("data source 'hf:': names no data set; needed is hf:NAME_OR_FOLDER")
    if not Path(name).exists():
        name, _, config = name.rpartition(":") if ":" in name else (name, "", None)
    try:
        if any((Path(name) / each).is_file() for each in _SAVED):
            return datasets.load_from_disk(name)
        return datasets.load_dataset(name, config)
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(
            f"data source 'hf:{name}': cannot be opened ({error}); needed is the name of a data set or a folder, and "
            "where it has several configurations, hf:NAME:CONFIGURATION"
        ) from error


def _parquet_rows(files: Sequence[Path]) -> Any:
    return _datasets().load_dataset("parquet", data_files={"rows": [str(file) for file in files]}, split="rows")


def _first_labeled(parts: Iterable[Any]) -> Any:
    """Return the first part that has labels: public test splits often come without. If none has, the first."""
    opened = []
    for rows in parts:
        opened.append(rows)
        label = _column(rows.features, _datasets().ClassLabel, _LABEL_COLUMNS, "the test split")
        if _unlabeled(_values(rows, label)) < len(rows):
            return rows
    return opened[0]


def _unlabeled(labels: Any) -> int:
    """Return how many labels are missing; where they are numbers, -1 says so."""
    if np.issubdtype(labels.dtype, np.integer):
        return int((labels < 0).sum())
    return sum(each is None or each != each for each in labels.tolist())  # only what is no number differs from itself


def _listed(rows: Any, train: Any, source: str, note: str, rule: Classes, *, has_test_split: bool) -> Listed:
    datasets, remarks = _datasets(), Remarks()
    image = _column(rows.features, datasets.Image, _IMAGE_COLUMNS, source)
    label = _column(rows.features, datasets.ClassLabel, _LABEL_COLUMNS, source)
    labels = _values(rows, label)
    missing = _unlabeled(labels)
    if missing:
        raise ValueError(f"{source}: {missing} of {len(rows)} rows have no {label}; remove them")
    targets, classes = _targets(labels, rows, train, label, source, rule, remarks)
    if (targets < 0).any():
        kept = np.flatnonzero(targets >= 0)
        rows, targets = rows.select(kept), targets[kept]
    remarks.warn(source)
    store, mark, lengths = HubStore(rows, image, source), rows._fingerprint, _lengths(rows, image)
    return Listed(store, targets, classes, note, has_test_split, fingerprint=mark, lengths=lengths)


def _targets(
    labels: Any, rows: Any, train: Any, label: str, source: str, rule: Classes, remarks: Remarks
) -> tuple[Indices, tuple[str, ...]]:
    """Return the class index of every row by the classes of the training split, -1 of those it has not; and these."""
    names = getattr(rows.features[label], "names", None)
    if names:  # declared: there need not be an image of each
        declared = getattr(train.features.get(label), "names", None) or names
        numbers = np.arange(len(names)) if names == declared else matched(names, declared, source, rule, remarks)
        return numbers[labels.astype(np.int64)], tuple(declared)
    of_train = _values(train, label)
    if np.issubdtype(labels.dtype, np.integer):
        highest = max(int(labels.max()), int(of_train.max()))
        return labels.astype(np.int64), tuple(str(number) for number in range(highest + 1))
    expected, (found, places) = np.unique(of_train), np.unique(labels, return_inverse=True)
    classes, words = (tuple(str(each) for each in names) for names in (expected, found))
    added = not {*words} <= {*classes}  # there need not be an image of each
    return matched(words, classes, source, rule if added else "from train", remarks)[places], classes


def _lengths(rows: Any, column: str) -> Indices | None:
    """Return the bytes of every image, which the table knows without reading any; None: it does not tell."""
    cells = rows.data.column(column)
    if rows._indices is not None or len(cells) != len(rows) or not str(cells.type).startswith("struct<bytes: "):
        return None
    lengths = np.concatenate([np.zeros(0, dtype=np.int64), *map(_lengths_of_part, cells.chunks)])
    for row in np.flatnonzero(lengths < 0).tolist():  # images in files of their own
        lengths[row], _ = file_size((cells[row].as_py() or {}).get("path") or "")
    return lengths


def _lengths_of_part(cells: Any) -> Indices:
    encoded, _ = cells.flatten()
    kind = np.int64 if str(encoded.type).startswith("large") else np.int32
    ends = np.frombuffer(encoded.buffers()[1], dtype=kind)[encoded.offset : encoded.offset + len(encoded) + 1]
    missing = encoded.is_null().to_numpy(zero_copy_only=False)
    return np.where(missing, -1, np.diff(ends)).astype(np.int64)


def _column(features: Any, kind: type, names: Sequence[str], source: str) -> str:
    of_kind = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(of_kind) == 1:
        return of_kind[0]
    for name in names:
        if name in (of_kind or features):
            return name
    raise ValueError(
        f"{source}: no column {' or '.join(names)}; it has {', '.join(of_kind or features)}; needed are images with "
        "labels"
    )


def _values(rows: Any, column: str) -> Any:
    return np.asarray(rows.select_columns([column]).with_format("numpy")[:][column])
