"""How much of a search's time is spent inside networks, and how much on what surrounds them.

    python -m experiments.benchmarks.search_share --json experiments/results/search_share.json

A supernet is trained for an epoch (how well does not matter), and searched: every evaluation calibrates a subnet and
scores it on held-out images. Time is that of this processor thread; what is inside is what the forward passes take.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import tyro
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from nasvit.data.config import DataConfig
from nasvit.experiment.config import SUPERNET_RECIPE, Experiment, SearchConfig, TrainConfig
from nasvit.experiment.pipeline import STAGES
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import versions, write_json
from predictors.limits import Budget


@dataclass(frozen=True)
class Settings:
    """What is searched.

    Args:
        data: the images.
        space: a name of the catalog.
        budget: what the network may cost.
        evaluations: candidates.
        images: held-out images that each is scored on.
        json: file for the result; none if left out.
    """

    data: str = "../shared/data/cifar10"
    space: str = "micro32"
    budget: str = "macs<=5M"
    evaluations: int = 100
    images: int = 1000
    json: Path | None = None


class Inside:
    """Sums the time of this thread in forward passes, from when it is made."""

    def __init__(self) -> None:
        self.seconds, self._depth, self._began = 0.0, 0, 0.0
        register_module_forward_pre_hook(self._enter)
        register_module_forward_hook(self._leave, always_call=True)

    def _enter(self, *_: Any) -> None:
        if self._depth == 0:
            self._began = time.thread_time()
        self._depth += 1

    def _leave(self, *_: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.thread_time() - self._began


def measure(settings: Settings) -> dict[str, float]:
    """Search, and return the seconds of everything and of the forward passes."""
    recipe = replace(SUPERNET_RECIPE, learning_rate=2e-3, epochs=1, warmup_epochs=0)
    experiment = Experiment(
        space=settings.space,
        data=DataConfig(settings.data, validation=0.1),
        train=TrainConfig(recipe=recipe, members="one", evaluate_every=0),
        search=SearchConfig(
            budgets=(Budget(settings.budget),), evaluations=settings.evaluations, finalists=1, images=settings.images
        ),
        finetune=Training(recipe=recipe),
        threads=1,
    )
    with TemporaryDirectory() as folder:
        bench = Workbench(experiment, Path(folder))
        STAGES["train"](bench)
        inside, began = Inside(), time.thread_time()
        STAGES["search"](bench)
        return {"seconds": round(time.thread_time() - began, 2), "inside": round(inside.seconds, 2)}


def main(settings: Settings) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    found = measure(settings)
    found["share"] = round(found["inside"] / found["seconds"], 3)
    print(f"{found['seconds']:.1f} s, {100 * found['share']:.0f} % of it inside networks")
    if settings.json is not None:
        config = {name: value for name, value in asdict(settings).items() if name != "json"}
        write_json(settings.json, {**found, "settings": config, "versions": versions()})


if __name__ == "__main__":
    main(tyro.cli(Settings))
