"""Train detectors of blood cells, and segmenters of streets, in several ways: one table, for several seeds.

    python -m experiments.dense --json experiments/results/detection.json
    python -m experiments.dense ghost ghost_branches --seeds 0 --json experiments/results/detection.json

Killed and called again, it goes on; rows that the file has from before stay. A training is
``experiments/dense/bccd.yaml`` and what is laid over it, as options of ``nasvit fit``: ``ghost`` is ``nasvit fit
experiments/dense/bccd.yaml --network ghostnet_v3-0.5``. All have equal epochs; numbers are those of the deployed
network on the 72 test images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from nasvit.experiment.fit import fit
from nasvit.experiment.training import FitConfig
from nasvit.files.records import read_json, versions, write_json
from nasvit.options import Overrides
from search_spaces.reading import legal_names

FILE, STREETS = Path("experiments/dense/bccd.yaml"), Path("experiments/dense/street.yaml")
FOLDER = Path("runs/dense")

_SUBNET: Overrides = (("network", "micro128:experiments/dense/subnet.json"),)
_GHOST: Overrides = (("network", "ghostnet_v3-0.5"),)
_LITE: Overrides = (("network", "timm:efficientnet_lite0"),)
_NETAUG: Overrides = (("netaug.calibration_images", "256"), ("netaug.phases.sort", "true"))
_WIDTHS = (0.25, 0.5, 1.0)

STREET = "street"
"""Beginning of the names of trainings of segmenters."""

TRAININGS: dict[str, Overrides] = {
    "mobilenet": (),
    "mobilenet_netaug": _NETAUG,
    "subnet": _SUBNET,
    "subnet_netaug": (*_SUBNET, *_NETAUG),
    "ghost": _GHOST,
    "ghost_branches": (*_GHOST, ("branches.count", "3")),
    "mobilenet_ema": (("recipe.ema_decay", "0.99"),),
    "mobilenet_mixup": (("recipe.mixup", "1.0"),),
    "slimmable": (("network", "mobilenet_v2"), ("widths", str(list(_WIDTHS)))),
    **{f"width_{width:g}": (("network", f"mobilenet_v2-{width:g}"),) for width in _WIDTHS},
    "retinanet": (("head", "retinanet"),),
    "ssdlite": (("head", "ssdlite"),),
    "lite0": _LITE,
    "lite0_pretrained": _LITE,
    "street_classifier": (),
    "street_25M": (("network", "micro128:experiments/dense/street_25M.json"),),
    "street_50M": (("network", "micro128:experiments/dense/street_50M.json"),),
}
"""Name of a training -> the options that it lays over its file. The subnet, and the classifier's backbone, is what the
prior of ``micro128`` expects to be the best classifier under 20M multiply-adds; the others of the streets are what a
search by the score on the task chose (``nasvit run experiments/dense/camvid.yaml``)."""


@dataclass(frozen=True)
class Asked:
    """Trainings to make.

    Args:
        names: their names; all that need no weights if left out.
        seeds: seeds of each.
        weights: file of the weights of timm's efficientnet_lite0, which ``lite0_pretrained`` starts from.
        json: file of the rows.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    seeds: tuple[int, ...] = (0, 1)
    weights: Path | None = None
    json: Path = Path("experiments/results/detection.json")


def train(name: str, seed: int, weights: Path | None) -> list[dict[str, Any]]:
    """Make a training, unless it was made before, and return its rows: one for each width."""
    over = list(TRAININGS[name])
    if name == "lite0_pretrained":
        if weights is None:
            raise SystemExit("lite0_pretrained starts from --weights FILE")
        over.append(("weights", str(weights)))
    file = STREETS if name.startswith(STREET) else FILE
    config = replace(FitConfig.load(file, tuple(over)), seed=seed)
    results = fit(config, FOLDER / f"{name}-{seed}")
    said = {"training": name, "seed": seed, "epochs": config.recipe.epochs, "seconds": results["training_seconds"]}
    if "widths" in results:
        return [
            {**said, "width": each["width"], results["metric"]: each["score"], **_costs(each)}
            for each in results["widths"]
        ]
    return [{**said, **results["deployed"], **_costs(results)}]


def _costs(results: dict[str, Any]) -> dict[str, Any]:
    return {"macs": results["macs"], "params": results["params"]}


def main(asked: Asked) -> None:
    """Make the trainings and write their rows."""
    names = asked.names or tuple(name for name in TRAININGS if name != "lite0_pretrained")
    for name in names:
        if name not in TRAININGS:
            raise SystemExit(f"training {name!r}: {legal_names(name, TRAININGS)}")
    for seed in asked.seeds:
        for name in names:
            rows = train(name, seed, asked.weights)
            before = read_json(asked.json)["rows"] if asked.json.exists() else []
            kept = [row for row in before if (row["training"], row["seed"]) != (name, seed)]
            content = {"command": "python -m experiments.dense", "versions": versions()}
            write_json(asked.json, {**content, "rows": [*kept, *rows]})
            for row in rows:
                print({key: value for key, value in row.items() if key != "epochs"}, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Asked))
