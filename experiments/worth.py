"""What a small network for a budget is worth, got in several ways, at equal time.

    python -m experiments.photo_sets ../shared/data/caltech101_144px runs/photos
    python -m experiments.worth animals --minutes 10 --seeds 0 1 --ways prior largest random timm pipeline searched
    python -m experiments.worth animals --minutes 8 --device cuda --ways prior largest timm pipeline

``prior``: the network that the space's prior expects to be best (what was measured on the same images is left out of
the prior) is trained plainly from random weights. ``largest``: likewise, the subnet that is as large as the budget
allows, with every decision about equally far up. ``random``: likewise, a random subnet of nearly the budget. ``timm``:
likewise, networks of timm of about the cost. ``pipeline``: a supernet is trained and searched, and what is found is
trained on. ``searched``: the network that the pipeline found, trained plainly for the whole time. All trainings see all
training images, by one recipe; several budgets share the minutes: of one processor thread, or by the clock on a GPU.
Epochs follow from a few seconds of training, in turns with timm's network, whose pace is that of its own training where
that is among the results: so what else the machine does at that time slows both, and changes nothing. A row is added
to the JSON file after every network; killed and called again, it goes on.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any, Literal

import numpy as np
import torch
import tyro
from tyro.conf import Positional

import search_spaces
from experiments.priors import best_within
from experiments.rows import Rows, rows_in
from nasvit.compute import ALONE, Compute, find_device
from nasvit.costs.tables import cost_table
from nasvit.data.config import DataConfig
from nasvit.experiment.clock import spent, total
from nasvit.experiment.compose import FROM_SCRATCH, RECIPE
from nasvit.experiment.config import SUPERNET_RECIPE, Experiment, SearchConfig, TrainConfig
from nasvit.experiment.fit import fit, fitting_of, images_of
from nasvit.experiment.pace import Clock, seconds_per_epoch
from nasvit.experiment.pipeline import STAGES, run
from nasvit.experiment.plan import final_epochs, from_json, make_plan, planned, to_json, with_epochs
from nasvit.experiment.planning import Timing
from nasvit.experiment.stages.search import is_searched
from nasvit.experiment.stages.train import is_trained
from nasvit.experiment.training import FitConfig, Training
from nasvit.experiment.workbench import TIMING, Workbench
from nasvit.files.records import read_json, write_json
from nasvit.search.candidates import Candidates
from nasvit.search.ends import largest_within
from nasvit.training.trainer import Trainer
from predictors.limits import Budget
from predictors.prior import find_prior
from search_spaces import Architecture

Way = Literal["prior", "largest", "random", "timm", "pipeline", "searched"]

MEASURED, TURNS = 2.0, 5  # seconds of steps from which the epochs of a training are derived, and how often
NEARLY = 0.85  # random subnets cost at least so much of the budget


@dataclass(frozen=True)
class Setting:
    """Images, space, budgets, and timm's networks of about the same cost.

    Args:
        data: the images.
        space: a name of the catalog.
        budgets: one budget, or several that make a front.
        timm: names of timm's networks, and the side of the images that brings them to the cost.
        classes: number of classes.
        batch_size: of every training.
        measured: name of these images in the prior's measurements; empty: none are of them.
    """

    data: DataConfig
    space: str
    budgets: tuple[str, ...]
    timm: tuple[tuple[str, int], ...]
    classes: int
    batch_size: int = 32
    measured: str = ""


def _photos(name: str, validation: float = 0.02) -> DataConfig:
    return DataConfig(f"runs/photos/{name}", image_size=128, crop="resized", validation=validation)


_CIFAR = DataConfig("../shared/data/cifar10", validation=0.02)
_FRONT128 = ("macs<=12M", "macs<=16M", "macs<=20M", "macs<=28M", "macs<=40M")
_FRONT32 = ("macs<=2M", "macs<=3M", "macs<=4M", "macs<=5M", "macs<=7M")
_TIMM128 = (("mobilenetv3_small_100", 128),)
_TIMM32 = (("mobilenetv3_small_100", 64),)

SETTINGS = {
    "animals": Setting(_photos("animals"), "micro128", ("macs<=20M",), _TIMM128, 10),
    "animals_front": Setting(_photos("animals"), "micro128", _FRONT128, _TIMM128, 10),
    "caltech30": Setting(_photos("caltech30", 0.04), "micro128", ("macs<=20M",), _TIMM128, 101, measured="things"),
    "caltech30_front": Setting(_photos("caltech30", 0.04), "micro128", _FRONT128, _TIMM128, 101, measured="things"),
    "cifar10": Setting(_CIFAR, "micro32", ("macs<=4M",), _TIMM32, 10, 64, "cifar10"),
    "cifar10_front": Setting(_CIFAR, "micro32", _FRONT32, _TIMM32, 10, 64, "cifar10"),
}


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Args:
        setting: a name of :data:`SETTINGS`.
        minutes: minutes of each way, for all budgets together.
        seeds: seeds of weights and batches.
        ways: what is compared.
        device: where everything runs.
        json: file of the results; ``experiments/results/worth.json`` if left out.
    """

    setting: Positional[str]
    minutes: float = 10
    seeds: tuple[int, ...] = (0, 1)
    ways: tuple[Way, ...] = ("prior", "largest", "timm", "pipeline")
    device: str = "cpu"
    json: Path = Path("experiments/results/worth.json")

    @property
    def compute(self) -> Compute:
        """The device."""
        return Compute(find_device(self.device))


