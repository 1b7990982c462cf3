"""Measure subnets of a space on a data set, for the prior that is shipped with the space.

    python -m experiments.priors micro32 fashion torchvision:FashionMNIST --images 40800 --epochs 3 --count 12
    python -m experiments.priors micro32 caltech101 ../shared/data/caltech101_144px --epochs 20 --count 12
    python -m experiments.priors micro32 caltech101 ../shared/data/caltech101_144px --epochs 20 \\
        --budgets "macs<=4M" "macs<=2.5M" "macs<=6M"  # and fashion; cifar10 with and then without budgets
    python -m experiments.priors micro32 caltech101 ../shared/data/caltech101_144px --epochs 20 \\
        --budgets "macs<=4M" --round 2                # and fashion, cifar10
    python -m experiments.priors micro128 things runs/photos/things --image-size 128 --crop resized --batch-size 32 \\
        --epochs 10 --most 45e6
    python -m experiments.priors micro128 things runs/photos/things --image-size 128 --crop resized --batch-size 32 \\
        --epochs 10 --head 1024

Each subnet is trained plainly from random weights and scored on the test images. The subnets are quasi-random with
their multiply-adds spread evenly in the logarithm, and the same ones, in the same order, for every data set. With
``--budgets`` they are instead those that the file expects to be best so far: what a prior is wrong about it is most
likely wrong about there, because it chose them. Trainings must be long enough to tell subnets apart: those of 40,000
images ranked ``micro32`` on one data set less like on the others than those of 120,000 do. A line is added to
``predictors/priors/SPACE.jsonl`` after every training; killed and called again, it goes on.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from tyro.conf import Positional

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.data.config import DataConfig
from nasvit.experiment.compose import FROM_SCRATCH, RECIPE
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.images import Images
from nasvit.experiment.suggest import best_expected
from nasvit.experiment.training import Training
from nasvit.search.candidates import Candidates
from nasvit.specs import SubnetSpec
from predictors.limits import Budget
from predictors.pool import distinct, sobol
from predictors.prior import Measurement, Prior
from search_spaces import Architecture, Recipe, Space

POOL, CLASSES = 4096, 10


@dataclass(frozen=True)
class Measuring:
    """What is measured, and how.

    Args:
        space: a name of the catalog.
        name: name of the data set in the file.
        source: its images.
        count: subnets.
        images: training images, the few held-out ones included; 0: all.
        test_images: test images, the first ones; 0: all.
        image_size: side of the images in pixels; left out: the space's largest resolution.
        crop: crop of training images.
        epochs: of each training.
        batch_size: of each training.
        learning_rate: of each training.
        most: largest multiply-adds of a subnet; 0: no limit.
        head: instead of new subnets those that the file has for these images, with a head of this width.
        budgets: instead of new subnets those that the file expects to be best within each of these, such as "macs<=4M".
        round: with ``budgets``: 2 knows what was measured with 1, and so on.
        out: the file; ``predictors/priors/SPACE.jsonl`` if left out.
    """

    space: Positional[str]
    name: Positional[str]
    source: Positional[str]
    count: int = 32
    images: int = 0
    test_images: int = 0
    image_size: int | None = None
    crop: Literal["none", "pad", "resized"] = "pad"
    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = FROM_SCRATCH
    most: float = 0
    head: int | None = None
    budgets: tuple[str, ...] = ()
    round: int = 1
    out: Path | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe of each training."""
        return replace(RECIPE, learning_rate=self.learning_rate, epochs=self.epochs, batch_size=self.batch_size)


def designed(space: Space, count: int, most: float = 0) -> list[Architecture]:
    """Return quasi-random subnets, in an order whose every beginning is spread evenly over log multiply-adds."""
    codes = distinct(sobol(space.genome, POOL, np.random.default_rng(0)))
    macs = np.log(cost_table(space, CLASSES).macs(codes).astype(float))
    highest, free, chosen = np.log(most) if most else macs.max(), np.ones(len(codes), dtype=bool), []
    for number in range(count):
        wanted = macs.min() + _van_der_corput(number + 1) * (highest - macs.min())
        best = int(np.argmin(np.where(free, np.abs(macs - wanted), np.inf)))
        free[best] = False
        chosen.append(best)
    return space.decode(codes[chosen])


