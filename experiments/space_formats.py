"""The smallest and the largest subnet of every space that is shipped with nasvit, in every format.

    python -m experiments.space_formats

Weights are random and batch norms calibrated on noise; each file is written, loaded in its runtime and compared on
noise by ``nasvit export``'s own code, which refuses it if it disagrees. Killed and called again, it goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import tyro

import nasvit
import search_spaces
from experiments.rows import Row, Rows
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS
from nasvit.export.shipping import Shipping
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


def row_of(space: str, which: str, format: str) -> Row:
    """Return how the file of one end of a space compares, or why there is none."""
    with TemporaryDirectory() as folder:
        shipping, began = shipping_of(space, which, Path(folder)), time.perf_counter()
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
    rows = Rows(asked.json, "python -m experiments.space_formats")
    for format, space, which in product(asked.formats, asked.spaces, ("smallest", "largest")):
        about = {"space": space, "subnet": which, "format": format}
        rows.make(about, partial(row_of, space, which, format))


if __name__ == "__main__":
    main(tyro.cli(Asked))
