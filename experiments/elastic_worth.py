"""What a smaller network for a share of the multiply-adds is worth, got in several ways from one pretrained network.

    python -m experiments.photo_sets ../shared/data/caltech101_144px runs/photos
    python -m experiments.elastic_worth WEIGHTS.pth --minutes 5 --seeds 0 1 --shares 0.5 0.25

    python -m experiments.elastic_worth WEIGHTS.pth --minutes 6 --device cuda --batch-size 64

Caltech-101 with at most 30 training images a class, 96 pixels; EfficientNet-Lite0 with ImageNet weights. Every way has
the same time, its search or pruning included: of one processor thread, or by the clock on a GPU. All train by the same
recipe:

``features``: the network is made elastic, and the subnet whose features agree best with the network's, of those that
an evolution looks at, is trained. ``uniform``: every width by the same share, the most important channels kept.
``largest``: a subnet as large as the share allows, with every decision about equally far up. ``supernet``: the elastic
network is trained as a supernet for half of the time, searched, and what is found is trained on. ``torch_pruning``: the
library's group magnitude pruning, if it is installed. ``random``: the uniform subnet from random weights.
``modelopt``: the whole network is trained for two fifths of the time, pruned by the accuracy on held-out training
images with NVIDIA ModelOpt's FastNAS, if that is installed (with torchprofile 0.0.4), and trained on.

A row is added to the JSON file after every network; killed and called again, it goes on.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import nn
from tyro.conf import Positional

from experiments.rows import Rows
from experiments.worth import clock_of, supernet_rows
from nasvit.any_network import Elastic, ElasticModel
from nasvit.any_network.choices import DIVISOR, space_of
from nasvit.compute import ALONE, Compute, find_device
from nasvit.costs.any_network import ElasticCosts
from nasvit.costs.counting import count
from nasvit.data.config import DataConfig
from nasvit.experiment.compose import FROM_SCRATCH, FROM_WEIGHTS, RECIPE
from nasvit.experiment.config import SUPERNET_RECIPE, Experiment, SearchConfig, TrainConfig
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.images import Images
from nasvit.experiment.pace import seconds_per_epoch
from nasvit.experiment.plan import with_epochs
from nasvit.experiment.stages.unmeasured import BATCHES, IMAGES
from nasvit.experiment.starting import start_from
from nasvit.experiment.training import StartingWeights, Training
from nasvit.search.by_features import best_by_features
from nasvit.search.candidates import Candidates
from nasvit.search.ends import largest_within
from nasvit.specs import TimmSpec, elastic_plan
from predictors.limits import Budget
from search_spaces.recipe import Recipe

Way = Literal["features", "uniform", "largest", "supernet", "torch_pruning", "random", "modelopt"]

SIDE = 96
DATA = DataConfig("runs/photos/caltech30", image_size=SIDE, crop="resized", validation=0.04)
BASE = TimmSpec("efficientnet_lite0")
FINE = tuple(number / 16 for number in range(2, 17))  # shares that a uniform width is chosen from
MEASURED = 6.0  # seconds of steps from which the epochs of a training are derived
LOOKED_AT = 72
"""Subnets whose features are compared with the network's."""
BEFORE_PRUNING = 0.4  # share of the time in which the whole network is trained before ModelOpt prunes it
QUARTERS = (0.25, 0.5, 0.75, 1.0)
"""Shares of the channels that ModelOpt chooses from; with its own 20 the search alone takes longer than 5 minutes."""
CALIBRATION = 8, 16
"""Batches, and images of each, that ModelOpt recalibrates a subnet with."""


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Args:
        weights: checkpoint with ImageNet weights of EfficientNet-Lite0.
        minutes: minutes of each way.
        seeds: seeds of batches, of the new classifier and of what is searched.
        shares: of the network's multiply-adds.
        ways: what is compared.
        device: where everything runs.
        batch_size: of every training.
        json: file of the results.
    """

    weights: Annotated[Positional[Path], tyro.conf.arg(metavar="WEIGHTS.pth")]
    minutes: float = 5
    seeds: tuple[int, ...] = (0, 1)
    shares: tuple[float, ...] = (0.5, 0.25)
    ways: tuple[Way, ...] = ("features", "uniform", "supernet", "torch_pruning", "random")
    device: str = "cpu"
    batch_size: int = 32
    json: Path = Path("experiments/results/elastic_worth.json")


class Beginning:
    """One pretrained network with a new classifier, and everything that ways need of it."""

    def __init__(self, weights: Path, seed: int, compute: Compute = ALONE) -> None:
        self.seed, self.compute = seed, compute
        self.uncharged = 0.0  # seconds that no way is charged for
        self.images = Images(DATA, seed=seed, compute=compute)
        self.images.open()
        loaded = start_from(StartingWeights(str(weights)), BASE, self.images.classes, seed=seed).network
        assert loaded is not None
        self.network = loaded.train()
        self.plan = elastic_plan(BASE, len(self.images.classes), SIDE)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of the network."""
        return count(self.network, 3, SIDE, SIDE).macs

    def elastic(self, elastic: Elastic) -> tuple[ElasticModel, ElasticCosts]:
        """Return the network made elastic, its channels sorted, and its costs."""
        shape = (3, SIDE, SIDE)
        space = space_of(self.plan, elastic, "lite0", shape)
        model = ElasticModel(copy.deepcopy(self.network), self.plan, space, shape)
        model.sort()
        return self.compute.place(model), ElasticCosts(self.network, self.plan, space)

    def uniform(self, share: float) -> nn.Module:
        """Return the widest uniform subnet within a share of the multiply-adds."""
        model, costs = self.elastic(Elastic(FINE, depth=False, kernel_size=False))
        subnets = [model.space.scaled(width) for width in np.linspace(0.1, 1, 181)]
        within = costs.costs(model.space.encode(subnets))["macs"] <= share * self.macs
        return model.extract(subnets[int(np.flatnonzero(within)[-1])])

    def features(self, share: float) -> nn.Module:
        """Return the subnet within a share of the multiply-adds whose features agree best with the network's."""
        model, costs = self.elastic(Elastic())
        candidates = Candidates(model.space, lambda codes: dict(costs.costs(codes)))
        limits = Budget(f"macs<={share * self.macs:.0f}").limits
        images = list(self.images.calibration(BATCHES, IMAGES))
        best, _ = best_by_features(model, candidates, limits, images, LOOKED_AT, np.random.default_rng(self.seed))
        return model.train().extract(best)

    def largest(self, share: float) -> nn.Module:
        """Return a subnet within a share of the multiply-adds, with every decision about equally far up."""
        model, costs = self.elastic(Elastic())
        candidates = Candidates(model.space, lambda codes: dict(costs.costs(codes)))
        limits = Budget(f"macs<={share * self.macs:.0f}").limits
        pool = candidates.constraint(limits).sample(4096, np.random.default_rng(0))
        return model.extract(largest_within(candidates, [limits], [pool]))  # type: ignore[arg-type]  # of its space

    def torch_pruning(self, share: float) -> nn.Module:
        """Return what Torch-Pruning leaves of the network within a share of the multiply-adds."""
        import torch_pruning  # type: ignore[import-not-found]  # for this comparison only

        def pruned(ratio: float) -> nn.Module:
            network, image = copy.deepcopy(self.network).eval(), torch.zeros(1, 3, SIDE, SIDE)
            importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
            torch_pruning.pruner.MetaPruner(
                network, image, importance, pruning_ratio=ratio, ignored_layers=[network.classifier]
            ).step()
            return network.train()

        low, high = 0.0, 0.9
        for _ in range(8):
            middle = (low + high) / 2
            fits = count(pruned(middle), 3, SIDE, SIDE).macs <= share * self.macs
            low, high = (low, middle) if fits else (middle, high)
        return pruned(high)

    def modelopt(self, network: nn.Module, share: float) -> nn.Module:
        """Return what ModelOpt's FastNAS leaves of a trained network within a share of the multiply-adds."""
        from modelopt.torch import prune  # type: ignore[import-not-found]  # for this comparison only
        from modelopt.torch.nas import autonas  # type: ignore[import-not-found]
        from modelopt.torch.opt.conversion import ModeloptStateManager  # type: ignore[import-not-found]

        autonas.MODELOPT_QUEUE_MAXLEN = CALIBRATION[0]  # with fewer batches than this, 50, it does not recalibrate
        batches = self.images.evaluation_loader(self.images.validation, 32)

        def accuracy(model: nn.Module) -> float:
            model.eval()  # recalibrates the batch norms, which inference mode would spoil
            return self.images.task.evaluate(model, batches.evaluation_batches(), self.compute).value

        rules = {
            "nn.Conv2d": {"channels_ratio": QUARTERS, "channel_divisor": DIVISOR},
            "nn.BatchNorm2d": {"features_ratio": QUARTERS, "feature_divisor": DIVISOR},
        }
        pruned, _ = prune.prune(
            separated(network).to(memory_format=torch.contiguous_format),
            mode=[("fastnas", rules)],
            constraints={"flops": 2 * share * self.macs},
            dummy_input=torch.zeros(1, 3, SIDE, SIDE, device=self.compute.device),
            config={
                "data_loader": list(self.images.calibration(*CALIBRATION)),
                "collect_func": lambda images: images,
                "score_func": accuracy,
                "verbose": False,
            },
        )
        ModeloptStateManager.remove_state(pruned)
        left = count(pruned, 3, SIDE, SIDE).macs
        if left > share * self.macs:
            raise ValueError(f"ModelOpt left {left} multiply-adds, {share:.0%} are {share * self.macs:.0f}")
        return pruned.train()


