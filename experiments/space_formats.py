"""The smallest and the largest subnet of every space that is shipped with nasvit, in every format.

    python -m experiments.space_formats

Weights are random and batch norms calibrated on noise; each file is written, loaded in its runtime and compared on
noise by ``nasvit export``'s own code, which refuses it if it disagrees. Killed and called again, it goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import tyro

import nasvit
import search_spaces
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS
from nasvit.export.shipping import Shipping
from nasvit.files.records import read_json, versions, write_json
from nasvit.specs import SubnetSpec

CLASSES = 10


@dataclass(frozen=True)
class Asked:
    """What is written.

    Args:
        spaces: names of spaces.
        formats: names of formats.
        json: file of the results.
    """

    spaces: tuple[str, ...] = tuple(search_spaces.names())
    formats: tuple[str, ...] = tuple(FORMATS)
    json: Path = Path("experiments/results/space_formats.json")


def shipping_of(space: str, which: str, folder: Path) -> Shipping:
    """Return what ships one end of a space."""
    found = search_spaces.load(space)
    torch.manual_seed(0)
    architecture = getattr(found, which)
    side = architecture.resolution
    images = torch.rand(16, found.image_channels, side, side)
    network = nasvit.Supernet(found, CLASSES).extract(architecture, calibration=[images])
    card = Card(SubnetSpec(found, architecture), tuple(map(str, range(CLASSES))), side)
    return Shipping(network, card, folder)


def row_of(shipping: Shipping, format: str) -> dict[str, Any]:
    """Return how a file compares, or why there is none."""
    began = time.perf_counter()
    try:
        shipped = shipping.ship(FORMATS[format])
    except ValueError as error:
        return {"error": str(error)}
    return {
        "bytes": shipped.bytes,
        "deviation": shipped.parity.deviation,
        "agreement": shipped.parity.agreement,
        "images": shipped.parity.images,
        "seconds": round(time.perf_counter() - began, 1),
    }


def main(asked: tyro.conf.OmitArgPrefixes[Asked]) -> None:
    """Write, load and compare."""
    rows: list[dict[str, Any]] = read_json(asked.json)["rows"] if asked.json.exists() else []
    for format in asked.formats:
        for space in asked.spaces:
            for which in ("smallest", "largest"):
                about = {"space": space, "subnet": which, "format": format}
                if any(about.items() <= row.items() for row in rows):
                    continue
                with TemporaryDirectory() as folder:
                    rows.append(about | row_of(shipping_of(space, which, Path(folder)), format))
                print(rows[-1], flush=True)
                content = {"command": "python -m experiments.space_formats", "versions": versions(), "rows": rows}
                write_json(asked.json, content)


if __name__ == "__main__":
    main(tyro.cli(Asked))
