"""What the library makes of a made folder, beside what is right."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image, ImageOps

from experiments.benchmarks.chaos.made.plan import Plan, Role, Sample
from nasvit import cli
from nasvit.data import ImageSet, load_images
from nasvit.data.config import DataConfig
from nasvit.experiment.images import BAD_IMAGES, Images
from nasvit.heads.kinds import AnyHead, head_of
from nasvit.training.trainer import Trainer

TEST_SHARE, HELD_OUT = 0.2, 0.25
_HEADS = {"detection": "fcos", "segmentation": "lraspp"}
_MOST_NAMED = 10
_ROUNDING = 0.01
_SIDES = (8, 12, 33)
_DENSE = (64, 96)


class Wrong(Exception):
    """What was read is not what is right."""


@dataclass(frozen=True)
class Asked:
    """What the library is asked for.

    Args:
        source: the folder, as a user spells it.
        results: folder of the results.
    """

    source: str
    results: Path


def read(plan: Plan, asked: Asked, root: Path) -> None:
    """Read a folder as commands do before a training, and compare what was read with what is right.

    Raises:
        Wrong: naming what is not right.
    """
    side = _SIDES[len(plan.samples) % len(_SIDES)]
    size: Any = side if plan.task == "classification" else _DENSE
    config = DataConfig(asked.source, image_size=size, validation=HELD_OUT, workers=0, **plan.options)
    images = Images(config, seed=0, folder=asked.results, head=_head(plan))
    images.open()
    sets: dict[Role, ImageSet] = {"train": images.whole, "test": images.test}
    encoded = {role: _encoded(plan, asked, role) for role in sets}
    for sample in plan.vanishing:
        (root / plan.prefix / sample.path).unlink(missing_ok=True)
    for role, found in encoded.items():
        if found.classes != sets[role].classes or len(found) != len(sets[role]):
            raise Wrong("other classes or images where they are held in memory")
    compare(plan, encoded)
    for role in sets if plan.task == "classification" else ():
        _compare_held(sets[role], encoded[role], side)


def _head(plan: Plan) -> AnyHead | None:
    return head_of(plan.task, None) if plan.task in _HEADS else None


def _encoded(plan: Plan, asked: Asked, role: Role) -> ImageSet:
    record = asked.results / BAD_IMAGES
    return load_images(
        asked.source,
        role,
        task=plan.task,
        keep_encoded=True,
        workers=0,
        record=record,
        **plan.options,  # type: ignore[arg-type]
    )


def compare(plan: Plan, found: dict[Role, ImageSet]) -> None:
    """Compare the images of both splits with those that were made.

    Raises:
        Wrong: naming what is not right.
    """
    for images in found.values():
        if list(images.classes) != classes_of(plan):
            raise Wrong(f"classes {list(images.classes)!r} for {classes_of(plan)!r}")
    good = {role: [each for each in plan.of(role) if not each.is_bad] for role in found}
    if has_parts(plan):
        for role, images in found.items():
            _match(good[role], [_Got(images, index) for index in range(len(images))])
        return
    tests, all_of_them = len(found["test"]), len(good["train"])
    if tests != round(TEST_SHARE * all_of_them):
        raise Wrong(f"{tests} of {all_of_them} images are for testing")
    _match(good["train"], [_Got(images, index) for images in found.values() for index in range(len(images))])
    if {*found["test"].targets.tolist()} != {*range(len(plan.classes))}:
        raise Wrong("a class without a test image")


def has_parts(plan: Plan) -> bool:
    """Whether a folder has a test split of its own."""
    return bool(plan.parts) or len(plan.archives) == 2


def classes_of(plan: Plan) -> list[str]:
    """Return the classes in their order."""
    if plan.layout == "voc":
        return sorted({box.label for each in plan.of("train") for box in each.boxes})
    return plan.classes


class _Got:
    def __init__(self, images: ImageSet, index: int) -> None:
        self.images, self.index = images, index
        self.pixels = np.asarray(images.open(index).convert("RGB"))

    def unlike(self, sample: Sample) -> str:
        """Return what of its labels is not that of a sample; empty: nothing."""
        targets, classes = self.images.targets, self.images.classes
        if sample.mask is not None:
            got = targets.stored.open(self.index)
            return "" if np.array_equal(got, sample.mask) else "mask"
        if sample.label:
            return "" if classes[int(targets[self.index])] == sample.label else "class"
        objects = targets.of_image(self.index)
        boxes = zip(objects.labels.tolist(), objects.crowd.tolist(), objects.boxes.tolist())
        found = sorted((classes[label], crowd, box) for label, crowd, box in boxes)
        kept = sorted(
            (box.label, bool(box.more.get("iscrowd")), [*box.kept]) for box in sample.boxes if box.kept is not None
        )
        if [each[:2] for each in found] != [each[:2] for each in kept]:
            return "boxes"
        edges = [np.array([each[2] for each in side]).reshape(-1, 4) for side in (found, kept)]
        return "" if np.allclose(edges[0], edges[1], atol=_ROUNDING) else "edges of boxes"


def _match(samples: Sequence[Sample], found: Sequence[_Got]) -> None:
    """Find the made image of every one that was read."""
    left = list(samples)
    for got in found:
        ranked = sorted(((*_distance(got, each), place) for place, each in enumerate(left)), key=lambda each: each[:3])
        if not ranked:
            raise Wrong(f"{len(found)} images for {len(samples)}")
        far, unlike, _, place = ranked[0]
        if far:
            raise Wrong(f"pixels that no image has: {got.images.open(got.index).size}")
        if unlike:
            raise Wrong(f"wrong {unlike} of an image")
        left.pop(place)
    if left:
        raise Wrong(f"{len(found)} images for {len(samples)}")


def _distance(got: _Got, sample: Sample) -> tuple[bool, str, float]:
    shown = sample.picture.shown
    assert shown is not None
    if shown.shape != got.pixels.shape:
        return True, "", 1e9
    far = float(np.abs(shown.astype(np.float64) - got.pixels).mean())
    if far > sample.picture.tolerance + _ROUNDING:
        return True, "", far
    return False, got.unlike(sample), far


def _compare_held(held: ImageSet, encoded: ImageSet, side: int) -> None:
    """Compare images that were decoded before with what becomes of them anew."""
    if held.image_size is None:
        return
    for index in range(len(held)):
        wanted = ImageOps.fit(encoded.open(index), (side, side), method=Image.Resampling.BICUBIC)
        if not np.array_equal(np.asarray(held.open(index)), np.asarray(wanted)):
            raise Wrong("other pixels where images are held in memory")


class _Reached(BaseException):
    def __init__(self, images: ImageSet) -> None:
        super().__init__()
        self.images = images


def fit(plan: Plan, asked: Asked) -> None:
    """Run ``nasvit fit`` up to its training, and look at the images that it would train on.

    Raises:
        Wrong: naming what is not right of them.
        SystemExit: if it is refused.
    """
    data: dict[str, Any] = {"source": asked.source, "image_size": 32 if plan.task == "classification" else [*_DENSE]}
    data |= {"validation": HELD_OUT, "padding": 1, "workers": 0, **plan.options}
    recipe: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 1, "batch_size": 4}
    written: dict[str, Any] = {"network": "mobilenet_v2-0.25", "data": data, "recipe": recipe, "threads": 1}
    if plan.task in _HEADS:
        written |= {"task": plan.task, "head": _HEADS[plan.task]}
    Path("fit.yaml").write_text(json.dumps(written), encoding="utf-8")  # of which JSON is a part
    with _until_training(), patch.object(sys, "argv", ["nasvit", "fit", "fit.yaml", "--output", str(asked.results)]):
        try:
            cli.main()
        except _Reached as reached:
            images = reached.images
            count = sum(not each.is_bad for each in plan.of("train"))
            count -= 0 if has_parts(plan) else round(TEST_SHARE * count)
            kept = count - round(HELD_OUT * count)
            if list(images.classes) != classes_of(plan) or len(images) != kept:
                raise Wrong(f"{len(images)} images to train on for {kept}, {images.classes}") from None
            return
    raise Wrong("no training was reached")


@contextmanager
def _until_training() -> Iterator[None]:
    def reach(trainer: Trainer, **_: Any) -> None:
        raise _Reached(trainer.loader.images)

    with patch.object(Trainer, "run", reach):
        yield


def untold(plan: Plan, said: str) -> str:
    """Return what was left out without a word; empty: nothing."""
    for (kind, _), names in plan.told.items():
        if not (re.search(rf"\b{len(names)}\b", said) and any(named(name, said) for name in names)):
            return f"{kind} left out without a word"
    for role, bad in bad_of(plan).items():
        if not re.search(rf"\b{len(bad)} bad image", said) or not any(named(each.path, said) for each in bad):
            return f"bad images of {role} left out without a word"
    return ""


def unnamed(plan: Plan, told: str) -> str:
    """Return what a refusal does not name; empty: it is one of those that are right."""
    wanted = [*plan.refusals, *plan.may_refuse]
    if any(all(named(word, told) for word in words) for words in wanted):
        return ""
    if any(named(each.path, told) for each in plan.vanishing):
        return ""
    bad = bad_of(plan)
    if bad and (plan.options.get("on_bad_image") != "skip" or "no good image" in told):
        missed = [each for some in bad.values() for each in some[:_MOST_NAMED] if not named(each.path, told)]
        if not missed or (plan.refusals and len(missed) < sum(map(len, bad.values()))):
            return ""
        return f"{len(missed)} of the bad images not named"
    return "refused in other words" if wanted else "refused"


def bad_of(plan: Plan) -> dict[Role, list[Sample]]:
    """Return the bad images of each split that has some."""
    found = {role: [each for each in plan.of(role) if each.is_bad] for role in ("train", "test")}
    return {role: some for role, some in found.items() if some}  # type: ignore[misc]


def named(path: str, told: str) -> bool:
    """Return whether a message names a file, in whatever way it writes letters that cannot be printed."""
    name = os.path.basename(path)
    return any(each in told for each in (name, name.encode("unicode_escape").decode(), repr(name)[1:-1]))