def separated(network: nn.Module) -> nn.Module:
    """Make a norm and an activation of every module that is both, through which ModelOpt follows no channels."""
    for name, part in network.named_children():
        if isinstance(part, nn.BatchNorm2d) and hasattr(part, "act"):
            norm = nn.BatchNorm2d(part.num_features, part.eps, part.momentum)
            norm.load_state_dict(part.state_dict())
            setattr(network, name, nn.Sequential(norm, part.get_submodule("act")))
        else:
            separated(part)
    return network


def row_of(asked: Asked, way: Way, share: float, seed: int) -> dict[str, Any]:
    """Make a smaller network in one way, train it for what is left of the time, and return what it reaches."""
    compute = Compute(find_device(asked.device))
    if way == "supernet":
        return supernet_row(asked, share, seed, compute)
    start, clock = Beginning(asked.weights, seed, compute), clock_of(compute)
    began = clock()
    made: dict[str, Callable[[float], nn.Module]] = {
        "features": start.features,
        "uniform": start.uniform,
        "largest": start.largest,
        "torch_pruning": start.torch_pruning,
        "random": start.uniform,
        "modelopt": partial(modelopt, asked, start),
    }
    network = made[way](share)
    if way == "random":
        torch.manual_seed(seed)
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]
    seconds = 60 * asked.minutes - (clock() - began - start.uncharged)
    if seconds <= 0:
        raise ValueError(f"{way}: nothing of {asked.minutes:g} minutes is left to train in; ask for more")
    about = {"seconds_before": round(60 * asked.minutes - seconds, 1)}
    rate = FROM_SCRATCH if way == "random" else FROM_WEIGHTS
    return about | trained(network.cpu(), start, seconds, recipe_of(asked, rate))


