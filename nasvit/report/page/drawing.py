"""A network block by block: what stands in it, drawn and with what each block costs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

import search_spaces
from nasvit.costs.counting import Cost
from nasvit.export.card import Card
from nasvit.export.saved import load_saved, with_fused_structure
from nasvit.export.switchable import SwitchableModel
from nasvit.layers import Network
from nasvit.layers.network import Resized
from nasvit.report.console import short
from nasvit.report.page.holding import Entry, Holding
from nasvit.report.page.words import plain
from nasvit.report.profile import blocks, named_blocks
from nasvit.specs import Spec, SubnetSpec, WidthsSpec
from predictors.blocks import BlockKey, blocks_of
from search_spaces import Architecture

COLORS = 8
"""Colors of stages that the page's style defines."""

_NARROW, _WIDE, _WHOLE = 34, 54, 980
_GAP, _STAGE_GAP = 4, 10
_HIGHEST, _LOWEST, _TEXT = 110, 26, 15
_HANGING = 56  # what the largest share of the costs is drawn as


@dataclass(frozen=True)
class Block:
    """One block of a network.

    Args:
        name: what it is.
        stage: number of its color, from 0; None: an end of the network.
        facts: its sizes in words, such as ``kernel 3``.
        shape: shape of its output.
        cost: what it costs.
        macs_share: its share of the network's multiply-adds, from 0 to 1.
        params_share: the same of the parameters.
    """

    name: str
    stage: int | None
    facts: tuple[str, ...]
    shape: str
    cost: Cost
    macs_share: float
    params_share: float

    @property
    def says(self) -> str:
        """All of it in one line."""
        costs = f"{short(self.cost.macs)} MACs, {short(self.cost.params)} parameters"
        return "; ".join([self.name, *self.facts, f"output {self.shape}", costs])


@dataclass(frozen=True)
class Bar:
    """A block as it is drawn: as high as its map is large, with its channels above and its kernel inside.

    Args:
        block: the block.
        x: left side.
        y: top.
        height: height.
        above: text above it.
        inside: lines of text inside it.
        macs: length of the bar below it that stands for its multiply-adds.
        params: the same of its parameters.
    """

    block: Block
    x: int
    y: int
    height: int
    above: str
    inside: tuple[str, ...]
    macs: float
    params: float


@dataclass(frozen=True)
class Drawing:
    """A network as it is drawn.

    Args:
        bars: its blocks from left to right.
        width: width of the picture.
        height: height of the picture.
        bar: width of a bar.
        ground: height at which the bars stand, and their costs hang.
    """

    bars: tuple[Bar, ...]
    width: int
    height: int
    bar: int
    ground: int

    @property
    def blocks(self) -> list[Block]:
        """The blocks in their order."""
        return [bar.block for bar in self.bars]


def drawing(holding: Holding, entry: Entry) -> Drawing | None:
    """Return the drawing of a network; None if it is not known yet.

    Raises:
        ValueError: if its card is damaged, or of another version.
    """
    if entry.deployed is not None:
        card = Card.read(entry.deployed)
        network = _plain(entry, card)
        return _draw(_blocks(network, card.spec, len(card.classes)))
    spec = _chosen(holding, entry)
    if spec is None:
        return None
    classes = holding.reader.json("classes.json") or holding.reader.mapping("split.json").get("held_out_per_class")
    count = len(classes) if isinstance(classes, list) else 10
    return _draw(_blocks(spec.build(count), spec, count))


def _plain(entry: Entry, card: Card) -> nn.Module:
    """Return a saved network, or the widest of one with several widths."""
    assert entry.deployed is not None
    if isinstance(card.spec, WidthsSpec):
        network = load_saved(entry.deployed).network
        assert isinstance(network, SwitchableModel)
        return network.export(network.largest)
    network = card.spec.build(len(card.classes)).eval()
    return with_fused_structure(network) if card.fused else network


def _chosen(holding: Holding, entry: Entry) -> Spec | None:
    """Return the spec of a chosen subnet that was not saved yet."""
    space, fields = holding.config.get("space"), entry.architecture
    if not isinstance(space, str) or not fields:
        return None
    return SubnetSpec(search_spaces.load(space), Architecture.from_json(json.dumps(dict(fields))))


