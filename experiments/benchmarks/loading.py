"""Memory that listing a data set takes, and images a second beside timm's loader.

    python -m experiments.benchmarks.loading --json experiments/results/loading.json

For the memory, folders of few and of many small JPEG files are listed, split and trained from for some hundred batches,
each in a process of its own, whose peak is reported. For the speed, our loader and timm's ``create_loader`` take turns
with the same transforms (random resized crop, mirroring, RandAugment, erasing) on photos of 500 x 375 pixels, made from
the images of ``--photos``. A turn starts its workers, waits for a first batch and times the following ones. Each loader
keeps its own memory layout, which is channels last in ours.
"""

from __future__ import annotations

import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from timm.data import create_dataset, create_loader
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from nasvit.data import Augmentation, Loader, Normalization, hold_out, load_images
from nasvit.files.records import versions

AUGMENTATION = Augmentation(crop="resized", randaugment=1, random_erasing=0.25, mixup=0, cutmix=0)
CLASSES, SMALL, SIDE, PHOTO = 100, 48, 224, (500, 375)


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        sizes: numbers of files whose memory is compared; none leaves this part out.
        batches: batches of 64 that are loaded while memory is watched.
        photos: data set that photos are made from, as in ``data: source``.
        count: number of photos.
        workers: numbers of workers that the speed is measured with; none leaves this part out.
        turns: timed turns of each loader.
        batch_size: images of a batch of photos.
        json: file for the result; none if left out.
        only: measure the peak memory of this folder in this process (used internally).
    """

    sizes: tuple[int, ...] = (2_000, 200_000)
    batches: int = 300
    photos: str = "../shared/data/caltech101_144px"
    count: int = 960
    workers: tuple[int, ...] = (0, 2)
    turns: int = 7
    batch_size: int = 64
    json: Path | None = None
    only: Path | None = None


def jpeg(image: Image.Image) -> bytes:
    """Encode an image."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_small(folder: Path, count: int) -> None:
    """Write small JPEG files into class folders."""
    rng = np.random.default_rng(0)
    some = [jpeg(Image.fromarray(rng.integers(256, size=(SMALL, SMALL, 3), dtype=np.uint8))) for _ in range(16)]
    for number in range(CLASSES):
        (folder / f"n{number:08d}").mkdir(parents=True)
    for index in range(count):
        (folder / f"n{index % CLASSES:08d}" / f"n{index % CLASSES:08d}_{index}.JPEG").write_bytes(some[index % 16])


def watch(settings: Settings) -> dict[str, float]:
    """List a folder and load batches from it; return seconds and the peaks of this process and of its workers."""
    started = time.perf_counter()
    data = hold_out(load_images(str(settings.only), memory_limit=0))
    listed = time.perf_counter() - started
    loader = Loader(
        data.train,
        batch_size=64,
        normalization=Normalization.of(data.train),
        augmentation=AUGMENTATION,
        image_size=32,
        workers=max(settings.workers, default=0),
    )
    for _ in loader.steps(0, settings.batches):
        pass
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"list_seconds": round(listed, 2), "peak_mb": round(peaks[0], 1), "worker_peak_mb": round(peaks[1], 1)}


def memory(settings: Settings) -> dict[str, dict[str, float]]:
    """Return what ``watch`` finds for every number of files."""
    found = {}
    for size in settings.sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_small(Path(folder), size)
            command = [sys.executable, "-m", "experiments.benchmarks.loading", "--only", folder]
            command += ["--batches", str(settings.batches)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[str(size)] = json.loads(done.stdout)
        print(f"{size:9,} files: {found[str(size)]}")
    return found


def write_photos(folder: Path, settings: Settings) -> None:
    """Write photos into class folders."""
    images = load_images(settings.photos)
    for index in np.linspace(0, len(images) - 1, settings.count).astype(int).tolist():
        place = folder / "train" / images.classes[images.targets[index]]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.jpg").write_bytes(jpeg(images.open(index).resize(PHOTO, Image.Resampling.BICUBIC)))
    (folder / "test").symlink_to(folder / "train")


def ours(folder: Path, settings: Settings, workers: int) -> Loader:
    """Return our loader of photos."""
    return Loader(
        load_images(str(folder), memory_limit=0),
        batch_size=settings.batch_size,
        normalization=Normalization.imagenet(),
        augmentation=AUGMENTATION,
        image_size=SIDE,
        workers=workers,
    )


def theirs(folder: Path, settings: Settings, workers: int) -> Any:
    """Return timm's loader of the same photos with the same transforms."""
    return create_loader(
        create_dataset("", root=f"{folder}/train"),
        input_size=(3, SIDE, SIDE),
        batch_size=settings.batch_size,
        is_training=True,
        use_prefetcher=False,
        scale=AUGMENTATION.scale,
        hflip=0.5,
        auto_augment="rand-m1-n1-mstd0.5-inc1",
        interpolation="bicubic",
        re_prob=AUGMENTATION.random_erasing,
        re_mode="pixel",
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        num_workers=workers,
        persistent_workers=False,
        pin_memory=False,
    )


def rate(batches: Iterable[Any]) -> float:
    """Return images a second after the first batch."""
    waiting = iter(batches)
    next(waiting)
    started, count = time.perf_counter(), 0
    for images, _ in waiting:
        count += len(images)
    return count / (time.perf_counter() - started)


def speed(settings: Settings) -> dict[str, dict[str, float]]:
    """Return images a second of both loaders for every number of workers: medians of turns taken one after another."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder, settings)
        for workers in settings.workers:
            mine, other = ours(folder, settings, workers), theirs(folder, settings, workers)
            rates: dict[str, list[float]] = {"ours": [], "timm": []}
            for turn in range(settings.turns):
                rates["ours"].append(rate(mine.batches(turn)))
                rates["timm"].append(rate(other))
            medians = {which: round(statistics.median(each), 1) for which, each in rates.items()}
            ratios = [our / their for our, their in zip(rates["ours"], rates["timm"])]
            found[f"{workers} workers"] = {**medians, "ratio": round(statistics.median(ratios), 3)}
            print(f"{workers} workers: {found[f'{workers} workers']}")
    return found


def main(settings: Settings) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    if settings.only is not None:
        print(json.dumps(watch(settings)))
        return
    result = {"memory": memory(settings), "images_per_second": speed(settings)}
    if settings.json is not None:
        config = {key: value for key, value in asdict(settings).items() if key not in ("json", "only")}
        content = {**result, "settings": config, "versions": versions()}
        settings.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Settings))
