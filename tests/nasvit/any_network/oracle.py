"""What must hold of every elastic network, with an independent way to compute what a subnet computes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.any_network import Elastic, ElasticModel, elasticize
from nasvit.costs.any_network import ElasticCosts
from nasvit.costs.counting import count


def made_elastic(network: nn.Module, *shape: int, **options: Any) -> ElasticModel:
    """Return a network made elastic in steps of one channel, in evaluation mode with statistics that are not trivial."""
    shaken(network)
    return elasticize(network.eval(), torch.zeros(1, *shape), Elastic(**{"divisor": 1} | options)).eval()


def shaken(network: nn.Module) -> None:
    """Give parameters and statistics random values, so that no two channels are alike."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point():
            noise = 0.3 * torch.randn(tensor.shape, generator=generator).to(tensor)
            tensor.data.add_(noise.abs() if name.endswith("running_var") else noise)


def check(elastic: ElasticModel, subnets: int = 3, *, zeroing: bool = True) -> None:
    """Check everything that has to hold.

    Args:
        elastic: the elastic network.
        subnets: random subnets that are checked, besides the smallest and the largest one.
        zeroing: whether leaving channels out is the same as making them zero, as it is without norms over channels.
    """
    space = elastic.space
    parameter = next(elastic.parameters())
    image = torch.randn(2, *elastic.image, generator=torch.Generator().manual_seed(1)).to(parameter.dtype)
    original = copy.deepcopy(elastic.network)
    sampled = space.decode(space.genome.sample(subnets, np.random.default_rng(0)))
    architectures = [space.largest, space.smallest, *sampled]
    costs = ElasticCosts(elastic.network, elastic.plan, space).costs(space.encode(architectures))
    for number, architecture in enumerate(architectures):
        live, extracted = elastic.at(architecture), elastic.extract(architecture)
        with torch.no_grad():
            output = flat(live(image))
            assert all(map(torch.equal, output, flat(extracted(image)))), "the extracted network computes the same"
            if zeroing and not architecture_leaves_out_blocks(elastic, architecture):
                for mine, theirs in zip(output, flat(zeroed(elastic, architecture)(image)), strict=True):
                    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
        counted = count(live, *elastic.image)
        assert {metric: int(each[number]) for metric, each in costs.items()} == {
            metric: getattr(counted, metric) for metric in costs
        }
    with torch.no_grad():
        assert all(map(torch.equal, flat(elastic.at(space.largest)(image)), flat(original(image))))
    check_gradients(elastic, original, image)


def check_gradients(elastic: ElasticModel, original: nn.Module, image: Tensor) -> None:
    """Check that the largest subnet trains the network as the network trains itself."""
    elastic.zero_grad()
    sum(each.square().sum() for each in flat(elastic.at(elastic.space.largest)(image))).backward()
    sum(each.square().sum() for each in flat(original(image))).backward()
    shared = dict(elastic.network.named_parameters())
    for name, parameter in original.named_parameters():
        if parameter.grad is not None:
            assert torch.equal(parameter.grad, shared[name].grad), name


def architecture_leaves_out_blocks(elastic: ElasticModel, architecture: Any) -> bool:
    depths = dict(architecture.depth)
    return any(depths.get(run.name, len(run.blocks)) < len(run.blocks) for run in elastic.plan.runs)


def zeroed(elastic: ElasticModel, architecture: Any) -> nn.Module:
    """Return the whole network with all tensors of the channels that a subnet leaves out set to zero.

    Its channels are wired by the network's own code, so a subnet that reads another channel than it should differs.
    """
    network = copy.deepcopy(elastic.network)
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    widths = dict(architecture.width)
    for group in elastic.plan.groups:
        for (name, axis), positions in group.places.items():
            lost = torch.from_numpy(positions[widths.get(group.name, group.units) :].reshape(-1))
            tensors[name].data.index_fill_(axis, lost, 0)
    for path, side in architecture.kernel_size:
        weight = tensors[f"{path}.weight"].data
        lost = (weight.shape[-1] - side) // 2
        kept = weight[..., lost : lost + side, lost : lost + side].clone()
        weight.zero_()[..., lost : lost + side, lost : lost + side] = kept
    return network


def flat(output: Any) -> list[Tensor]:
    """Return the tensors that a network returned."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def widths(elastic: ElasticModel) -> dict[str, int]:
    """Return the groups of an elastic network by name, with their units."""
    return {group.name: group.units for group in elastic.plan.groups}