def _blocks(network: nn.Module, spec: Spec, classes: int) -> list[Block]:
    if isinstance(network, Resized):
        network = network.network
    modules = dict(named_blocks(network))
    rows = list(blocks(network, spec.channels, spec.side))
    keys = _keys(network, spec, len(rows))
    macs, params = (max(1, sum(getattr(cost, name) for _, _, cost in rows)) for name in ("macs", "params"))
    stages = list(dict.fromkeys(_stage(name) for name, _, _ in rows if _stage(name)))
    found = []
    for number, (name, shape, cost) in enumerate(rows):
        if not cost.macs and not cost.params:  # an activation, say
            continue
        facts = _facts(modules[name]) if keys is None else _facts_of_key(keys[number])
        stage = stages.index(_stage(name)) % COLORS if _stage(name) in stages else None
        found.append(Block(name, stage, facts, shape, cost, cost.macs / macs, cost.params / params))
    return found


def _keys(network: nn.Module, spec: Spec, count: int) -> list[BlockKey] | None:
    """Return what a search space knows of each block; None of other networks."""
    if not isinstance(spec, SubnetSpec) or not isinstance(network, Network):
        return None
    parts = blocks_of(spec.space, spec.architecture)
    keys = [key for part in parts for key, times in part for _ in range(times)]
    return keys if len(keys) == count else None


def _stage(name: str) -> str:
    """Return what blocks of one stage have in common in their names; nothing for the ends of a network."""
    if name in ("stem", "head"):
        return ""
    first, _, rest = name.partition(" ")
    return f"stage {rest.partition(' ')[0]}" if first == "stage" else first.rpartition(".")[0]


def _facts_of_key(key: BlockKey) -> tuple[str, ...]:
    sizes = {"kernel": key.kernel_size, "expand": key.expand_ratio, "MLP": key.mlp_ratio, "windows": key.windows}
    words = [f"{name} {plain(size)}" for name, size in sizes.items() if size is not None]
    words += ["stride 2"] if key.stride == 2 else []
    words += ["squeeze-excite"] if key.squeeze_excite else []
    return tuple([*words, f"{key.in_channels} to {key.out_channels} channels"])


def _facts(module: nn.Module) -> tuple[str, ...]:
    """Return what the convolutions of a block of any network tell."""
    convolutions = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
    if not convolutions:
        return ()
    kernel = max(max(each.kernel_size) for each in convolutions)
    words = [f"kernel {kernel}"]
    words += ["stride 2"] if any(max(each.stride) == 2 for each in convolutions) else []
    grouped = any(each.groups > 1 for each in convolutions)
    hidden, taken = max(each.out_channels for each in convolutions), convolutions[0].in_channels
    words += [f"expand {hidden / taken:.2g}"] if grouped and hidden > taken else []
    return tuple([*words, f"{taken} to {convolutions[-1].out_channels} channels"])


def _draw(found: Sequence[Block]) -> Drawing:
    """Place the bars: higher where maps are larger, on a common ground line, stages apart, their costs below it."""
    sides = [_side(block) for block in found]
    largest = max([math.log2(side) for side in sides] or [1.0]) or 1.0
    most = max([max(block.macs_share, block.params_share) for block in found] or [1.0]) or 1.0
    width = min(_WIDE, max(_NARROW, _WHOLE // max(1, len(found)) - _STAGE_GAP))
    ground, x, bars = _TEXT + _HIGHEST, _GAP, list[Bar]()
    for number, (block, side) in enumerate(zip(found, sides)):
        if number:
            x += width + (_GAP if block.stage == found[number - 1].stage else _STAGE_GAP)
        height = round(_LOWEST + (_HIGHEST - _LOWEST) * math.log2(side) / largest)
        channels = block.shape.partition(" x ")[0] if " x " in block.shape else ""
        costs = (round(_HANGING * share / most, 1) for share in (block.macs_share, block.params_share))
        bars.append(Bar(block, x, ground - height, height, channels, _inside(block, height), *costs))
    return Drawing(tuple(bars), x + width + _GAP, ground + _HANGING + _GAP, width, ground)


def _side(block: Block) -> int:
    """Return the side of the map that a block returns, in pixels; 1 for class scores and other shapes."""
    last = block.shape.rpartition(" x ")[2]
    return max(1, int(last)) if last.isdigit() else 1


def _inside(block: Block, height: int) -> tuple[str, ...]:
    """Return the few letters that there is room for: kernel, expand ratio, windows."""
    letters = {"kernel": "k", "expand": "e", "MLP": "m", "windows": "w"}
    words = [fact.partition(" ") for fact in block.facts]
    short_words = [f"{letters[name]}{size}" for name, _, size in words if name in letters]
    return tuple(short_words[: max(1, (height - 6) // 12)])
