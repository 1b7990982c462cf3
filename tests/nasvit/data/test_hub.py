"""Hugging Face data sets: parquet files, saved folders, folders of files."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from nasvit.data import BadImageError, EncodedImages, Loader, Normalization, load_images
from nasvit.data.hub import list_hub
from nasvit.data.identity import Told, differences
from nasvit.files.records import read_json
from tests.nasvit.data.test_sources import COLORS, encoded, shows_its_class, write_folder
from tests.shared import SHARED, needs_shared

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the package makes of files out of the user's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write_parquet(folder: Path, split: str, colors: list[str], *, named: bool = True, image: str = "img") -> None:
    import pyarrow
    from pyarrow import parquet

    cells = [{"bytes": encoded(color), "path": f"{index}.png"} for index, color in enumerate(colors)]
    labels = [sorted(COLORS).index(color) for color in colors]
    table = pyarrow.table({image: cells, "label": pyarrow.array(labels, pyarrow.int64())})
    if named:
        features = {"info": {"features": {"label": {"names": sorted(COLORS), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


@pytest.mark.parametrize("below", ["", "plain_text"])
@pytest.mark.parametrize("image", ["img", "image"])
def test_parquet_files_in_the_hugging_face_layout_are_read(tmp_path: Path, below: str, image: str) -> None:
    write_parquet(tmp_path / below, "train", ["red", "blue", "green", "red"], image=image)
    write_parquet(tmp_path / below, "test", ["green"], image=image)
    train, tested = load_images(tmp_path), load_images(tmp_path, "test")
    assert train.classes == ("blue", "green", "red")
    assert train.targets.tolist() == [2, 0, 1, 2] and tested.targets.tolist() == [1]
    assert all(shows_its_class(image, train.classes[target]) for image, target in zip(train.pixels, train.targets))


def test_parts_of_rows_are_read_as_a_file(tmp_path: Path) -> None:
    write_parquet(tmp_path, "train", ["red", "blue"])
    store = list_hub(str(tmp_path), "train").store
    with store.file(1) as file:
        content = file.read(3)
        file.seek(-3, os.SEEK_END)
        assert (content, file.read()) == (encoded("blue")[:3], encoded("blue")[-3:])
    images = load_images(tmp_path, memory_limit=0, image_size=4)
    assert isinstance(images.images, EncodedImages)
    assert len(images) == 2


def test_parquet_files_without_class_names_get_numbers(tmp_path: Path) -> None:
    write_parquet(tmp_path, "train", ["red", "blue"], named=False)
    assert load_images(tmp_path).classes == ("0", "1", "2")


def test_parquet_files_without_the_split_are_refused_in_words(tmp_path: Path) -> None:
    write_parquet(tmp_path, "train", ["red"])
    with pytest.raises(ValueError, match=r"no test-\*\.parquet"):
        load_images(tmp_path, "test")


def test_several_configurations_of_parquet_files_must_be_chosen_from(tmp_path: Path) -> None:
    write_parquet(tmp_path / "one", "train", ["red"])
    write_parquet(tmp_path / "two", "train", ["red"])
    with pytest.raises(ValueError, match="name one of"):
        load_images(tmp_path)
    write_parquet(tmp_path / "one", "test", ["red"])
    assert len(load_images(tmp_path / "one")) == 1


def test_without_datasets_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path, "train", ["red"])
    monkeypatch.setitem(sys.modules, "datasets", None)
    for source in (str(tmp_path), "hf:cifar10"):
        with pytest.raises(ImportError, match=r"pip install 'nasvit\[data\]'"):
            load_images(source)


def colored(colors: list[str], features: object = None, *, image: str = "picture", label: str = "kind") -> object:
    cells = [{"bytes": encoded(color), "path": None} for color in colors]
    kinds = features or datasets.Features(
        {image: datasets.Image(), "index": datasets.Value("int64"), label: datasets.ClassLabel(names=sorted(COLORS))}
    )
    numbers = [sorted(COLORS).index(color) for color in colors]
    rows = {image: cells, "index": list(range(len(colors))), label: numbers}
    return datasets.Dataset.from_dict(rows, features=kinds)


MANY = ["red", "blue", "green"] * 10


def test_a_saved_data_set_is_read_by_the_kinds_of_its_columns(tmp_path: Path) -> None:
    parts = {"train": colored(MANY), "validation": colored(MANY[:6]), "other": colored(MANY[:3])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    train, tested = (load_images(f"hf:{tmp_path / 'saved'}", split) for split in ("train", "test"))
    assert (len(train), len(tested)) == (30, 6) and train.classes == tuple(sorted(COLORS))
    assert all(shows_its_class(image, train.classes[target]) for image, target in zip(train.pixels, train.targets))
    assert train.note == "Hugging Face data set saved"


def test_a_saved_data_set_without_splits_gives_a_fifth_for_testing(tmp_path: Path) -> None:
    colored(MANY).save_to_disk(tmp_path / "saved")  # type: ignore[attr-defined]
    train, tested = (load_images(f"hf:{tmp_path / 'saved'}", split) for split in ("train", "test"))
    assert torch.bincount(train.targets).tolist() == [8, 8, 8] and torch.bincount(tested.targets).tolist() == [2, 2, 2]


def test_rows_that_changed_are_noticed(tmp_path: Path) -> None:
    def told(name: str, colors: list[str]) -> Told:
        colored(colors).save_to_disk(tmp_path / name)  # type: ignore[attr-defined]
        identity = load_images(f"hf:{tmp_path / name}").identity
        assert identity is not None
        return identity.told()

    before = told("one", MANY)
    assert before["images"]["red"][:2] == [10, 10 * len(encoded("red"))]
    assert differences(before, told("two", MANY)) == []
    assert differences(before, told("three", ["green", *MANY[1:]])) == [
        "class 'green' has 11 images, before 10",
        "class 'red' has 9 images, before 10",
    ]


def test_a_data_set_without_training_images_is_refused_with_the_splits_it_has(tmp_path: Path) -> None:
    parts = {"test": colored(MANY), "extra": colored(MANY)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="no split train; it has test, extra"):
        load_images(f"hf:{tmp_path / 'saved'}")


def test_a_folder_is_read_as_the_package_reads_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "test", count=2)
    for split, count in (("train", 15), ("test", 6)):
        images = load_images(f"hf:{tmp_path}", split)  # type: ignore[arg-type]
        assert len(images) == count and images.classes == ("blue", "green", "red")
        assert all(shows_its_class(each, images.classes[target]) for each, target in zip(images.pixels, images.targets))


def test_an_unknown_data_set_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, config: str | None) -> None:
        raise ValueError(f"{name} {config} is unknown")

    monkeypatch.setattr(datasets, "load_dataset", missing)
    with pytest.raises(ValueError, match="'hf:some/name': cannot be opened .some/name fine is unknown.*hf:NAME:CONFIG"):
        load_images("hf:some/name:fine")
    with pytest.raises(ValueError, match="some/name None is unknown"):
        load_images("hf:some/name")


def test_labels_may_be_words_and_both_splits_get_the_same_classes(tmp_path: Path) -> None:
    kinds = {"image": datasets.Image(), "label": datasets.Value("string")}
    for split, colors in (("train", ["red", "blue", "green"]), ("test", ["red", "green"])):
        cells = [{"bytes": encoded(color), "path": None} for color in colors]
        rows = datasets.Dataset.from_dict({"image": cells, "label": colors}, features=datasets.Features(kinds))
        rows.to_parquet(tmp_path / f"{split}-0.parquet")
    train, tested = (load_images(tmp_path, split) for split in ("train", "test"))
    assert train.classes == tested.classes == ("blue", "green", "red")
    assert train.targets.tolist() == [2, 0, 1] and tested.targets.tolist() == [2, 1]


def test_of_several_labels_the_one_with_a_usual_name_is_taken(tmp_path: Path) -> None:
    def saved(folder: Path, *names: str) -> str:
        kinds = {name: datasets.ClassLabel(names=[f"{name} {number}" for number in range(3)]) for name in names}
        cells = [{"bytes": encoded("red"), "path": None}] * 10
        rows = {"label": list(range(10)), "image": cells, **{name: [1, 2] * 5 for name in names}}
        features = datasets.Features({"label": datasets.Value("int64"), "image": datasets.Image(), **kinds})
        datasets.Dataset.from_dict(rows, features=features).save_to_disk(folder)
        return f"hf:{folder}"

    images = load_images(saved(tmp_path / "usual", "coarse_label", "fine_label"))
    assert images.classes[1] == "fine_label 1"
    with pytest.raises(ValueError, match="no column label.*; it has color, shape"):
        load_images(saved(tmp_path / "unusual", "color", "shape"))


def test_a_data_set_without_labels_is_refused_with_the_columns_it_has(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"image": [{"bytes": encoded("red"), "path": None}], "caption": ["a"]})
    rows.save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="no column label or labels or fine_label or cls; it has image, caption"):
        load_images(f"hf:{tmp_path / 'saved'}")


def test_rows_are_read_one_by_one_in_workers_too_and_survive_being_sent(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": colored(MANY), "test": colored(MANY[:6])}).save_to_disk(tmp_path / "saved")
    images = load_images(f"hf:{tmp_path / 'saved'}", memory_limit=0)
    assert isinstance(images.images, EncodedImages)
    normalization = Normalization((0.0,) * 3, (1 / 255,) * 3, "nothing")
    loader = Loader(images, batch_size=5, normalization=normalization, image_size=6, workers=2)
    served = torch.cat([pixels for pixels, _ in loader.evaluation_batches()]).round().int()
    assert all(shows_its_class(image, images.classes[target]) for image, target in zip(served, images.targets))
    sent = pickle.loads(pickle.dumps(images.images))
    assert sent.open(4).tobytes() == images.images.open(4).tobytes()


def unlabeled(count: int = 3) -> object:
    rows = colored(MANY[:count])
    return rows.map(lambda row: {"kind": -1})  # type: ignore[attr-defined]


def test_a_test_split_without_labels_is_passed_over(tmp_path: Path) -> None:
    parts = {"train": colored(MANY), "test": unlabeled(), "validation": colored(MANY[:6])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    for split, rows in parts.items():
        (tmp_path / "parquet").mkdir(exist_ok=True)
        rows.to_parquet(tmp_path / "parquet" / f"{split}-0.parquet")  # type: ignore[attr-defined]
    for source in (f"hf:{tmp_path / 'saved'}", str(tmp_path / "parquet")):
        assert load_images(source, "test").targets.tolist() == [2, 0, 1, 2, 0, 1]


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    kinds = {"image": datasets.Image(), "label": datasets.Value("int64")}
    rows = {"image": [{"bytes": encoded("red"), "path": None}] * 3, "label": [0, None, 1]}
    datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).save_to_disk(tmp_path / "none")
    unlabeled().save_to_disk(tmp_path / "negative")  # type: ignore[attr-defined]
    for name, message in (("none", "1 of 3 rows have no label"), ("negative", "3 of 3 rows have no kind")):
        with pytest.raises(ValueError, match=message):
            load_images(f"hf:{tmp_path / name}")


def test_a_row_without_an_image_is_a_bad_image(tmp_path: Path) -> None:
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    rows = {"image": [None, *[{"bytes": encoded("red"), "path": None}] * 19], "label": [0, 1] * 10}
    datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).save_to_disk(tmp_path / "saved")
    with pytest.raises(BadImageError, match="saved, row 0: it is empty"):
        load_images(f"hf:{tmp_path / 'saved'}")


def test_what_is_bad_in_a_data_set_is_remembered_until_its_rows_change(tmp_path: Path) -> None:
    def count(rows: object) -> int:
        datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "saved")
        load_images(f"hf:{tmp_path / 'saved'}", memory_limit=0, on_bad_image="skip", record=tmp_path / "bad.json")
        return len(read_json(tmp_path / "bad.json"))

    assert [count(rows) for rows in (colored(MANY), colored(MANY), colored(MANY[:6]))] == [1, 1, 2]


def test_a_source_without_a_name_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="'hf:': names no data set; needed is hf:NAME_OR_FOLDER"):
        load_images("hf:")


@needs_shared
def test_the_shared_cifar10_is_read_with_its_class_names() -> None:
    images = load_images(SHARED / "data" / "cifar10", "test")
    assert images.pixels.shape == (10_000, 3, 32, 32)
    assert images.classes[:3] == ("airplane", "automobile", "bird")
    assert torch.bincount(images.targets).tolist() == [1000] * 10
