"""Published subnets and networks, with the numbers that the publication prints and our own counts.

NASViT-A0 to A5 are not here. Their architectures exist only as transcriptions by third parties: A2 to A4 of those do
not reproduce their published cost, and that of A1 leaves two expand ratios open. What the authors released are the
smallest and the largest subnet of their supernet.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import search_spaces
from search_spaces.architecture import Architecture
from search_spaces.reading import legal_names, load_yaml
from search_spaces.values import FieldError, Number

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sizes:
    """The sizes of a subnet; see :class:`search_spaces.Architecture`. Fields without a choice may be left out."""

    resolution: int
    width: tuple[int, ...]
    depth: tuple[int, ...]
    kernel_size: tuple[int, ...]
    expand_ratio: tuple[Number, ...]


@dataclass(frozen=True)
class Printed:
    """Numbers that the publication prints; None where it prints none.

    Args:
        macs: multiply-adds in millions (the source may call them FLOPs).
        params: parameters in millions.
        top1: ImageNet top-1 accuracy in percent.
        top5: ImageNet top-5 accuracy in percent.
    """

    macs: Number | None = None
    params: Number | None = None
    top1: Number | None = None
    top5: Number | None = None


@dataclass(frozen=True)
class Counted:
    """Our own counts of the network that runs.

    Args:
        macs: multiply-adds of one image.
        params: parameters.
    """

    macs: int
    params: int


@dataclass(frozen=True)
class Published:
    """One published network.

    Args:
        name: name in this catalog.
        source: publication, and where it prints the numbers.
        printed: the numbers that it prints.
        space: the space of the catalog that holds it, for subnets.
        subnet: the sizes, or the extreme of the space; for subnets.
        network: name of the plain network, for networks of no space.
        resolution: side of its images in pixels, for plain networks.
        counted: our own counts.
        note: remark for comparing the numbers.

    Raises:
        ValueError: unless it is either a subnet of a space or a plain network.
    """

    name: str
    source: str
    printed: Printed
    space: str | None = None
    subnet: Sizes | Literal["smallest", "largest"] | None = None
    network: str | None = None
    resolution: int | None = None
    counted: Counted | None = None
    note: str = ""

    def __post_init__(self) -> None:
        given = [part is not None for part in (self.space, self.subnet, self.network, self.resolution)]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise FieldError([], "legal: either space and subnet, or network and resolution")

    @property
    def architecture(self) -> Architecture:
        """Return the subnet as an architecture of its space.

        Raises:
            ValueError: for a plain network, or if the space does not hold the subnet.
        """
        if self.space is None or self.subnet is None:
            raise ValueError(f"{self.name} is the plain network {self.network!r}, of no space")
        space = search_spaces.load(self.space)
        if isinstance(self.subnet, str):
            return space.smallest if self.subnet == "smallest" else space.largest
        return space.architecture({field.name: getattr(self.subnet, field.name) for field in fields(self.subnet)})


def names() -> tuple[str, ...]:
    """Return the names of all published networks."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def path_of(name: str) -> Path:
    """Return the file of a published network.

    Raises:
        ValueError: if there is no network of that name.
    """
    if name not in names():
        raise ValueError(f"no published network is called {name!r}; {legal_names(name, names())}")
    return _FOLDER / f"{name}.yaml"


def load(name: str) -> Published:
    """Read a published network.

    Raises:
        ValueError: if there is no network of that name, or its file is wrong.
    """
    return load_yaml(Published, path_of(name))
