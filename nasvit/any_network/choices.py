"""The sizes that are chosen from, made of what can be decided in a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated

from nasvit.any_network.groups import Group
from nasvit.any_network.plan import Plan
from nasvit.any_network.runs import Run
from search_spaces.elastic import FIELDS, ElasticArchitecture, ElasticSpace, Part
from search_spaces.ranges import Checked, Pixels, Range
from search_spaces.values import FieldError, check_choices, shown

WIDTHS = (0.25, 0.375, 0.5, 0.75, 1.0)
DIVISOR = 8


@dataclass(frozen=True)
class Elastic(Checked):
    """What is decided in a network that is made elastic, and in which steps.

    Args:
        width: shares of the channels, or heads, that each group of them may keep, as well as all; ``[1.0]``: widths
            stay.
        divisor: channels are kept in multiples of it, where a group has at least four times as many.
        depth: whether the last residual blocks of every run may be left out.
        fewest_blocks: blocks of a run that stay at least.
        kernel_size: whether the kernels of depthwise convolutions may be cropped, to at least 3.
        resolution: sides of the images; empty: only that of the example.
        fixed: names of parts, or beginnings of names, that stay as they are.

    Raises:
        ValueError: naming the field, the value and what is legal.
    """

    width: tuple[Annotated[float, Range(0, 1, above=True)], ...] = WIDTHS
    divisor: Annotated[int, Range(1, 4096)] = DIVISOR
    depth: bool = True
    fewest_blocks: Annotated[int, Range(1, 1000)] = 1
    kernel_size: bool = True
    resolution: tuple[Pixels, ...] = ()
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices("width", self.width)
        if self.resolution:
            check_choices("resolution", self.resolution)


def space_of(plan: Plan, elastic: Elastic, name: str, image: tuple[int, ...]) -> ElasticSpace:
    """Return the space of a network.

    Args:
        plan: what can be decided in it.
        elastic: what is.
        name: name of the space.
        image: shape of the images that the network is for.
    """
    blocks = _Blocks(plan)
    parts = [_run(run, elastic) for run in plan.runs]
    parts += [
        Part("width", group.name, _widths(group, elastic), blocks.of([name for name, _ in group.places]))
        for group in plan.groups
    ]
    parts += [
        Part("kernel_size", path, _kernels(side, elastic), blocks.of([path])) for path, side in plan.kernels.items()
    ]
    resolution = elastic.resolution or (image[-1],)
    for beginning in elastic.fixed:
        if not any(part.name.startswith(beginning) for part in parts):
            near = get_close_matches(beginning, [part.name for part in parts]) or [part.name for part in parts[:5]]
            raise FieldError(
                ["fixed"], f"no part's name begins with {shown(beginning)}; there are {', '.join(near)}, ..."
            )
    free = [part for part in parts if not part.name.startswith(elastic.fixed or ("\0",))]
    runs = {part.block[0] for part in free if part.block}
    kept = [part for part in free if len(part.values) > 1 or (part.field == "depth" and part.name in runs)]
    return ElasticSpace(name, resolution, tuple(kept), image_channels=image[0])


def _run(run: Run, elastic: Elastic) -> Part:
    fewest = max(run.fewest, min(elastic.fewest_blocks, len(run.blocks))) if elastic.depth else len(run.blocks)
    return Part("depth", run.name, tuple(range(fewest, len(run.blocks) + 1)))


def _kernels(side: int, elastic: Elastic) -> tuple[int, ...]:
    return tuple(range(3, side + 1, 2)) if elastic.kernel_size else (side,)


def _widths(group: Group, elastic: Elastic) -> tuple[int, ...]:
    chosen = {units_at(group, share, elastic.divisor) for share in (*elastic.width, 1.0)}
    return tuple(sorted(chosen | {group.units}))


def step_of(group: Group, divisor: int) -> int:
    """Return what the units of a group are multiples of: the divisor, where there are at least four times as many."""
    return divisor if group.units >= 4 * divisor else 1


def units_at(group: Group, share: float, divisor: int) -> int:
    """Return a share of a group's units, rounded to whole steps; at least one step."""
    step = step_of(group, divisor)
    return min(max(1, round(share * group.units / step)) * step, group.units)


def uniform(plan: Plan, width: float, side: int, divisor: int = DIVISOR) -> ElasticArchitecture:
    """Return the subnet that keeps one share of the channels everywhere.

    Args:
        plan: what can be decided in the network.
        width: the share, above 0 and up to 1.
        side: side of the images in pixels.
        divisor: channels are kept in multiples of it, where a group has at least four times as many.

    Raises:
        ValueError: if the share is not above 0 and up to 1.
    """
    if not 0 < width <= 1:
        raise ValueError(f"width={width}; a network has no more channels than it has: legal are shares from 0 to 1")
    units = [each.units if width == 1 else units_at(each, width, divisor) for each in plan.groups]
    return ElasticArchitecture(side, tuple((each.name, kept) for each, kept in zip(plan.groups, units, strict=True)))


class _Blocks:
    """Tells in which block of which run a part lies."""

    def __init__(self, plan: Plan) -> None:
        self._block_of = [
            (path, run.name, number)
            for run in plan.runs
            for number, path in enumerate(run.blocks)
            if number >= run.fewest
        ]

    def of(self, names: Sequence[str]) -> tuple[str, int] | None:
        """Return the block that holds all of some modules or tensors; None: there is none."""
        found = {self._of(name) for name in names}
        return found.pop() if len(found) == 1 else None

    def _of(self, name: str) -> tuple[str, int] | None:
        for path, run, number in self._block_of:
            if name.startswith(f"{path}.") or name == path:
                return run, number
        return None


def space_around(plan: Plan, architecture: ElasticArchitecture) -> ElasticSpace:
    """Return a space that holds an architecture and nothing else.

    Args:
        plan: what can be decided in the network.
        architecture: sizes of a subnet.

    Raises:
        ValueError: if the network has no such part, or is not that large.
    """
    known = {"width": {group.name: group.units for group in plan.groups}, "kernel_size": dict(plan.kernels)}
    known["depth"] = {run.name: len(run.blocks) for run in plan.runs}
    parts = []
    for field in FIELDS:
        for name, value in getattr(architecture, field):
            if value > known[field].get(name, 0):
                legal = f"up to {known[field][name]}" if name in known[field] else "no such part"
                raise ValueError(f"{field}.{name} is {value}; the network has {legal}")
            parts.append(Part(field, name, (value,)))
    return ElasticSpace("subnet", (architecture.resolution,), tuple(parts))
