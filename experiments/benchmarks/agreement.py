"""How well the agreement of features, before any training, ranks subnets by what they reach after it.

    python -m experiments.photo_sets ../shared/data/caltech101_144px runs/photos
    python -m experiments.benchmarks.agreement WEIGHTS.pth --subnets 12 --epochs 6

Random subnets of EfficientNet-Lite0 with ImageNet weights, of nearly a share of its multiply-adds, and the uniform one,
are trained for equal epochs on Caltech-101 (see :mod:`experiments.elastic_worth`). Their accuracies are ranked against
the agreement of their features with the network's: without the bias of few images, as ``search.evaluate: features`` has
it, and with it. A row is added to the JSON file after every training; killed and called again, it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from tyro.conf import Positional

from experiments.elastic_worth import BASE, SIDE, Beginning
from nasvit.any_network import Elastic, ElasticModel
from nasvit.any_network.features import agreement, features_of
from nasvit.costs.counting import count
from nasvit.experiment.compose import FROM_WEIGHTS, RECIPE
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.plan import with_epochs
from nasvit.experiment.training import Training
from nasvit.files.records import read_json, versions, write_json
from nasvit.search.candidates import Candidates
from predictors.limits import Budget
from predictors.metrics import spearman
from search_spaces import ElasticArchitecture

COUNTS = (64, 128, 256, 512)
NEARLY = 0.88  # subnets cost at least so much of the share
_BATCH = 64


@dataclass(frozen=True)
class Asked:
    """What is measured.

    Args:
        weights: checkpoint with ImageNet weights of EfficientNet-Lite0.
        subnets: random subnets.
        epochs: of each training.
        share: of the network's multiply-adds.
        json: file of the results.
    """

    weights: Annotated[Positional[Path], tyro.conf.arg(metavar="WEIGHTS.pth")]
    subnets: int = 12
    epochs: int = 6
    share: float = 0.5
    json: Path = Path("experiments/results/agreement.json")


def trained(network: nn.Module, start: Beginning, epochs: int) -> dict[str, float]:
    """Train a network and return what it reaches."""
    recipe = with_epochs(replace(RECIPE, learning_rate=FROM_WEIGHTS, batch_size=32), epochs)
    cost = count(network, 3, SIDE, SIDE)
    fitting = Fitting(Start(BASE, network), Training(recipe=recipe), start.images, seed=0, name="training")
    with TemporaryDirectory() as folder:
        result = fitting.deployed(fitting.trainer(Path(folder), every=0).run())
    numbers = {name: round(value, 4) for name, value in fitting.test(result).numbers().items()}
    return numbers | {"macs": cost.macs, "params": cost.params}


def agreements(network: nn.Module, model: ElasticModel, batches: Sequence[Tensor]) -> dict[str, float]:
    """Return the agreement of a network's features with the whole one's, for several numbers of images."""
    found, whole = (features_of(each, model.plan, batches) for each in (network, model.at(model.space.largest)))
    values = {f"without_bias_{n}": agreement(found[:n], whole[:n]) for n in COUNTS}
    return values | {f"with_bias_{COUNTS[0]}": agreement(found[: COUNTS[0]], whole[: COUNTS[0]], biased=True)}


def main(asked: tyro.conf.OmitArgPrefixes[Asked]) -> None:
    """Train, compare and print."""
    torch.set_num_threads(1)
    start = Beginning(asked.weights, 0)
    model, costs = start.elastic(Elastic())
    candidates, most = Candidates(model.space, lambda codes: dict(costs.costs(codes))), asked.share * start.macs
    (limit,) = Budget(f"macs<={most:.0f}").limits
    rows = candidates.constraint([replace(limit, low=NEARLY * most)]).sample(64, np.random.default_rng(7))
    subnets: list[ElasticArchitecture | None] = [None, *model.space.decode(rows[: asked.subnets])]
    batches = list(start.images.calibration(COUNTS[-1] // _BATCH, _BATCH))
    results: list[dict[str, Any]] = read_json(asked.json)["rows"] if asked.json.exists() else []
    for each in subnets[len(results) :]:
        network = start.uniform(asked.share) if each is None else model.train().extract(each)
        numbers = agreements(network, model, batches)
        about = {"subnet": "uniform" if each is None else json.loads(each.to_json())}
        results.append(about | trained(network, start, asked.epochs) | numbers)
        print(json.dumps(results[-1]), flush=True)
        accuracy = np.array([row["class_accuracy"] for row in results])
        ranks = {name: round(spearman(np.array([row[name] for row in results]), accuracy), 3) for name in numbers}
        content = {"command": __doc__.split("\n")[2:4], "rank_correlation": ranks, "rows": results}
        write_json(asked.json, content | {"versions": versions()})


if __name__ == "__main__":
    main(tyro.cli(Asked))
