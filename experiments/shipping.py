"""Six networks in every format, as floats and as integers of 8 bits: agreement, accuracy, size and time.

    python -m experiments.photo_sets ../shared/data/caltech101_144px runs/photos
    python -m experiments.shipping nasvit alphanet ghost slimmable mcunet micro --minutes 20
    python -m experiments.shipping nasvit alphanet ghost slimmable mcunet micro --minutes 0 --ship

LiteRT's converter needs older versions of some packages, and had an environment of its own (``--formats litert``).
Each network is trained on Caltech-101 (30 images of each class) or CIFAR-10 for so many minutes, of a processor thread
or by the clock on a GPU (``--device cuda``); with ``--ship`` it goes through ``nasvit export --to torch onnx openvino
executorch litert --int8`` and ``nasvit bench``. Killed and called again, it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from tyro.conf import Positional

from experiments.rows import rows_in
from experiments.worth import SETTINGS, epochs_within, prior_choices
from nasvit.branches import Branches
from nasvit.compute import Compute, find_device
from nasvit.experiment.compose import FROM_SCRATCH, RECIPE
from nasvit.experiment.fit import fit
from nasvit.experiment.plan import with_epochs
from nasvit.experiment.training import FitConfig
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS
from nasvit.export.saved import is_saved
from nasvit.files.records import read_json, versions, write_json
from nasvit.report import shipping

FOLDER = Path("runs/shipping")
MOST = 10_000  # training images, of a large set, and test images


@dataclass(frozen=True)
class Network:
    """A network that is trained and shipped.

    Args:
        name: its name; empty: what the space's prior expects to be best under 20M multiply-adds.
        side: side of its images in pixels.
        images: a setting of :mod:`experiments.worth`, whose images it is trained on.
        branches: branches that it is trained with, and that are fused.
        widths: widths that it is trained at, the last of which is shipped.
    """

    name: str
    side: int
    images: str = "caltech30"
    branches: Branches | None = None
    widths: tuple[float, ...] = ()


NETWORKS = {
    "nasvit": Network("nasvit:smallest", 192),
    "alphanet": Network("alphanet_a0", 192),
    "ghost": Network("ghostnet_v3-0.5@32", 32, "cifar10", branches=Branches()),
    "slimmable": Network("mobilenet_v2@32", 32, "cifar10", widths=(0.25, 0.5)),
    "mcunet": Network("mcunet", 128),
    "micro": Network("", 128),
}


@dataclass(frozen=True)
class Asked:
    """What is done.

    Args:
        networks: names of :data:`NETWORKS`.
        minutes: minutes of training of each; 0: they are trained already.
        device: where they are trained.
        ship: export, evaluate and time them.
        formats: formats that they are exported to.
        json: file of the results.
    """

    networks: Positional[tuple[str, ...]]
    minutes: float = 20
    device: str = "cpu"
    ship: bool = False
    formats: tuple[str, ...] = tuple(FORMATS)
    json: Path = Path("experiments/results/shipping.json")


def train(name: str, minutes: float, compute: Compute) -> None:
    """Train a network from random weights for so many minutes."""
    network, folder = NETWORKS[name], FOLDER / name
    setting = SETTINGS[network.images]
    config = FitConfig(
        network=network.name or _expected_best(folder),
        data=replace(setting.data, image_size=network.side),
        recipe=replace(RECIPE, learning_rate=FROM_SCRATCH, batch_size=setting.batch_size),
        branches=network.branches,
        widths=network.widths,
        images=MOST if network.images == "cifar10" else 0,  # the photos are fewer
        program=False,
        threads=1,
    )
    chosen = folder / "epochs.json"
    if not chosen.exists():
        write_json(chosen, epochs_within(config, 60 * minutes, compute))
    fit(replace(config, recipe=with_epochs(config.recipe, read_json(chosen))), folder, compute)


def _expected_best(folder: Path) -> str:
    path = folder / "architecture.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(prior_choices(SETTINGS["caltech30"])[0].to_json(), encoding="utf-8")
    return f"{SETTINGS['caltech30'].space}:{path}"


def ship(name: str, formats: tuple[str, ...]) -> list[dict[str, Any]]:
    """Export a network to some formats, time all its files in turns, and return a row for each."""
    folder = FOLDER / name / "deployed"
    width = max(NETWORKS[name].widths, default=None)
    try:
        shipping.export(
            folder,
            formats,
            int8=True,
            images=None,
            width=width,
            calibration=256,
            compared=MOST,
            most_drop=1.0,  # whatever is lost is shown
        )
    except ValueError as error:
        print(error)
    times = FOLDER / name / f"times-{'-'.join(formats)}.json"
    shipping.bench((str(folder),), threads=(1,), rounds=50, width=width, out=times)
    timed = {Path(row["network"]).name: row for row in read_json(times)["rows"]}
    card = Card.read(folder)
    exports = {file: entry for file, entry in card.exports.items() if entry["format"] in formats}
    whole = {"network": name, "file": "in PyTorch", "milliseconds": timed[folder.name]["median"]}
    return [whole] + [
        {
            "network": name,
            "file": file,
            "bytes": entry["bytes"],
            **entry["parity"],
            "milliseconds": timed[file]["median"],
            "times_as_fast": timed[folder.name]["median"] / timed[file]["median"],
        }
        for file, entry in exports.items()
    ]


def main(asked: tyro.conf.OmitArgPrefixes[Asked]) -> None:
    """Train and ship networks."""
    torch.set_num_threads(1)
    for name in asked.networks:
        if not is_saved(FOLDER / name / "deployed"):
            train(name, asked.minutes, Compute(find_device(asked.device)))
    for name in asked.networks if asked.ship else ():
        rows = rows_in(asked.json)
        new = ship(name, asked.formats)
        done = {(row["network"], row["file"]) for row in new}
        rows = [row for row in rows if (row["network"], row["file"]) not in done] + new
        content = {"command": __doc__.split("\n")[2:5], "versions": versions()}
        write_json(asked.json, content | {"processor": shipping.processor()[0], "rows": rows})


if __name__ == "__main__":
    main(tyro.cli(Asked))
