"""A wider twin of any network: the same code with more channels, of which the network's own are some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from nasvit.any_network.agreement import first_difference
from nasvit.any_network.attributes import values_of
from nasvit.any_network.gathered import put
from nasvit.any_network.kept import Chosen, Positions
from nasvit.any_network.plan import Plan, bare_copy, number_type, plan_of
from nasvit.any_network.shell import Tensors, shell_of
from nasvit.any_network.sizes import Kept


@dataclass(frozen=True)
class Wider:
    """A wider twin of a network.

    Args:
        network: the twin, whose first units of every group are the network's.
        plan: what can be decided in it; its groups have the names that they have in the network.
    """

    network: nn.Module
    plan: Plan


def widened(network: nn.Module, plan: Plan, image: Tensor, units: Mapping[str, int], *, seed: int = 0) -> Wider:
    """Return a wider twin of a network, in which the network is a subnet, bit for bit.

    Convolutions and linear layers that became larger start as PyTorch starts them, apart from the network's own
    weights; whatever else became larger, such as gains and tables of positions, repeats the network's values.

    Args:
        network: the network, which is not changed.
        plan: what can be decided in it.
        image: an image, of which the shape counts.
        units: name of a group -> units in the twin, at least as many as in the network; others keep theirs.
        seed: seed of the new weights.

    Raises:
        ValueError: naming the module that does not follow, and why.
    """
    wide = plan.whole.copy()
    for number, group in enumerate(plan.groups):
        wide[number] = max(group.units, units.get(group.name, 0))
    twin = shell_of(network, _larger(plan, wide), values_of(network, plan.attributes, wide))
    _reset(twin, network, seed)
    _check_runs(twin, plan, image, wide)
    found = plan_of(twin, image)
    _check_groups(plan, found, wide)
    _copy_into(twin, found, network, plan)
    return Wider(twin, found)


def _larger(plan: Plan, wide: Kept) -> Tensors:
    """Return what gives a larger tensor, along whose axes the network's positions repeat, for one of the network."""

    def tensor_at(name: str, tensor: Tensor, module: nn.Module) -> Tensor:
        larger = tensor.detach()
        for axis, labels in plan.found.tensors.get(name, {}).items():
            size = int(plan.sizes.of(labels).at(wide))
            positions = torch.arange(size, device=tensor.device) % tensor.shape[axis]
            larger = larger.index_select(axis, positions)
        larger = larger.clone()
        return nn.Parameter(larger, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else larger

    return tensor_at


def _reset(twin: nn.Module, network: nn.Module, seed: int) -> None:
    """Draw the weights of the layers that became larger."""
    layers = dict(network.named_modules())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for path, module in twin.named_modules():
            if isinstance(module, (_ConvNd, nn.Linear)) and module.weight.shape != layers[path].weight.shape:  # type: ignore[union-attr]
                module.reset_parameters()


def _check_runs(twin: nn.Module, plan: Plan, image: Tensor, wide: Kept) -> None:
    """Refuse a network whose code does something else with more channels than was foreseen."""
    images = torch.empty(2, *image.shape[-3:], device=plan.device, dtype=number_type(twin))
    difference = first_difference(bare_copy(twin, plan.device), images, plan.found.steps, plan.sizes, wide)
    if difference is not None:
        where = difference.step.path[-1] or "the network itself"
        raise ValueError(f"the network cannot be wider: the code of {where} does not follow ({difference.problem})")


def _check_groups(plan: Plan, found: Plan, wide: Kept) -> None:
    """Refuse a twin in which something else can be decided than in the network."""
    there = {group.name: group.units for group in found.groups}
    for group, units in zip(plan.groups, wide.tolist(), strict=True):
        if there.get(group.name) != units:
            reasons = [fixed.reason for fixed in found.fixed if fixed.name == group.name]
            why = reasons[0] if reasons else f"{there.get(group.name, 'none')} of {units} units are found there"
            raise ValueError(
                f"the network cannot be wider: in the wider one, {group.name} has to stay as it is ({why})"
            )


@torch.no_grad()
def _copy_into(twin: nn.Module, found: Plan, network: nn.Module, plan: Plan) -> None:
    """Put the network's tensors where the twin has its first units."""
    own = {group.name: group.units for group in plan.groups}
    kept = found.whole.copy()
    for number, group in enumerate(found.groups):
        kept[number] = own.get(group.name, group.units)
    positions, chosen = Positions(twin, found.groups), Chosen(kept, (), {})
    source = dict([*network.named_parameters(), *network.named_buffers()])
    for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
        index = positions.index(name, tensor, chosen)
        shape = tensor.shape if index is None else _shape(tensor, index)
        if shape != source[name].shape:
            raise ValueError(
                f"the network cannot be wider: {name} would be {_text(shape)} in it, not {_text(source[name].shape)}"
            )
        put(tensor, index, source[name])


def _shape(tensor: Tensor, index: tuple[slice | Tensor, ...]) -> torch.Size:
    sizes = (
        len(each) if isinstance(each, Tensor) else len(range(*each.indices(size)))
        for each, size in zip(index, tensor.shape, strict=True)
    )
    return torch.Size(sizes)


def _text(shape: torch.Size) -> str:
    return "x".join(map(str, shape))
