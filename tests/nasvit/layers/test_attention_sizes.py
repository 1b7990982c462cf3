"""Attention takes maps of any size, and its own ones as before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

import search_spaces
from nasvit.costs.counting import count
from nasvit.elastic.attention import ElasticAttention
from nasvit.layers.attention import Attention
from nasvit.layers.network import Network
from nasvit.layers.position_bias import RelativePositionBias, resized_table
from nasvit.registry import create
from nasvit.supernets.supernet import Supernet
from tests.nasvit.filled import filled

SIDE, HEADS, CHANNELS = 3, 2, 16


def attention(windows: int) -> Attention:
    """Attention whose values come from their own token alone, so that windows can be computed one by one."""
    elastic = filled(ElasticAttention(CHANNELS, SIDE).double())
    with torch.no_grad():
        elastic.value_conv.weight.zero_()[:, :, 1, 1] = 1
    made = copy.deepcopy(elastic.at(CHANNELS, SIDE))
    made.windows = windows
    return made


def tokens(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, height, width, CHANNELS, dtype=torch.float64, generator=generator)


class _Corner(nn.Module):
    """The bias of the upper left corner of a window, pair by pair."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, height: int, width: int) -> Tensor:
        places = [(row, column) for row in range(height) for column in range(width)]
        last_row, last_column = self.table.shape[0] // 2, self.table.shape[1] // 2
        rows = [[self.table[a - c + last_row, b - d + last_column] for c, d in places] for a, b in places]
        return torch.stack([torch.stack(row) for row in rows]).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(5, 7), (8, 6), (3, 3), (2, 1)])
def test_a_map_in_windows_is_every_window_alone_without_the_padding(size: tuple[int, int]) -> None:
    windows, x = 2, tokens(*size)
    whole, alone = attention(windows), attention(1)
    result = whole(x)
    height, width = (-(-side // windows) for side in size)
    alone.position_bias = _Corner(resized_table(whole.position_bias.table, height, width))
    assert result.shape == x.shape
    for row in range(0, size[0], height):
        for column in range(0, size[1], width):
            part = (slice(None), slice(row, row + height), slice(column, column + width))
            torch.testing.assert_close(result[part], alone(x[part]), rtol=1e-10, atol=1e-12)


def test_windows_of_padding_alone_spoil_nothing() -> None:
    whole, x = attention(3), tokens(1, 4)  # windows of 1 x 2 tokens: two rows and one column of them hold no token
    result = whole(x)
    result.square().sum().backward()
    assert torch.isfinite(result).all()
    assert all(torch.isfinite(each.grad).all() for each in whole.parameters() if each.grad is not None)


def test_a_table_of_another_size_keeps_what_offsets_in_the_image_mean() -> None:
    offsets = torch.arange(-4.0, 5)
    table = torch.stack((offsets[:, None].expand(9, 9), offsets.expand(9, 9)), 2)
    resized = resized_table(table, 10, 3)
    assert resized.shape == (19, 5, 2)
    torch.testing.assert_close(resized[9, 2], torch.zeros(2), atol=1e-6, rtol=0)
    inner = resized[5:14, 2, 0]
    torch.testing.assert_close(inner, torch.arange(-4.0, 5) * 9 / 19, atol=0.05, rtol=0)  # a cubic bends a line a bit
    assert resized[9, :, 1].diff().gt(1).all()


def test_the_own_table_is_looked_up_as_it_is() -> None:
    bias = filled(RelativePositionBias(nn.Parameter(torch.zeros(5, 5, HEADS))))
    assert torch.equal(bias(3, 3)[:, 0, 4], bias.table[1, 1])
    assert torch.equal(bias(3, 3)[:, 8, 0], bias.table[4, 4])


class _Noting(TorchDispatchMode):
    """Notes what is done."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations.add(str(func))
        return func(*args, **(kwargs or {}))


def operations(network: nn.Module, *size: int) -> set[str]:
    with torch.no_grad(), _Noting() as noting:
        network.eval()(torch.zeros(2, *size))
    return noting.operations


@pytest.mark.parametrize("end", ["smallest", "largest"])
def test_at_its_own_size_a_network_does_nothing_besides(end: str) -> None:
    network = create(f"micro32:{end}", 5).network
    network.resize = None
    added = operations(network, 3, 33, 47) - operations(network, 3, network_side(end), network_side(end))
    resizing = {"aten.upsample_bicubic2d.default", "aten.arange.default"}
    padding = {"aten.constant_pad_nd.default", "aten.masked_fill.Scalar"}
    assert resizing <= added
    assert (padding <= added) == (end == "smallest")  # it has windows, the largest has not


def network_side(end: str) -> int:
    space = search_spaces.load("micro32")
    return (space.smallest if end == "smallest" else space.largest).resolution


ALIKE = ("nasvit_release", "fbnetv3", "mnv4")  # are like nasvit, alphanet, mnv4_micro32


@pytest.mark.parametrize("name", [each for each in search_spaces.names() if each not in ALIKE])
@torch.no_grad()
def test_both_ends_of_the_catalog_take_images_of_any_size(name: str) -> None:
    space = search_spaces.load(name)
    supernet = Supernet(space, 5)
    for end in (space.smallest, space.largest):
        network = supernet.at(end).train()
        network.resize = None
        for size in ((32, space.largest.resolution + 32), (33, 47)):
            stride = space.stem.stride
            maps = network.forward_intermediates(torch.zeros(2, space.image_channels, *size))
            for stage, found in zip(space.stages, maps, strict=True):
                stride *= stage.stride
                assert found.shape[2:] == tuple(-(-side // stride) for side in size)
            assert network.head(maps[-1]).shape == (2, 5)


def test_a_live_subnet_trains_its_table_on_maps_of_any_size() -> None:
    space = search_spaces.load("micro32")
    supernet = filled(Supernet(space, 5))
    subnet = supernet.at(space.smallest)
    subnet.resize = None
    supernet.zero_grad()
    images = torch.randn(2, 3, 40, 72, generator=torch.Generator().manual_seed(0))
    scores = subnet.train()(images)
    scores.square().sum().backward()
    found = {name: each.grad for name, each in supernet.named_parameters() if name.endswith("position_bias.table")}
    used = [name for name, gradient in found.items() if gradient is not None and gradient.any()]
    assert used
    assert all(torch.isfinite(gradient).all() for gradient in found.values() if gradient is not None)
    extracted = supernet.extract(space.smallest).train()
    extracted.resize = None
    assert torch.equal(extracted(images), scores)


def test_a_program_of_another_size_computes_the_same() -> None:
    network = _plain("micro32:smallest")
    images = torch.randn(2, 3, 40, 72, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(network, (images,), strict=False)
    assert torch.equal(program.module()(images), network(images))
    axes = [node.meta["val"].ndim for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    assert max(axes) <= 6  # more are refused by runtimes on devices


def test_costs_are_counted_at_any_size() -> None:
    network = _plain("micro32:smallest")
    wide, tall = count(network, 3, 64, 96), count(network, 3, 96, 64)
    assert wide.macs == tall.macs > count(network, 3, 64, 64).macs
    assert wide.params == count(network, 3, 32, 32).params


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
def test_what_torch_fx_traces_takes_any_size_too(size: tuple[int, int]) -> None:
    whole, x = attention(2), tokens(*size)
    traced: Any = fx.GraphModule(whole, _Tracer().trace(whole))
    assert torch.equal(traced(x), whole(x))


def _plain(name: str) -> Network:
    network = filled(create(name, 5).network.eval())
    network.resize = None
    assert isinstance(network, Network)
    return network
