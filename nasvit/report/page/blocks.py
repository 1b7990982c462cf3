"""A network block by block: what stands in it, and what each block costs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from torch import nn

import search_spaces
from nasvit.costs.counting import Cost
from nasvit.export.card import Card
from nasvit.export.saved import load_saved
from nasvit.export.switchable import SwitchableModel
from nasvit.layers import Network
from nasvit.layers.network import Resized
from nasvit.report.console import short
from nasvit.report.page.holding import Entry, Holding
from nasvit.report.page.words import plain
from nasvit.report.profile import blocks, named_blocks
from nasvit.specs import Spec, SubnetSpec
from predictors.blocks import BlockKey, blocks_of
from search_spaces import Architecture

COLORS = 8
"""Colors of stages that the page's style defines."""


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


def network_blocks(holding: Holding, entry: Entry) -> list[Block]:
    """Return the blocks of a network; none if it is not known yet.

    Raises:
        ValueError: if its card is damaged, or of another version.
    """
    if entry.deployed is not None:
        card = Card.read(entry.deployed)
        network = plain_network(entry)
        return _blocks(network, card.spec, len(card.classes))
    spec = _chosen(holding, entry)
    if spec is None:
        return []
    classes = holding.reader.json("classes.json") or holding.reader.mapping("split.json").get("held_out_per_class")
    count = len(classes) if isinstance(classes, list) else 10
    return _blocks(spec.build(count), spec, count)


def plain_network(entry: Entry) -> nn.Module:
    """Return a saved network as it is loaded, or the widest of one with several widths."""
    assert entry.deployed is not None
    network = load_saved(entry.deployed).network
    return network.export(network.largest) if isinstance(network, SwitchableModel) else network


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
    rows = list(blocks(network, spec.channels, *spec.image_size))
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
    if first == "stage" or rest == nn.Sequential.__name__:  # which is a stage by itself
        return f"{first} {rest.partition(' ')[0]}"
    return first.rpartition(".")[0]


def _facts_of_key(key: BlockKey) -> tuple[str, ...]:
    sizes = {"kernel": key.kernel_size, "expand": key.expand_ratio, "MLP": key.mlp_ratio, "windows": key.windows}
    sizes["start kernel"] = key.start_kernel_size
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