def prior_choices(setting: Setting) -> list[Architecture]:
    """Return the subnet that the prior expects to be best under every budget, without having seen these images."""
    candidates = _candidates(setting)
    prior = find_prior(setting.space, candidates.proxies, without=(setting.measured,))
    if prior is None:
        raise ValueError(f"space {setting.space} has no prior")
    return best_within(prior, candidates, setting.budgets)


def random_choices(setting: Setting, seed: int) -> list[Architecture]:
    """Return a random subnet of nearly each budget."""
    candidates, rng, found = _candidates(setting), np.random.default_rng([seed, 13]), []
    for text in setting.budgets:
        limits = Budget(text).limits
        (limit,) = limits
        rows = candidates.constraint([replace(limit, low=NEARLY * limit.high)]).sample(64, rng)
        found.append(rows[rng.integers(len(rows))])
    return candidates.space.decode(np.stack(found))


def largest_choices(setting: Setting) -> list[Architecture]:
    """Return the subnet that is as large as each budget allows, with every decision about equally far up."""
    candidates, found = _candidates(setting), []
    for text in setting.budgets:
        limits = Budget(text).limits
        pool = candidates.constraint(limits).sample(4096, np.random.default_rng(0))
        found.append(largest_within(candidates, [limits], [pool]))
    return found  # type: ignore[return-value]  # of a space of ours


def _candidates(setting: Setting) -> Candidates:
    space = search_spaces.load(setting.space)
    return Candidates(space, cost_table(space, setting.classes).costs)


def train_plainly(asked: Asked, network: str, data: DataConfig, seconds: float, seed: int, folder: Path) -> Any:
    """Train a network from random weights for so many seconds, and return its results."""
    config, compute = _plain(asked, network, data, seed), asked.compute
    chosen = folder / "epochs.json"
    if not chosen.exists():
        write_json(chosen, max(1, int(seconds / pace_of(asked, config))))
    epochs, clock = read_json(chosen), clock_of(compute)
    began = clock()
    results = fit(replace(config, recipe=with_epochs(config.recipe, epochs)), folder, compute)
    return {
        "network": network,
        "epochs": epochs,
        "accuracy": results["deployed"]["accuracy"],
        "loss": round(results["deployed"]["loss"], 4),
        "macs": results["macs"],
        "params": results["params"],
        "seconds": round(clock() - began, 1),
    }


def _plain(asked: Asked, network: str, data: DataConfig, seed: int) -> FitConfig:
    recipe = replace(RECIPE, learning_rate=FROM_SCRATCH, batch_size=SETTINGS[asked.setting].batch_size)
    return FitConfig(network=network, data=data, recipe=recipe, seed=seed, program=False, threads=1)


