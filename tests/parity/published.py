"""``python -m tests.parity.published``: every published network's printed cost beside our own count.

With ``--write`` our counts are written into the files of ``search_spaces/published``.
"""

from __future__ import annotations

import argparse
import re
import sys

import torch
from torch import nn

import nasvit.costs.counting
import search_spaces
from nasvit.models.fbnetv3 import fbnetv3
from nasvit.supernets.supernet import Supernet
from search_spaces.published import Counted, Published, load, names, path_of


def build(published: Published) -> nn.Module:
    """Build a published network without memory for its weights.

    Raises:
        ValueError: for a plain network of an unknown family.
    """
    with torch.device("meta"):
        if published.space is not None:
            space = search_spaces.load(published.space).restrict(published.architecture)
            return Supernet(space, 1000).extract(published.architecture)
        family, _, name = str(published.network).partition("_")
        if family != "fbnetv3":
            raise ValueError(f"{published.name}: no plain network {published.network!r} is known")
        return fbnetv3(name)


def count(published: Published) -> Counted:
    """Count a published network's multiply-adds and parameters."""
    side = published.resolution or published.architecture.resolution
    cost = nasvit.costs.counting.count(build(published), 3, side, side)
    return Counted(cost.macs, cost.params)


def write(name: str, counted: Counted) -> None:
    """Write our counts into a published network's file, as its last line."""
    path = path_of(name)
    kept = re.sub(r"^counted:.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(f"{kept}counted: {{macs: {counted.macs}, params: {counted.params}}}\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.published", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write our counts into the files")
    options = parser.parse_args(arguments)
    heads = f"{'MACs/1e6 printed':>17} {'counted':>12} {'params/1e6 printed':>19} {'counted':>10} {'top-1':>7}"
    print(f"{'network':<20} {heads}")
    for name in names():
        published = load(name)
        counted, printed = count(published), published.printed
        print(
            f"{name:<20} {_number(printed.macs):>17} {counted.macs / 1e6:>12.3f} {_number(printed.params):>19} "
            f"{counted.params / 1e6:>10.3f} {_number(printed.top1):>7}"
        )
        if options.write:
            write(name, counted)
    return 0


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


if __name__ == "__main__":
    sys.exit(main())
