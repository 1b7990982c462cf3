"""Make the sets of photos that experiments use out of Caltech-101: ten classes of animals, thirty others, and all.

    python -m experiments.photo_sets ../shared/data/caltech101_144px runs/photos

``animals`` is what a newcomer may bring: some 50 training images of each of ten classes. ``things`` has thirty other
classes, at most 60 training images of each, and shares no image with it: what is measured there is a prior for animals.
``caltech30`` has all 101 classes with at most 30 training images of each, the usual number for this data set.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

ANIMALS = """
    butterfly crab dalmatian dolphin dragonfly elephant flamingo ibis kangaroo starfish
""".split()

THINGS = """
    airplanes motorbikes faces_easy watch leopards bonsai car_side ketch chandelier grand_piano
    hawksbill brain helicopter menorah ewer trilobite sunflower buddha scorpion revolver laptop
    llama minaret umbrella electric_guitar cougar_face crayfish ferry lotus soccer_ball
""".split()

MOST, FEW = 60, 30  # training images, and test images, of a class


def make(source: Annotated[Positional[Path], tyro.conf.arg(metavar="CALTECH")], out: Positional[Path]) -> None:
    """Unpack the images of both sets.

    Args:
        source: folder with ``train.tar`` and ``val.tar``.
        out: folder that gets ``animals``, ``things`` and ``caltech30``.
    """
    for part in ("train", "val"):
        _unpack(source / f"{part}.tar", out / "animals", ANIMALS)
        _unpack(source / f"{part}.tar", out / "things", THINGS)
        _unpack(source / f"{part}.tar", out / "caltech30", None, FEW)


def _unpack(path: Path, out: Path, classes: Sequence[str] | None, most: int = MOST) -> None:
    taken = Counter[str]()
    with tarfile.open(path) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            label, *file = member.name.split("/")[1:] or [""]
            if file and (classes is None or label in classes) and taken[label] < most:
                taken[label] += 1
                tar.extract(member, out, filter="data")


if __name__ == "__main__":
    tyro.cli(make)
