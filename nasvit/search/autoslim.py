"""AutoSlim on a trained network: which channels to take where, measured on images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nasvit.costs.counting import count
from nasvit.layers.batch_norm import BatchNorm2d
from nasvit.layers.network import Network
from nasvit.models.family import Family
from nasvit.models.plan import ChannelPlan
from nasvit.search.greedy import Channels, Slimmed, slim_greedily
from nasvit.supernets.slimmable import SlimmableNetwork
from search_spaces import make_divisible

PARTS = 12
"""One step takes about so many parts of a layer's channels, as in the released configurations."""


def slim(
    network: SlimmableNetwork,
    targets: Sequence[float],
    images: Tensor,
    labels: Tensor,
    *,
    parts: int = PARTS,
) -> list[tuple[ChannelPlan, Slimmed]]:
    """Slim a trained universally slimmable network to some numbers of multiply-adds.

    It starts at the largest network and takes channels, a step at a time, where the top-1 error on one batch grows
    least; batch norms use the batch's own statistics. What is found is to be trained again: jointly, as the switches of
    ``SlimmableNetwork(family, plans, ...)``.

    Source: Yu and Huang, AutoSlim (2019), section 3, https://arxiv.org/abs/1903.11728

    Args:
        network: trained, with ``norm="universal"``; nothing in it is changed.
        targets: multiply-adds to undercut, in any order.
        images: a batch of held-out images, shape ``(batch, channels, height, width)``.
        labels: int64 ``(batch,)``.
        parts: a step takes about this part of a layer's channels.

    Returns:
        The channels found for each target, and how, from the largest target to the smallest.

    Raises:
        ValueError: if the network cannot run at any channels, or a target cannot be met.
    """
    if network.norm != "universal":
        raise ValueError(f'AutoSlim needs a network that runs at any channels: norm="universal", not "{network.norm}"')
    groups = channel_groups(network)
    largest = network.largest_plan.channels
    start = tuple(largest[group[0]] for group in groups)

    def plan(channels: Channels) -> ChannelPlan:
        chosen = {entry: each for group, each in zip(groups, channels, strict=True) for entry in group}
        return ChannelPlan(tuple(chosen[entry] for entry in range(len(largest))))

    steps = tuple(_step(network.family, channels, parts) for channels in start)
    found = slim_greedily(
        start,
        steps,
        lambda channels: top1_error(network.at(plan(channels)), images, labels),
        lambda channels: count(network.at(plan(channels)), *images.shape[1:]).macs,
        targets,
    )
    return [(plan(each.channels), each) for each in found]


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
def top1_error(subnet: Network, images: Tensor, labels: Tensor) -> float:
    """Return the share of images that a live subnet gets wrong with batch norms that use this batch's statistics.

    Scores that are no numbers count as wrong.

    Args:
        subnet: what ``at`` returned; statistics that its network has stored stay as they are.
        images: shape ``(batch, channels, height, width)``.
        labels: int64 ``(batch,)``.
    """
    for norm in (module for module in subnet.eval().modules() if isinstance(module, BatchNorm2d)):
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
        norm.track_running_stats = False
        norm.train()
    scores = subnet(images)
    right = (scores.argmax(1) == labels) & scores.isfinite().all(1)
    return 1 - math.fsum(right.tolist()) / len(labels)
