"""Hugging Face data sets: memory-mapped and read row by row by the package ``datasets``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasvit.data.listed import TEST_NAMES, Listed, file_size
from nasvit.data.stores import Indices

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

    def name(self, index: int) -> str:
        """Return source and row."""
        return f"{self._source}, row {index}"


def list_hub(name: str, split: str) -> Listed:
    """List one split of a Hugging Face data set.

    Args:
        name: its name on the hub or a folder, of parquet or other files or saved by ``save_to_disk``; behind a colon
            the configuration, where there are several.
        split: ``train`` or ``test``; a data set without a test split is listed as a whole.

    Raises:
        ValueError: if there is no such data set, or it has no images and labels.
        ImportError: if ``datasets`` is not installed.
    """
    found = _open(name)
    note = f"Hugging Face data set {Path(name).name if Path(name).exists() else name}"
    if not hasattr(found, "keys"):
        return _listed(found, found, name, note, has_test_split=False)
    tests = [each for each in TEST_NAMES if each in found]
    if "train" not in found and (tests or len(found) != 1):
        raise ValueError(f"data source 'hf:{name}': has no split train; it has {', '.join(found)}")
    train = found["train"] if "train" in found else next(iter(found.values()))
    rows = _first_labeled(found[each] for each in tests) if tests and split == "test" else train
    return _listed(rows, train, f"{name} {rows.split or ''}".strip(), note, has_test_split=bool(tests))


def list_parquet(folder: Path, split: str) -> Listed:
    """List one split of a folder of parquet files in the Hugging Face layout.

    Args:
        folder: a folder with ``train-*.parquet``, or with a folder in it that has them.
        split: ``train`` or ``test``.

    Raises:
        ValueError: if it has no such split.
        ImportError: if ``datasets`` is not installed.
    """
    train = _parquet_rows(one_train_set(folder, "train-*.parquet"))
    rows, note = train, f"parquet {folder.name}"
    if split == "test":
        patterns = [f"{name}-*.parquet" for name in TEST_NAMES]
        parts = [found for pattern in patterns if (found := one_train_set(folder, pattern))]
        if not parts:
            raise ValueError(f"{folder}: no {' or '.join(patterns)} for the test split")
        rows = _first_labeled(map(_parquet_rows, parts))
    return _listed(rows, train, f"{folder} {split}", note, has_test_split=True)


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


def _listed(rows: Any, train: Any, source: str, note: str, *, has_test_split: bool) -> Listed:
    datasets = _datasets()
    image = _column(rows.features, datasets.Image, _IMAGE_COLUMNS, source)
    label = _column(rows.features, datasets.ClassLabel, _LABEL_COLUMNS, source)
    labels, names = _values(rows, label), getattr(rows.features[label], "names", None)
    missing = _unlabeled(labels)
    if missing:
        raise ValueError(f"{source}: {missing} of {len(rows)} rows have no {label}; remove them")
    store, mark = HubStore(rows, image, source), rows._fingerprint
    targets, classes = (labels, names) if names else _numbered(labels, _values(train, label), source)
    lengths = _lengths(rows, image)
    return Listed(
        store, targets.astype(np.int64), tuple(classes), note, has_test_split, fingerprint=mark, lengths=lengths
    )


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


def _numbered(labels: Any, of_train: Any, source: str) -> tuple[Indices, tuple[str, ...]]:
    """Return targets and class names of labels that are numbers or words; both splits get the same classes."""
    if np.issubdtype(labels.dtype, np.integer):
        highest = max(int(labels.max()), int(of_train.max()))
        return labels.astype(np.int64), tuple(str(number) for number in range(highest + 1))
    known = np.unique(of_train)
    targets = np.searchsorted(known, labels).clip(max=len(known) - 1)
    if (known[targets] != labels).any():
        raise ValueError(f"{source}: has classes that the training images have not")
    return targets.astype(np.int64), tuple(str(name) for name in known)