def pace_of(asked: Asked, config: FitConfig) -> float:
    """Return the seconds of an epoch of a training: those of timm's network, times what this one takes beside it."""
    (network, data), *_ = _networks(asked, "timm", config.seed, Path())
    both = config, _plain(asked, network, data, config.seed)
    folder, clock = Path(mkdtemp()), clock_of(asked.compute)
    trainers = [_endless(each, folder / str(number), asked.compute) for number, each in enumerate(both)]
    turns = [[seconds_per_epoch(each, MEASURED, clock) for each in trainers] for _ in range(TURNS)]
    shutil.rmtree(folder)
    known = _reference_pace(asked) or min(reference for _, reference in turns)
    return known * median(mine / reference for mine, reference in turns)


def _reference_pace(asked: Asked) -> float | None:
    """Return the seconds of an epoch of timm's network in its own training, if that is among the results."""
    about = {"setting": asked.setting.removesuffix("_front"), "device": asked.device, "way": "timm"}
    rows = [row for row in rows_in(asked.json) if about.items() <= row.items()]
    return rows[0]["seconds"] / rows[0]["epochs"] if rows else None


def epochs_within(config: FitConfig, seconds: float, compute: Compute) -> int:
    """Return how many epochs of a training take so many seconds; its pace is measured."""
    folder = Path(mkdtemp())
    pace = seconds_per_epoch(_endless(config, folder, compute), TURNS * MEASURED, clock_of(compute))
    shutil.rmtree(folder)
    return max(1, int(seconds / pace))


def _endless(config: FitConfig, folder: Path, compute: Compute) -> Trainer:
    images = images_of(config, compute)
    endless = replace(config, recipe=replace(config.recipe, epochs=100_000))
    return fitting_of(endless, images).trainer(folder, every=0)


def pipeline_rows(asked: Asked, seed: int) -> list[dict[str, Any]]:
    """Train a supernet, search it and train on what was found, all in the minutes; return a row for every budget."""
    setting, folder = SETTINGS[asked.setting], _folder(asked, "pipeline", seed)
    return supernet_rows(_experiment(setting, folder, seed), folder, 60 * asked.minutes, asked.compute)


def supernet_rows(
    experiment: Experiment, folder: Path, seconds: float, compute: Compute = ALONE
) -> list[dict[str, Any]]:
    """Train a supernet, search it and train on what was found, all in so many seconds; return a row for every budget.

    Args:
        experiment: the experiment.
        folder: folder of its results; killed and called again, it goes on.
        seconds: of the processor, or by the clock on another device.
        compute: the device.
    """
    bench = Workbench(experiment, folder, compute)
    kept = folder.with_suffix(".json")
    if not kept.exists():
        paces = Timing(bench, seconds, clock_of(compute)).paces("supernet")
        shutil.rmtree(folder / TIMING)
        write_json(kept, to_json(make_plan("supernet", seconds, 0, paces)))
    plan = from_json(read_json(kept))
    bench.follow(planned(bench.asked, plan))
    if not is_trained(bench):
        STAGES["train"](bench)
    if not is_searched(bench):
        STAGES["search"](bench)
    if not plan.replanned:
        STAGES["extract"](bench)
        used = _used(folder, compute)
        plan = replace(plan, final_epochs=final_epochs(plan, used), replanned=True)
        write_json(kept, to_json(plan))
    bench.follow(planned(bench.asked, plan))
    return [
        {
            "budget": row["budget"],
            "network": json.dumps(row["architecture"]),
            "epochs": [plan.train_epochs, plan.final_epochs],
            "evaluations": plan.evaluations,
            "accuracy": row["scores"]["finetuned"],
            "in_supernet": row["scores"]["supernet"],
            "macs": row["macs"],
            "params": row["params"],
            "seconds": round(_used(folder, compute), 1),
        }
        for row in run(bench)
    ]


def _used(folder: Path, compute: Compute) -> float:
    """Return the seconds that all stages have taken, by the clock of the device."""
    seconds = total(spent(folder))
    return seconds.work if compute.on_processor else seconds.wall


