"""The card of a saved network: spec, classes, image size, normalization and origin."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import search_spaces
from nasvit.export.limits import LARGEST_SIDE, check_sides
from nasvit.export.written import is_trusted, remember
from nasvit.files.records import read_json, versions, write_record
from nasvit.heads.decoded import DecoderPlace
from nasvit.heads.detections import Choice
from nasvit.names import is_function, spec_of_name
from nasvit.specs import CodeSpec, Spec, SubnetSpec, functions_of, spec_from_json
from nasvit.trust import name as name_as_trusted
from nasvit.trust import trusts
from search_spaces.ranges import Checked, Range
from search_spaces.reading import from_json_value
from search_spaces.values import FieldError

CARD = "card.json"
CONFIG, IN_CONFIG = "config.json", "nasvit"
"""The file that stands for the card where a network is shared on a hub, and the card's place in it."""

FORMAT = 1

_SHOWN, _SEARCHED = 5, 500  # networks that a message names, and folders that are looked into for them, at most


@dataclass(frozen=True)
class Card:
    """Everything about a saved network but its weights.

    Args:
        spec: spec of the network, which builds it again.
        classes: names of the classes that it scores.
        side: side of the images that it takes, in pixels, and its program no others; None: its spec's.
        mean: mean of each channel of its images, for pixels from 0 to 1; empty: unknown.
        deviation: standard deviation of each channel, for pixels from 0 to 1.
        fused: whether its convolutions had branches, and so have a bias and no batch norm now.
        origin: origin of the weights: recipe, configuration, seed, data, anything that JSON holds.
        versions: versions of Python and of the packages that saved it.
        crop_pct: share of the resized short side of a larger image that it is evaluated on: 0.875 is 224 of 256 pixels.
        exports: files for other runtimes beside it, by name: size, and how their scores compare with the network's.
        bundles: folders made of it beside it, such as a browser page, by name: their files.
        weights: SHA-256 of the file of its weights; empty: unknown.
    """

    spec: Spec
    classes: tuple[str, ...]
    side: int | None = None
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    fused: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)
    crop_pct: float = 1.0
    exports: Mapping[str, Any] = field(default_factory=dict)
    bundles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    weights: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width."""
        height, width = (self.side, self.side) if self.side else self.spec.image_size
        return self.spec.channels, height, width

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain JSON values."""
        channels, height, width = self.shape
        size = {"side": height} if height == width else {"side": 0, "height": height, "width": width}
        return {
            "format": FORMAT,
            "kind": self.spec.kind,
            "spec": self.spec.to_json(),
            "fused": self.fused,
            "classes": list(self.classes),
            "image": {"channels": channels, **size, "crop_pct": self.crop_pct},
            "normalization": {"mean": list(self.mean), "deviation": list(self.deviation)},
            "origin": dict(self.origin),
            "versions": dict(self.versions),
            **({"exports": dict(self.exports)} if self.exports else {}),
            **({"weights": self.weights} if self.weights else {}),
            **({"bundles": {name: list(files) for name, files in self.bundles.items()}} if self.bundles else {}),
        }

    def write(self, folder: Path) -> None:
        """Write the card into a folder, whole or not at all."""
        write_record(folder / CARD, self.to_json())
        functions = functions_of(self.spec)
        if functions and all(map(trusts, functions)):
            remember(folder / CARD)

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read the card of a folder, also one that an earlier version wrote, or one for a hub.

        Raises:
            FileNotFoundError: if the folder has no card.
            ValueError: if the card is of a later version, or damaged.
        """
        found = _found(folder)
        if found is None:
            raise FileNotFoundError(f"{folder} holds no saved network: {CARD} is missing{way_out(folder)}")
        path, content = found
        try:
            card = cls._of(content, path)
            check_sides(card.spec, str(path))
            if functions_of(card.spec) and is_trusted(path):
                name_as_trusted(functions_of(card.spec))
        except (LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"{path} is damaged, or no card: {type(error).__name__}: {error}") from error
        return card

    @classmethod
    def _of(cls, content: Any, path: Path) -> Card:
        """Return the card that is in a file."""
        if not isinstance(content, Mapping):
            raise ValueError(f"{path} is no card of a network that nasvit saved")
        if "format" not in content:
            content = _of_old(content, path.parent)
        told = from_json_value(_Told, content, str(path), more=True)
        if told.format > FORMAT:
            raise ValueError(
                f"{path} is of format {told.format}, and this version of nasvit reads formats up to {FORMAT}; "
                "update nasvit"
            )
        for name in ("spec", "origin", "versions"):
            if not isinstance(content.get(name), Mapping):
                raise ValueError(f"{path}: {name} is no mapping; the card is damaged")
        return cls(
            spec_from_json(told.kind, content["spec"], str(path)),
            told.classes,
            told.image.side or None,
            told.normalization.mean,
            told.normalization.deviation,
            told.fused,
            content["origin"],
            content["versions"],
            told.image.crop_pct,
            content.get("exports", {}),
            told.bundles,
            told.weights,
        )


@dataclass(frozen=True)
class _Image(Checked):
    side: Annotated[int, Range(0, LARGEST_SIDE)] | None
    crop_pct: Annotated[float, Range(0.1, 1)] = 1.0


@dataclass(frozen=True)
class _Normalization(Checked):
    mean: tuple[Annotated[float, Range(-1000, 1000)], ...] = ()
    deviation: tuple[Annotated[float, Range(0, 1000, above=True)], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.mean) != len(self.deviation):
            raise FieldError(["deviation"], f"has {len(self.deviation)} numbers, and mean has {len(self.mean)}")


@dataclass(frozen=True)
class _Export:
    format: str
    file: str
    files: tuple[str, ...]
    int8: bool
    decoder: DecoderPlace = "outside"
    choice: Choice | None = None


@dataclass(frozen=True)
class _Told(Checked):
    """What the file of a card says, but for parts that may hold anything; anybody may have written it."""

    format: Annotated[int, Range(1, 1000)]
    kind: str
    classes: tuple[str, ...]
    image: _Image
    normalization: _Normalization
    fused: bool
    exports: dict[str, _Export] = field(default_factory=dict)
    bundles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    weights: str = ""


def is_card(folder: Path) -> bool:
    """Return whether a folder has a card, its own or that of a hub."""
    return _found(folder) is not None


def way_out(folder: Path) -> str:
    """Return which saved networks lie in a folder that is none, or beside one that is not there, to end a message."""
    found = list(islice(_networks_near(folder), _SHOWN + 1))
    if len(found) < 2:
        return f"; there is one in {found[0]}" if found else ""
    return f"; there are: {', '.join(map(str, found[:_SHOWN]))}{', ...' if found[_SHOWN:] else ''}"


def _networks_near(folder: Path) -> Iterator[Path]:
    """Yield folders of saved networks, the nearest first; where millions of images lie not many places are searched."""
    waiting = deque([folder if folder.is_dir() else folder.parent])
    for _ in range(_SEARCHED):
        if not waiting:
            return
        place = waiting.popleft()
        if place != folder and (place / CARD).is_file():
            yield place
            continue
        with suppress(OSError), os.scandir(place) as inside:
            names = [each.name for each in inside if each.is_dir(follow_symlinks=False)]
            waiting.extend(place / name for name in sorted(names) if not name.startswith("."))


def remove_card(folder: Path) -> None:
    """Remove the card of a folder, and the files that it tells of: exports, and the folders made of them."""
    while (found := _found(folder)) is not None:
        path, content = found
        try:
            exports = [name for entry in content.get("exports", {}).values() for name in entry["files"]]
            bundles = [name for files in content.get("bundles", {}).values() for name in files]
            remove_files(folder, [*exports, *bundles])
        except (LookupError, TypeError, AttributeError):  # it is damaged, and tells of no files
            pass
        path.unlink()


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files inside a folder, and the folders inside it that are empty then.

    Args:
        folder: the folder.
        names: names relative to it; those that lead out of it are left alone, since anybody may have written a card.
    """
    for name in names:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            continue
        path.unlink(missing_ok=True)
        for parent in path.relative_to(folder).parents[:-1]:
            if (folder / parent).is_dir() and not any((folder / parent).iterdir()):
                (folder / parent).rmdir()