def _van_der_corput(number: int) -> float:
    """Return the number with its binary digits mirrored behind the point: 1/2, 1/4, 3/4, 1/8, ..."""
    value, digit = 0.0, 0.5
    while number:
        value, number, digit = value + digit * (number & 1), number >> 1, digit / 2
    return value


def measure(asked: Measuring) -> None:
    """Train and score every subnet that is not in the file yet."""
    torch.set_num_threads(1)
    space = search_spaces.load(asked.space)
    side = asked.image_size or max(space.resolution)
    data = DataConfig(asked.source, image_size=side, validation=0.02, crop=asked.crop)
    images = Images(data, seed=0, channels=space.image_channels, most=asked.images)
    out = asked.out or Path("predictors/priors") / f"{asked.space}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    rows = [json.loads(line) for line in lines]
    known = {(row["data"], json.dumps(row["architecture"])) for row in rows}
    for architecture in _subnets(space, asked, rows, known):
        plain = json.loads(architecture.to_json())
        if (asked.name, json.dumps(plain)) in known:
            continue
        row = {"data": asked.name, **_measured(space, architecture, images, asked), "architecture": plain}
        if asked.budgets:
            row["expected"] = asked.round
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def _subnets(
    space: Space, asked: Measuring, rows: Sequence[dict[str, Any]], known: set[tuple[str, str]]
) -> list[Architecture]:
    if asked.head is not None:
        return _with_head(space, asked, known)
    if asked.budgets:
        return expected(space, rows, asked.budgets, asked.round)
    return designed(space, asked.count, asked.most)


def expected(
    space: Space, rows: Sequence[dict[str, Any]], budgets: Sequence[str], round: int = 1
) -> list[Architecture]:
    """Return the subnets that measurements expect to be best within budgets, each once.

    What expectations of this round brought is left out, so that they are the same ones for every data set.

    Args:
        space: the space of the catalog that was measured.
        rows: lines of its file.
        budgets: one or more limits each.
        round: number of the round; what earlier ones brought is known.
    """
    measured = [Measurement.of(space, row) for row in rows if row.get("expected", 0) < round]
    candidates = Candidates(space, cost_table(space, CLASSES).costs)
    return list(dict.fromkeys(best_within(Prior(space, measured, candidates.proxies), candidates, budgets)))


def best_within(prior: Prior, candidates: Candidates, budgets: Sequence[str]) -> list[Architecture]:
    """Return the subnet that a prior expects to be best within each budget."""
    within = prior.within(prior.space)
    found = [best_expected(within, candidates.constraint(Budget(text).limits))[0] for text in budgets]
    return prior.space.decode(np.stack(found))


def _with_head(space: Space, asked: Measuring, known: set[tuple[str, str]]) -> list[Architecture]:
    """Return the subnets that were measured on these images, each once, with the head asked for."""
    found = [space.architecture(json.loads(subnet)) for name, subnet in sorted(known) if name == asked.name]
    assert asked.head is not None
    return list(dict.fromkeys(replace(each, width=(*each.width[:-1], asked.head)) for each in found))


def _measured(space: Space, architecture: Architecture, images: Images, asked: Measuring) -> dict[str, Any]:
    began, folder = time.process_time(), Path(mkdtemp())
    start, training = Start(SubnetSpec(space, architecture)), Training(recipe=asked.recipe)
    fitting = Fitting(start, training, images, seed=0, name=architecture.key[:8])
    trained = fitting.trainer(folder, every=0).run()
    test = images.test.subset(np.arange(asked.test_images)) if asked.test_images else images.test
    score = fitting.score(fitting.deployed(trained), test)
    shutil.rmtree(folder)
    return {
        "score": round(score.value, 5),
        "loss": round(score.numbers()["loss"], 5),
        "images": asked.epochs * len(images.train),
        "seconds": round(time.process_time() - began, 1),
    }


def main(asked: Annotated[Measuring, tyro.conf.arg(name="")]) -> None:
    """Measure subnets of a space on a data set."""
    measure(asked)


if __name__ == "__main__":
    tyro.cli(main)
