"""AutoSlim on a trained network: which channels to take where, measured on images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.any_network.widths import SlimmableModel
from nasvit.costs.counting import count
from nasvit.models.family import Family
from nasvit.models.plan import ChannelPlan
from nasvit.search.greedy import Channels, Slimmed, slim_greedily
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.widths import Slimmable
from search_spaces import ElasticArchitecture, make_divisible

PARTS = 12
"""One step takes about so many parts of a layer's channels, as in the released configurations."""


def slim(
    network: Slimmable[Any],
    targets: Sequence[float],
    images: Tensor,
    labels: Tensor,
    *,
    parts: int = PARTS,
) -> list[tuple[Any, Slimmed]]:
    """Slim a trained universally slimmable network to some numbers of multiply-adds.

    It starts at the largest network and takes channels, a step at a time, where the top-1 error on one batch grows
    least; batch norms use the batch's own statistics. What is found is to be trained again: jointly, as the switches of
    ``SlimmableNetwork(family, plans, ...)``, or of a :class:`nasvit.any_network.widths.SlimmableModel`.

    Source: Yu and Huang, AutoSlim (2019), section 3, https://arxiv.org/abs/1903.11728

    Args:
        network: trained, with ``norm="universal"``; nothing in it is changed.
        targets: multiply-adds to undercut, in any order.
        images: a batch of held-out images, shape ``(batch, channels, height, width)``.
        labels: int64 ``(batch,)``.
        parts: a step takes about this part of a layer's channels.

    Returns:
        The channels found for each target, as the network's ``at`` takes them, and how, from the largest target to the
        smallest.

    Raises:
        ValueError: if the network cannot run at any channels, or a target cannot be met.
    """
    if network.norm != "universal":
        raise ValueError(f'AutoSlim needs a network that runs at any channels: norm="universal", not "{network.norm}"')
    start = _of_network(network, parts) if isinstance(network, SlimmableModel) else _of_family(network, parts)
    found = slim_greedily(
        start.channels,
        start.steps,
        lambda channels: top1_error(network.at(start.width(channels)), images, labels),
        lambda channels: count(network.at(start.width(channels)), *images.shape[1:]).macs,
        targets,
    )
    return [(start.width(each.channels), each) for each in found]


@dataclass(frozen=True)
class _Start:
    """What is slimmed.

    Args:
        channels: channels of every group to start with.
        steps: channels taken from each at a time.
        width: channels of every group -> what the network's ``at`` takes.
    """

    channels: Channels
    steps: Channels
    width: Callable[[Channels], Any]


def _of_family(network: Slimmable[Any], parts: int) -> _Start:
    assert isinstance(network, SlimmableNetwork)
    groups, largest = channel_groups(network), network.largest_plan.channels

    def plan(channels: Channels) -> ChannelPlan:
        chosen = {entry: each for group, each in zip(groups, channels, strict=True) for entry in group}
        return ChannelPlan(tuple(chosen[entry] for entry in range(len(largest))))

    start = tuple(largest[group[0]] for group in groups)
    return _Start(start, tuple(_step(network.family, channels, parts) for channels in start), plan)


def _of_network(network: SlimmableModel, parts: int) -> _Start:
    largest = network.sizes(max(network.widths, key=network.channels))
    names = [group.name for group in network.plan.groups]
    channels = dict(largest.width)

    def sizes(channels: Channels) -> ElasticArchitecture:
        return ElasticArchitecture(largest.resolution, tuple(zip(names, channels, strict=True)))

    start = tuple(channels[name] for name in names)
    return _Start(start, network.slimming_steps(parts), sizes)


def channel_groups(network: SlimmableNetwork) -> list[list[int]]:
    """Return which entries of the network's channel plans must be equal: those that a shortcut joins.

    Raises:
        ValueError: for blocks that append their pooled input, whose channels out depend on those in.
    """
    if any(block.kind == "shuffle" for block in network.family.blocks()):
        raise ValueError(f"AutoSlim: blocks of {network.family.name} append their input, so layers are not independent")
    parts = network.family.split(range(len(network.largest_plan.channels)))
    groups, last = [[parts.stem]], 0
    for stage, decided in zip(network.fixed_family.stages, parts.stages, strict=True):
        for block, entries in zip(stage, decided, strict=True):
            groups += [[entry] for entry in entries[:-1]]
            if block.shortcut:
                groups[last].append(entries[-1])
            else:
                groups.append([entries[-1]])
                last = len(groups) - 1
    return groups + [[entry] for entry in parts.head]


def _step(family: Family, channels: int, parts: int) -> int:
    divisor = family.divisor or 1
    return make_divisible(max(channels / parts, divisor), divisor)


@torch.inference_mode()
def top1_error(subnet: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images that a live subnet gets wrong with batch norms that use this batch's statistics.

    Scores that are no numbers count as wrong.

    Args:
        subnet: what ``at`` returned; statistics that its network has stored stay as they are.
        images: shape ``(batch, channels, height, width)``.
        labels: int64 ``(batch,)``.
    """
    for norm in (module for module in subnet.eval().modules() if isinstance(module, _BatchNorm)):
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
        norm.track_running_stats = False
        norm.train()
    scores = subnet(images)
    right = (scores.argmax(1) == labels) & scores.isfinite().all(1)
    return 1 - math.fsum(right.tolist()) / len(labels)