def modelopt(asked: Asked, start: Beginning, share: float) -> nn.Module:
    """Train the whole network for a part of the time, and return what ModelOpt leaves of it."""
    seconds = BEFORE_PRUNING * 60 * asked.minutes
    _, network, _ = fitted(start.network, start, seconds, recipe_of(asked, FROM_WEIGHTS))
    return start.modelopt(network, share)


def recipe_of(asked: Asked, rate: float) -> Recipe:
    """Return the recipe of a training with a learning rate."""
    return replace(RECIPE, learning_rate=rate, batch_size=asked.batch_size)


def supernet_row(asked: Asked, share: float, seed: int, compute: Compute) -> dict[str, Any]:
    """Train the elastic network, search it, train on what is found, and return what that reaches."""
    experiment = Experiment(
        network="timm:efficientnet_lite0",
        weights=StartingWeights(str(asked.weights)),
        data=replace(DATA, validation=None),
        search=SearchConfig(budgets=(Budget(f"macs<={share:.0%}"),)),
        train=TrainConfig(recipe=replace(SUPERNET_RECIPE, learning_rate=FROM_WEIGHTS, batch_size=asked.batch_size)),
        finetune=Training(recipe=replace(RECIPE, learning_rate=FROM_WEIGHTS, batch_size=asked.batch_size)),
        seed=seed,
        threads=1,
    )
    folder = Path("runs/elastic_worth") / f"{asked.device}-{asked.minutes:g}min" / f"{share:g}-{seed}"
    (row,) = supernet_rows(experiment, folder, 60 * asked.minutes, compute)
    return row


def trained(network: nn.Module, start: Beginning, seconds: float, recipe: Recipe) -> dict[str, Any]:
    """Train a network for so many seconds, and return what it reaches on the test images."""
    cost = count(network, 3, SIDE, SIDE)
    whole, result, about = fitted(network, start, seconds, recipe)
    score = whole.test(result)
    return {
        **about,
        "accuracy": score.value,
        **{name: round(value, 4) for name, value in score.numbers().items()},
        "macs": cost.macs,
        "params": cost.params,
    }


def fitted(
    network: nn.Module, start: Beginning, seconds: float, recipe: Recipe
) -> tuple[Fitting, nn.Module, dict[str, Any]]:
    """Train a network for so many seconds, and return the training, its result, and its epochs."""
    clock, images = clock_of(start.compute), start.images

    def fitting(epochs: int) -> Fitting:
        training = Training(recipe=with_epochs(recipe, epochs))
        return Fitting(Start(BASE, copy.deepcopy(network)), training, images, seed=start.seed, name="training")

    with TemporaryDirectory() as folder:
        began = clock()
        pace = seconds_per_epoch(fitting(100_000).trainer(Path(folder) / "pace", every=0), MEASURED, clock)
        start.uncharged += clock() - began
        epochs = max(1, int(seconds / pace))
        whole, began = fitting(epochs), clock()
        result = whole.deployed(whole.trainer(Path(folder) / "whole", every=0).run())
    return whole, result, {"epochs": epochs, "seconds": round(clock() - began, 1)}


def main(asked: tyro.conf.OmitArgPrefixes[Asked]) -> None:
    """Compare ways to a smaller network at equal time."""
    torch.set_num_threads(1)
    rows = Rows(asked.json, ["python -m experiments.elastic_worth " + " ".join(sys.argv[1:])])
    for seed, share, way in product(asked.seeds, asked.shares, asked.ways):
        about = {"way": way, "share": share, "seed": seed, "minutes": asked.minutes, "device": asked.device}
        rows.make(about, partial(row_of, asked, way, share, seed))


if __name__ == "__main__":
    main(tyro.cli(Asked))
