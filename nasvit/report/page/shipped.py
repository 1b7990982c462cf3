"""Files for other runtimes, and how long one image takes in each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasvit.report.page.holding import Holding, card_of
from nasvit.report.page.reading import Fields, Reader, mapping_of, number_of


@dataclass(frozen=True)
class File:
    """A file that was exported; each field as it is printed.

    Args:
        network: which network.
        name: the file, and whether it is gone.
        size: its size.
        deviation: largest deviation of its scores.
        agreement: share of the images to which it gives the same class as the network.
        accuracy: its accuracy, mean average precision or intersection over union.
        of_network: the network's.
        images: what both were compared on.
    """

    network: str
    name: str
    size: str
    deviation: str
    agreement: str
    accuracy: str
    of_network: str
    images: str


@dataclass(frozen=True)
class Time:
    """How long one image takes.

    Args:
        network: network or file.
        threads: number of threads.
        median: milliseconds.
        p90: nine of ten are faster; milliseconds.
        share: the median as a share of the slowest, from 0 to 1.
        memory: what it adds to the memory, as it is printed; nothing if it was not measured.
    """

    network: str
    threads: str
    median: float
    p90: float
    share: float
    memory: str


@dataclass(frozen=True)
class Timed:
    """The times of one file of ``nasvit bench``.

    Args:
        file: the file.
        processor: what they were measured on.
        rows: the times.
    """

    file: str
    processor: str
    rows: tuple[Time, ...]


def files(holding: Holding) -> list[File]:
    """Return the exported files of all networks in a folder."""
    found = []
    for entry in holding.entries:
        for how, folder in entry.networks.items():
            network = entry.title if how in ("", "deployed") else f"{entry.title}, {how}"
            exports = mapping_of(card_of(holding.reader, folder).get("exports"))
            found += [_file(network, _named(folder, name), mapping_of(each)) for name, each in exports.items()]
    return found


def _named(folder: Path, name: str) -> str:
    """Return the name of a file, and that it is gone if it was deleted since."""
    return name if (folder / name).is_file() else f"{name} (no longer there)"


def _file(network: str, name: str, told: Fields) -> File:
    parity = mapping_of(told.get("parity"))
    on = str(told.get("compared_on", ""))
    metric = next((each for each in ("map", "miou") if each in parity), "accuracy")
    return File(
        network,
        name,
        f"{number_of(told.get('bytes')) / 1e3:,.0f} kB",
        _formatted(parity.get("deviation"), "{:.1e}"),
        _formatted(parity.get("agreement"), "{:.2%}"),
        _formatted(parity.get(metric), "{:.2%}"),
        _formatted(parity.get(f"{metric}_of_network"), "{:.2%}"),
        f"{parity.get('images', '')} of {on}" if on != "noise" else "noise",
    )


def _formatted(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, (int, float)) else ""


def times(holding: Holding) -> list[Timed]:
    """Return what ``nasvit bench --out`` wrote into a folder, or beside a network in it."""
    folders = [holding.folder, *(folder for entry in holding.entries for folder in entry.networks.values())]
    paths = sorted({path for folder in folders for path in folder.glob("*.json")})
    return [found for path in paths if (found := _timed(holding.reader, path)) is not None]


def _timed(reader: Reader, path: Path) -> Timed | None:
    name = path.relative_to(reader.folder)
    content = reader.mapping(name)
    rows = content.get("rows")
    if "processor" not in content or not isinstance(rows, list):
        return None
    whole = [each for each in rows if isinstance(each, dict) and {"network", "median"} <= each.keys()]
    instructions = ", ".join(map(str, content.get("int8_instructions") or ())) or "none"
    on = f"{content['processor']}; instructions for 8-bit integers: {instructions}"
    return Timed(str(name), on, tuple(_rows(whole)))


def _rows(rows: list[dict[str, Any]]) -> Iterable[Time]:
    slowest = max((number_of(each["median"]) for each in rows), default=1.0) or 1.0
    for each in rows:
        median = number_of(each["median"])
        threads, p90 = str(each.get("threads", "")), number_of(each.get("p90"))
        memory = number_of(each.get("memory"))
        added = f"{memory / 1e6:.1f} MB" if math.isfinite(memory) else ""
        yield Time(str(each["network"]), threads, median, p90, median / slowest, added)
