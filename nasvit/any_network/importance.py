"""Sort the units of every group by importance, so that subnets, which keep the first ones, keep the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from nasvit.any_network.groups import Group
from nasvit.any_network.plan import Plan

Importance = Literal["magnitude", "taylor"]


@torch.no_grad()
def sort_units(network: nn.Module, plan: Plan, importance: Importance = "magnitude") -> None:
    """Sort the units of every group of a network in place, the most important first.

    The network computes the same as before, within rounding, because whatever belongs to a unit moves with it. Units
    are ranked by all of their weights together: each tensor's numbers are compared with that tensor's mean, so that no
    tensor outweighs the others.

    Source: Fang et al., DepGraph (2023), section 3.3, https://arxiv.org/abs/2301.12900, for the importance of a group;
    Molchanov et al., Importance Estimation for Neural Network Pruning (2019), section 3.1,
    https://arxiv.org/abs/1906.10771, for the first-order term.

    Args:
        network: the network.
        plan: what can be decided in it.
        importance: ``magnitude``: the squares of the weights; ``taylor``: the squares of the weights' products with
            their gradients, which must be there.

    Raises:
        ValueError: if gradients are needed and there are none.
    """
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    if importance == "taylor" and all(parameter.grad is None for parameter in network.parameters()):
        raise ValueError("importance taylor needs gradients; run a backward pass first, or take magnitude")
    for group in plan.groups:
        scores = unit_scores(group, tensors, importance)
        if scores is not None:
            _move(group, tensors, torch.argsort(scores, descending=True, stable=True))


@torch.no_grad()
def unit_scores(group: Group, tensors: Mapping[str, Tensor], importance: Importance = "magnitude") -> Tensor | None:
    """Return the importance of every unit; None where nothing tells; see :func:`sort_units`."""
    found = []
    for (name, axis), positions in group.places.items():
        tensor = tensors[name]
        if not isinstance(tensor, nn.Parameter) or tensor.ndim < 2:
            continue
        numbers = tensor if importance == "magnitude" else tensor * (0 if tensor.grad is None else tensor.grad)
        squares = numbers.float().square().movedim(axis, 0).flatten(1).sum(1)
        units = squares[torch.from_numpy(positions).to(squares.device)].sum(1)
        found.append(units / units.mean().clamp_min(1e-30))
    return torch.stack(found).mean(0) if found else None


def _move(group: Group, tensors: Mapping[str, Tensor], order: Tensor) -> None:
    for (name, axis), positions in group.places.items():
        tensor, here = tensors[name], torch.from_numpy(positions)
        there = here[order.cpu()].flatten().to(tensor.device)
        for each in (tensor, tensor.grad):
            if each is not None:
                each.index_copy_(axis, here.flatten().to(each.device), each.index_select(axis, there))