def _found(folder: Path) -> tuple[Path, Any] | None:
    """Return the file with the card of a folder, and the card; None if it has none."""
    if (folder / CARD).exists():
        return folder / CARD, read_json(folder / CARD)
    try:
        return folder / CONFIG, json.loads((folder / CONFIG).read_text(encoding="utf-8"))[IN_CONFIG]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # there is none, or one of something else
        return None


def _of_old(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Convert a card without a format, of which there were two kinds, to format 1."""
    if (folder / "space.yaml").exists():
        space = search_spaces.load(folder / "space.yaml")
        architecture = search_spaces.Architecture.load(folder / "architecture.json")
        spec: Spec = SubnetSpec(space, architecture, content.get("resize", True))
    elif "network" in content:
        name, channels = content["network"], content["image_channels"]
        spec = CodeSpec(name, channels) if is_function(name) else spec_of_name(name, image_channels=channels)
    else:
        raise ValueError(f"{folder / CARD} is no card of a network that nasvit saved")
    told = ("classes", "image", "normalization", "versions", "fused", "resize", "network", "image_channels")
    return {
        "format": FORMAT,
        "kind": spec.kind,
        "spec": spec.to_json(),
        "fused": content.get("fused", False),
        "classes": content["classes"],
        "image": content.get("image", {"side": None}),
        "normalization": content.get("normalization", {"mean": [], "deviation": []}),
        "origin": {key: value for key, value in content.items() if key not in told},
        "versions": content.get("versions", {}),
    }
