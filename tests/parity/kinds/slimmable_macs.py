"""MACs of slimmable networks at many published widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from nasvit.supernets.slimmable import SlimmableNetwork
from tests.parity.kinds.slimmable import count, network_family
from tests.parity.rows import Comparison, Row

COLUMNS = ["width", "macs", "readme_mflops"]


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Tables of widths and MACs."""
    return content.get("columns") == COLUMNS and "rows" in content


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every width exactly, and with the release's own table to its rounding (it cuts to millions)."""
    comparison = Comparison(f"MACs of {content['model']} at {len(content['rows'])} widths", 1e-12)
    name = content["model"].partition("_")[2]
    widths = sorted(row[0] for row in content["rows"])
    with torch.device("meta"):
        network = SlimmableNetwork(network_family(name, {}), widths, 1000, norm="universal")
    for width, macs, printed in content["rows"]:
        counted = sum(count(network.extract(width), 224))
        comparison.exact(f"width {width}", counted, macs)
        comparison.absolute(f"width {width} as printed", counted / 1e6, printed, 1.0)
    yield comparison.row()
