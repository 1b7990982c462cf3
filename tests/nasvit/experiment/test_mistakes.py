"""Mistakes in a file are found before anything is trained and before the folder of the results belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from nasvit.data import BadImageError
from nasvit.experiment.fit import fit
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.training import FitConfig
from tests.nasvit.experiment.tiny import write_experiment

FIT = """\
network: micro8:smallest
data: {source: digits, padding: 1}
recipe: {optimizer: adamw, learning_rate: 1e-3, epochs: 1, batch_size: 32}
images: 200
threads: 1
program: false
"""
RECIPE = "optimizer: adamw, learning_rate: 1e-3, epochs: 1"


def pictures(folder: Path, parts: tuple[str, ...] = ("train", "val"), wide: int = 8) -> Path:
    """Write ten images of each of two classes, every second one ``wide`` pixels wide and 8 high."""
    for part in parts:
        for label, color in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
            (folder / part / label).mkdir(parents=True)
            for number in range(10):
                color = (color[0], 9 * number, color[2])
                Image.new("RGB", (wide if number % 2 else 8, 8), color).save(folder / part / label / f"{number}.png")
    return folder


def no_classes(folder: Path) -> str:
    (folder / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "flat" / "0.png")
    return f"source: {folder / 'flat'}"


def no_test_split(folder: Path) -> str:
    return f"source: {pictures(folder / 'only', parts=('train',))}"


def empty_test_split(folder: Path) -> str:
    pictures(folder / "half", parts=("train",))
    (folder / "half" / "val").mkdir()
    return f"source: {folder / 'half'}"


def several_sizes(folder: Path) -> str:
    return f"source: {pictures(folder / 'sizes', wide=12)}"


def no_image(folder: Path) -> str:
    (pictures(folder / "broken", wide=12) / "train" / "red" / "3.png").write_text("nothing")
    return f"source: {folder / 'broken'}, image_size: 8, crop_pct: 0.9"


DATA: dict[str, tuple[Callable[[Path], str] | str, str]] = {
    "a mistyped path": ("source: path/to/images", "data source 'path/to/images': no such folder"),
    "no classes": (no_classes, "there is no class folder with images in it"),
    "no test split": (no_test_split, "there is train but none of test, val, validation"),
    "an empty test split": (empty_test_split, "there is no class folder with images in it"),
    "images of several sizes": (several_sizes, "differ in size or do not fit in memory; give the image_size"),
    "what is no image": (no_image, "3.png: it is no image of a known format"),
    "digits that are mirrored": ("source: digits, mirror: true", "set mirror to false"),
    "too much padding": ("source: digits, padding: 8", "padding 8: would cut .* 8x8 pixels away; legal: 0 to 7"),
    "padding below 0": ("source: digits, padding: -1", r"data\.padding: -1 is illegal; legal: whole numbers from 0"),
    "no validation": ("source: digits, validation: 0", r"data\.validation: 0\.0 is illegal; legal: numbers above 0"),
    "an image size below 1": (
        "source: digits, image_size: 0",
        r"data\.image_size: 0 is illegal; legal: whole numbers from 1",
    ),
    "no data set of torchvision": ("source: torchvision:CIFAR11", "has no data set 'CIFAR11'"),
}


def data_line(mistake: Callable[[Path], str] | str, folder: Path) -> str:
    text = mistake if isinstance(mistake, str) else mistake(folder)
    return "data: {" + (text if "validation" in text else f"{text}, validation: 0.4") + "}"


@pytest.mark.parametrize(("mistake", "words"), DATA.values(), ids=DATA)
def test_bad_data_claim_no_folder_of_an_experiment(
    mistake: Callable[[Path], str] | str, words: str, tmp_path: Path
) -> None:
    refused_and_free(
        tmp_path, words, data=data_line(mistake, tmp_path), finetune=f"finetune: {{{RECIPE}, batch_size: 4}}"
    )


@pytest.mark.parametrize(("mistake", "words"), DATA.values(), ids=DATA)
def test_bad_data_claim_no_folder_of_a_training(
    mistake: Callable[[Path], str] | str, words: str, tmp_path: Path
) -> None:
    source = data_line(mistake, tmp_path)
    text = FIT.replace("data: {source: digits, padding: 1}", source).replace("batch_size: 32", "batch_size: 4")
    if "digits" not in source:
        text = text.replace("micro8:smallest", "tinymbv2@32").replace("images: 200\n", "")
    refused_by_fit(tmp_path, words, text)


EXPERIMENTS = {
    "a teacher of nobody": (
        {"finetune": f"finetune: {{teacher: nowhere, {RECIPE}, batch_size: 4}}"},
        "teacher: 'nowhere'",
    ),
    "a teacher of the supernet": ({"evaluate_every": "  teacher: nowhere"}, "teacher: 'nowhere'"),
    "a fine-tuning of large batches": (
        {"finetune": f"finetune: {{{RECIPE}, batch_size: 9999}}"},
        "finetune: batch_size 9999 is more than the 575 training images",
    ),
    "a training of large batches": (
        {"recipe": f"  recipe: {{{RECIPE}, batch_size: 9999}}"},
        "train: batch_size 9999 is more than the 575 training images",
    ),
    "pairs of an odd batch": (
        {"finetune": f"finetune: {{{RECIPE}, batch_size: 63, mixup: 0.2}}"},
        "finetune: batch_size 63: .* need a multiple of 2",
    ),
    "trials of fewer images than a batch": (
        {"evaluations": "  evaluations: 4\n  evaluate: finetune\n  train_images: 40"},
        r"search\.train_images: 40 do not fill a batch of 64; legal: 0 \(all\) and numbers from 64",
    ),
    "a latency table that is not there": (
        {"evaluations": "  evaluations: 4\n  latency: nowhere.json"},
        r"search\.latency: there is no file nowhere\.json; nasvit latency build writes one",
    ),
    "a storage that is none": (
        {"evaluations": "  evaluations: 4\n  storage: nonsense"},
        r"search\.storage: 'nonsense' is no database",
    ),
    "a database without a driver": (
        {"evaluations": "  evaluations: 4\n  storage: nobody://me:secret@there/name"},
        r"search\.storage: 'nobody' is no database",
    ),
    "a database that cannot be opened": (
        {"evaluations": "  evaluations: 4\n  storage: sqlite:////nowhere/x.db"},
        r"search\.storage: the storage sqlite:////nowhere/x\.db cannot be opened",
    ),
}


@pytest.mark.parametrize(("changes", "words"), EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_what_cannot_be_trained_or_searched_claims_no_folder(
    changes: dict[str, str], words: str, tmp_path: Path
) -> None:
    refused_and_free(tmp_path, words, **changes)


TRAININGS = {
    "a network of nobody": ({"network": "nowhere"}, "network: network 'nowhere' is unknown"),
    "weights of nobody": ({"weights": "nowhere"}, "weights: 'nowhere' names a network without weights"),
    "a teacher of nobody": ({"teacher": "nowhere"}, "teacher: 'nowhere' names a network without weights"),
    "too many images": ({"images": "9999"}, "images 9999: digits has 1438 training images"),
    "large batches": ({"recipe": f"{{{RECIPE}, batch_size: 9999}}"}, "batch_size 9999 is more than the 180"),
    "pairs of an odd batch": ({"recipe": f"{{{RECIPE}, batch_size: 31, mixup: 0.2}}"}, "need a multiple of 2"),
}


@pytest.mark.parametrize(("changes", "words"), TRAININGS.values(), ids=TRAININGS)
def test_what_cannot_be_trained_claims_no_folder_of_a_training(
    changes: dict[str, str], words: str, tmp_path: Path
) -> None:
    kept = [line for line in FIT.splitlines() if line.partition(":")[0] not in changes]
    refused_by_fit(tmp_path, words, "\n".join([*kept, *(f"{key}: {value}" for key, value in changes.items())]))


def refused_and_free(folder: Path, words: str, **changes: str) -> None:
    """Check that an experiment is refused and that its folder is free for one with other images and another seed."""
    with pytest.raises((ValueError, BadImageError), match=words):
        run(open_workbench(write_experiment(folder, **changes), folder / "out"))
    assert not (folder / "out" / "train").exists() and not (folder / "out" / "search").exists()
    right = write_experiment(folder, space="space: micro8\nseed: 1")
    assert open_workbench(right, folder / "out").images.classes == tuple("0123456789")


def refused_by_fit(folder: Path, words: str, text: str) -> None:
    (folder / "fit.yaml").write_text(text)
    with pytest.raises((ValueError, BadImageError), match=words):
        fit(FitConfig.load(folder / "fit.yaml"), folder / "out")
    assert not (folder / "out" / "config.json").exists() and not (folder / "out" / "training").exists()
