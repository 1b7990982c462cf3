"""How what takes time grows: steps with subnets and images, searches with evaluations, tables with spaces, loading.

    python -m experiments.benchmarks.growth --json experiments/results/growth.json --svg docs/pictures/growth.svg

Steps, searches and cost tables are seconds of one processor; loading, where workers take part, is seconds of the clock.
Sizes of one kind take turns, and a number is the median of the turns, of tables one.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import tyro

import search_spaces
from experiments.benchmarks import loading, train_step
from nasvit.costs import tables
from nasvit.files.records import versions, write_json
from nasvit.search.driver import Memory, drive
from nasvit.search.engine import SearchEngine
from predictors.arrays import Codes, Floats
from predictors.blocks import unique_blocks
from predictors.ensemble import make_predictor
from predictors.pool import Constraint

Points = list[tuple[float, float]]
"""Sizes, and the seconds that they take."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        space: the space of the steps and searches.
        subnets: numbers of random subnets of a step, beside the largest and the smallest.
        images: batch sizes of a step.
        evaluations: at which a search is read; an evaluation is a sum.
        tables: spaces whose blocks are counted.
        workers: processes that load photos.
        photos: data set that photos are made from.
        turns: turns of everything but the tables.
        json: file for the result; none if left out.
        svg: file for the picture; none if left out.
    """

    space: str = "micro32"
    subnets: tuple[int, ...] = (0, 1, 2, 3, 4)
    images: tuple[int, ...] = (8, 16, 32, 64, 128)
    evaluations: tuple[int, ...] = (25, 50, 100, 200)
    tables: tuple[str, ...] = ("micro8", "micro32", "micro128", "fbnetv3", "alphanet", "nasvit")
    workers: tuple[int, ...] = (0, 1, 2)
    photos: str = "../shared/data/caltech101_144px"
    turns: int = 3
    json: Path | None = None
    svg: Path | None = None


def seconds_in_turns(work: Mapping[int, Callable[[], object]], turns: int) -> Points:
    """Return the median processor seconds of each, after a turn that does not count."""
    taken: dict[int, list[float]] = {size: [] for size in work}
    for turn in range(turns + 1):
        for size, do in work.items():
            began = time.process_time()
            do()
            if turn:
                taken[size].append(time.process_time() - began)
    return [(size, statistics.median(each)) for size, each in taken.items()]


def steps_by_subnets(settings: Settings) -> Points:
    """Return the seconds of a step of 64 images by its random subnets, each set with the subnets of the one before."""
    bench = train_step.Bench(train_step.Settings(space=settings.space))
    drawn = bench.space.decode(bench.space.genome.sample(max(settings.subnets), np.random.default_rng(0)))
    ends = [bench.space.largest, bench.space.smallest]
    work = {count: partial(bench.ours, [*ends, *drawn[:count]]) for count in settings.subnets}
    return seconds_in_turns(work, settings.turns)


def steps_by_images(settings: Settings) -> Points:
    """Return the seconds of a step of four subnets by its images."""
    benches = [
        train_step.Bench(train_step.Settings(space=settings.space, batch_size=count)) for count in settings.images
    ]
    space = benches[0].space
    drawn = space.decode(space.genome.sample(2, np.random.default_rng(0)))
    subnets = [space.largest, space.smallest, *drawn]
    work = {len(bench.images): partial(bench.ours, subnets) for bench in benches}
    return seconds_in_turns(work, settings.turns)


def search_by_evaluations(settings: Settings) -> Points:
    """Return the seconds of a search until it has made so many evaluations, each a weighted sum of genes."""
    genome = search_spaces.load(settings.space).genome
    weights = np.random.default_rng(0).normal(size=len(genome))

    def score(codes: Codes) -> Floats:
        return codes @ weights

    taken: dict[int, list[float]] = {count: [] for count in settings.evaluations}
    for seed in range(settings.turns):
        engine = SearchEngine(Constraint(genome), lambda: make_predictor("ensemble", genome, None), seed)
        trials = Memory(score, genome.sample(0, np.random.default_rng(0)), np.zeros(0))
        began = time.process_time()
        for count in sorted(settings.evaluations):
            drive(trials, [engine], count)
            taken[count].append(time.process_time() - began)
    return [(count, statistics.median(each)) for count, each in taken.items()]


def tables_by_blocks(settings: Settings) -> Points:
    """Return the seconds that counting every block of a space takes, by their number."""
    points = []
    with mock.patch.object(tables, "kept_table", return_value=None), mock.patch.object(tables, "keep_table"):
        tables.cost_table(search_spaces.load("micro8"), 10)  # what is loaded once
        tables.cost_table.cache_clear()
        for name in settings.tables:
            space = search_spaces.load(name)
            began = time.process_time()
            tables.cost_table(space, 10)
            points.append((len(list(unique_blocks(space))), time.process_time() - began))
    tables.cost_table.cache_clear()
    return sorted(points)


def images_by_workers(settings: Settings) -> Points:
    """Return the seconds of the clock that 100 photos take by the processes that prepare them."""
    options = loading.Settings(photos=settings.photos, count=480, workers=settings.workers)
    with tempfile.TemporaryDirectory() as folder:
        loading.write_photos(Path(folder), options)
        loaders = {workers: loading.ours(Path(folder), options, workers) for workers in settings.workers}
        rates = {
            workers: [loading.rate(each.batches(turn)) for turn in range(settings.turns)]
            for workers, each in loaders.items()
        }
    return [(workers, 100 / statistics.median(each)) for workers, each in rates.items()]


@dataclass(frozen=True)
class Curve:
    """What is measured.

    Args:
        what: what takes the seconds.
        by: what they grow with.
        measure: returns the sizes, and the seconds.
        whole: whether sizes are few whole numbers.
    """

    what: str
    by: str
    measure: Callable[[Settings], Points]
    whole: bool = False


CURVES = {
    "steps_by_subnets": Curve(
        "a step of 64 images", "random subnets, beside largest and smallest", steps_by_subnets, whole=True
    ),
    "steps_by_images": Curve("a step of four subnets", "images", steps_by_images),
    "search_by_evaluations": Curve("a search, evaluations for nothing", "evaluations", search_by_evaluations),
    "tables_by_blocks": Curve("counting a space's blocks", "different blocks", tables_by_blocks),
    "images_by_workers": Curve("100 photos (by the clock)", "workers", images_by_workers, whole=True),
}


def draw(curves: dict[str, Points], path: Path) -> None:
    """Draw small multiples, all from zero, which show what is proportional."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.2), layout="constrained")
    canvas = FigureCanvasSVG(figure)
    for place, (name, points) in enumerate(curves.items()):
        curve = CURVES[name]
        axes = figure.add_subplot(2, 3, place + 1)
        axes.plot(*zip(*points, strict=True), marker="o", color="#2a6f97")
        axes.set(title=curve.what, xlabel=curve.by, ylabel="seconds", ylim=(0, 1.1 * max(points, key=itemgetter(1))[1]))
        if curve.whole:
            axes.set_xticks([size for size, _ in points])
        axes.set_xlim(left=-0.1 if min(points)[0] == 0 else 0)
        axes.spines[["top", "right"]].set_visible(False)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "growth"}):  # text as text, and the same file every time
        canvas.print_svg(path, metadata={"Date": None, "Creator": None})


def main(settings: Settings) -> None:
    """Measure, print, write and draw."""
    torch.set_num_threads(1)
    found: dict[str, Points] = {}
    for name, curve in CURVES.items():
        found[name] = curve.measure(settings)
        print(f"{name}: " + ", ".join(f"{size:g}: {seconds:.3g} s" for size, seconds in found[name]), flush=True)
    if settings.json is not None:
        curves = {name: [[size, float(f"{each:.4g}")] for size, each in points] for name, points in found.items()}
        config = {name: value for name, value in asdict(settings).items() if name not in ("json", "svg")}
        write_json(settings.json, {"seconds": curves, "settings": config, "versions": versions()})
    if settings.svg is not None:
        draw(found, settings.svg)


if __name__ == "__main__":
    main(tyro.cli(Settings))
