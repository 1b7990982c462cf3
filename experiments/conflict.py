"""How many layers are in conflict, with and without projection: short paired runs.

    python -m experiments.conflict experiments/cifar10.yaml --steps 120 --seeds 0 1

With and without transformer blocks, at nearly the same costs:

    python -m experiments.conflict experiments/cifar10.yaml --json with.json
    sed 's/space: micro32/space: micro32_conv/' experiments/cifar10.yaml > conv.yaml
    python -m experiments.conflict conv.yaml --json without.json

Runs that are compared share seed, batches and subnets; only the policy differs. Measured as NASViT does (Gong et al.,
2022, section 3): the share of parameter tensors whose gradient from the largest subnet and summed gradient from the
others have a negative inner product.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import tyro

from nasvit.experiment.config import Experiment
from nasvit.experiment.stages.train import train
from nasvit.experiment.workbench import Workbench
from nasvit.training.learner import CONFLICT_IN
from nasvit.training.metrics import read_metrics


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        experiment: a YAML file.
        steps: optimizer steps of each run.
        seeds: one pair of runs for each.
        json: file for the result; none if left out.
    """

    experiment: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="EXPERIMENT.yaml")]
    steps: int = 120
    seeds: tuple[int, ...] = (0, 1)
    json: Path | None = None


def conflict_share(experiment: Experiment, seed: int, policy: Any, steps: int) -> dict[str, Any]:
    """Train for some steps and return the mean share of tensors in conflict, over all steps and over the last half.

    ``by_stage`` has that of every stage of the network, over all steps, and ``quarters`` that of all stages over time.
    """
    config = replace(experiment, seed=seed, train=replace(experiment.train, conflict=policy, evaluate_every=0))
    with TemporaryDirectory() as folder:
        train(Workbench(config, Path(folder)), until=steps)
        return logged_conflicts(Path(folder))


def logged_conflicts(folder: Path) -> dict[str, Any]:
    """Return what the training of a supernet in a folder of results logged of conflicts, as means over its steps."""
    records = read_metrics(folder / "train" / "metrics.jsonl")
    shares = [record["conflict_share"] for record in records]
    losses = [record["loss"] for record in records[-10:]]
    stages = [name for name in records[0] if name.startswith(CONFLICT_IN)]
    quarters = [shares[len(shares) * each // 4 : len(shares) * (each + 1) // 4] for each in range(4)]
    means = {name: round(statistics.mean(record[name] for record in records), 4) for name in stages}
    return {
        "share": round(statistics.mean(shares), 4),
        "share_second_half": round(statistics.mean(shares[len(shares) // 2 :]), 4),
        "quarters": [round(statistics.mean(each), 4) for each in quarters],
        "by_stage": {name.removeprefix(CONFLICT_IN): mean for name, mean in means.items()},
        "last_loss": round(statistics.mean(losses), 4),
    }


def main(settings: Settings) -> None:
    """Run all pairs and print them."""
    experiment = Experiment.load(settings.experiment)
    rows = []
    for seed in settings.seeds:
        for policy in ("measure", "project"):
            row = {"seed": seed, "policy": policy, **conflict_share(experiment, seed, policy, settings.steps)}
            print(json.dumps(row), flush=True)
            rows.append(row)
    if settings.json is not None:
        content = {"steps": settings.steps, "rows": rows, **experiment.provenance()}
        settings.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Settings))
