"""What every kind of block in the registry keeps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from nasvit.costs.blocks import meta_block
from nasvit.costs.counting import count, count_on_meta
from nasvit.elastic import Elastic, SharedParameter, Switch
from nasvit.elastic.initialization import initialize
from nasvit.elastic.norms import NORMS, shared_norm, universal_norm
from nasvit.elastic.registry import KINDS, inner_channels
from nasvit.supernets.shared_network import SharedNetwork, independent
from nasvit.supernets.sorting import sort_channels
from tests.nasvit.elastic.examples import CLASSES, SPACE, Example
from tests.nasvit.filled import filled


def images(example: Example, number: int) -> Tensor:
    shape = (3, *example.shape(number))
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(number))


def check_plain(example: Example) -> None:
    """``at`` gives the plain class, whose copy is independent and computes the same, in training as in evaluation."""
    block = filled(example.build(shared_norm).double())
    for number in range(2):
        live = example.at(block, number)
        assert isinstance(live, KINDS[example.kind].plain)
        assert isinstance(block, KINDS[example.kind].elastic)
        assert all(isinstance(parameter, SharedParameter) for parameter in live.parameters())
        x = images(example, number)
        before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
        copied = independent(live)
        assert type(copied) is KINDS[example.kind].plain
        assert torch.equal(copied.eval()(x), live.eval()(x))
        assert torch.equal(copied.train()(x), copy.deepcopy(live).train()(x))
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.zero_()
        assert all(torch.equal(tensor, before[name]) for name, tensor in block.state_dict().items())


def check_gradients(example: Example) -> None:
    """A backward pass of a subnet adds to the block's gradients, to the subnet's slices of them and nowhere else."""
    block = filled(example.build().double())
    live = example.at(block, 1).train()
    live(images(example, 1)).square().sum().backward()
    reached = {name: torch.zeros_like(parameter) for name, parameter in block.named_parameters()}
    names = {id(parameter): name for name, parameter in block.named_parameters()}
    for parameter in live.parameters():
        assert isinstance(parameter, SharedParameter)
        assert parameter.grad is not None
        assert parameter.grad.any()
        reached[names[id(parameter.source)]][parameter.slices] = parameter.grad
    for name, parameter in block.named_parameters():
        assert torch.equal(reached[name], torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)


def check_cost(example: Example) -> None:
    """A block that its key alone describes costs what the same block costs as a part of a larger one."""
    block = example.build()
    for number, key in enumerate(example.keys):
        alone = meta_block(SPACE, key, CLASSES)
        cost = count_on_meta(alone, torch.empty(1, *example.shape(number), device="meta"))
        assert cost == count(example.at(block, number), *example.shape(number))


def check_norms(example: Example) -> None:
    """With any batch norms the block computes the same before it is trained, at every switch."""
    results = []
    for norm in NORMS.values():
        block = example.build(norm).double()
        initialize(block, 3)
        plain = [example.at(block, number, Switch(number, "key")).train() for number in range(2)]
        results.append([layers(images(example, number)) for number, layers in enumerate(plain)])
    for result in results[1:]:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(result, results[0], strict=True))


class One(SharedNetwork):
    """A network of one block."""

    def __init__(self, block: Elastic) -> None:
        super().__init__()
        self.block = block


def check_sorting(example: Example) -> None:
    """Sorting brings the channels that matter most to the front, and leaves what the widest block computes."""
    for norm in (shared_norm, universal_norm):
        network = One(filled(example.build(norm).double()))
        groups = inner_channels(network.block)
        x = images(example, 0)
        before, weights = example.at(network.block, 0).train()(x), copy.deepcopy(network.state_dict())
        sort_channels(network)
        torch.testing.assert_close(example.at(network.block, 0).train()(x), before, rtol=1e-10, atol=1e-12)
        moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, weights[name])}
        gains = {f"block.{tensor}" for axes in groups for tensor, _ in axes if "running" not in tensor}
        assert {name for name in moved if "running" not in name and "tracked" not in name} == gains
        for axes in groups:
            reader, axis = axes[0]
            weight = network.block.get_parameter(reader).detach().abs()
            norms = weight.sum([each for each in range(weight.ndim) if each != axis])
            assert torch.equal(norms, norms.sort(descending=True).values)


def check_sorting_is_refused(example: Example) -> None:
    """Where batch norms are switchable, channels that could be sorted are refused before anything moves."""
    network = One(filled(example.build(NORMS["switchable"])))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="switchable batch norms belong to the channels as they are"):
        sort_channels(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def sortable(example: Example) -> bool:
    return bool(inner_channels(example.build()))