def clock_of(compute: Compute) -> Clock:
    """Return what time is counted by: that of the processor, or, on another device, the clock."""
    return time.process_time if compute.on_processor else time.perf_counter


def _experiment(setting: Setting, folder: Path, seed: int) -> Experiment:
    """Return what `nasvit run` would compose for these images, without what was measured on them."""
    measured = [row for row in _measured_rows(setting) if json.loads(row)["data"] != setting.measured]
    prior = folder.parent / "prior.jsonl"
    prior.parent.mkdir(parents=True, exist_ok=True)
    prior.write_text("\n".join(measured) + "\n", encoding="utf-8")
    supernet = replace(SUPERNET_RECIPE, learning_rate=FROM_SCRATCH, batch_size=setting.batch_size)
    return Experiment(
        space=setting.space,
        data=replace(setting.data, validation=None),
        search=SearchConfig(budgets=tuple(map(Budget, setting.budgets)), prior=str(prior)),
        finetune=Training(recipe=replace(RECIPE, batch_size=setting.batch_size)),
        train=TrainConfig(recipe=supernet),
        seed=seed,
        threads=1,
    )


def _measured_rows(setting: Setting) -> list[str]:
    return (Path("predictors/priors") / f"{setting.space}.jsonl").read_text(encoding="utf-8").splitlines()


def _folder(asked: Asked, way: Way, seed: int) -> Path:
    return Path("runs/worth") / asked.setting / f"{asked.device}-{asked.minutes:g}min" / f"{way}-{seed}"


def plain_rows(asked: Asked, way: Way, seed: int) -> list[dict[str, Any]]:
    """Return the rows of a way that trains networks plainly."""
    setting = SETTINGS[asked.setting]
    base, rows = _folder(asked, way, seed), []
    for number, (network, data) in enumerate(_networks(asked, way, seed, base)):
        budget = setting.budgets[number] if way != "timm" else ""
        seconds = 60 * asked.minutes / (len(setting.budgets) if way != "timm" else 1)
        rows.append(
            {
                "budget": budget,
                **train_plainly(asked, network, data, seconds, seed, base / str(number)),
            }
        )
    return rows


def _networks(asked: Asked, way: Way, seed: int, base: Path) -> list[tuple[str, DataConfig]]:
    setting = SETTINGS[asked.setting]
    if way == "timm":
        return [(f"timm:{name}", replace(setting.data, image_size=side)) for name, side in setting.timm]
    chosen = {
        "prior": lambda: prior_choices(setting),
        "largest": lambda: largest_choices(setting),
        "random": lambda: random_choices(setting, seed),
        "searched": lambda: _found(setting, _folder(asked, "pipeline", seed)),
    }[way]()
    return [(_named(setting, each, base), setting.data) for each in chosen]


def _found(setting: Setting, pipeline: Path) -> list[Architecture]:
    """Return what the pipeline chose for every budget."""
    space = search_spaces.load(setting.space)
    choices = {entry["budget"]: entry for entry in read_json(pipeline / "search" / "choices.json")}
    return [space.architecture(choices[budget]["architecture"]) for budget in setting.budgets]


def _named(setting: Setting, architecture: Architecture, base: Path) -> str:
    path = base / f"{architecture.key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(architecture.to_json(), encoding="utf-8")
    return f"{setting.space}:{path}"


def main(asked: tyro.conf.OmitArgPrefixes[Asked]) -> None:
    """Compare ways to a small network at equal processor time."""
    torch.set_num_threads(1)
    rows = Rows(asked.json, __doc__.split("\n")[2:4])
    for seed, way in product(asked.seeds, asked.ways):
        about = {"setting": asked.setting, "minutes": asked.minutes, "way": way, "seed": seed, "device": asked.device}
        make = partial(pipeline_rows, asked) if way == "pipeline" else partial(plain_rows, asked, way)
        rows.make(about, partial(make, seed))


if __name__ == "__main__":
    main(tyro.cli(Asked))
