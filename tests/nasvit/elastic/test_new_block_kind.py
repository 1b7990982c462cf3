"""A new block is a plain class, an elastic class and one entry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import search_spaces
from nasvit.costs.counting import Cost, count
from nasvit.costs.tables import cost_table
from nasvit.elastic import ANY, Elastic, Switch
from nasvit.elastic.base import shared
from nasvit.elastic.batch_norm import Widths
from nasvit.elastic.conv_norm import Axes, full
from nasvit.elastic.in_spaces import Keys, Place
from nasvit.elastic.norms import NormFactory
from nasvit.elastic.registry import KINDS, BlockKind
from nasvit.layers import ConvNorm
from nasvit.layers.calibration import calibrate
from nasvit.supernets.sorting import sort_channels
from nasvit.supernets.supernet import Supernet, build_subnet
from predictors.blocks import BlockKey, unique_blocks
from search_spaces.blocks import BLOCK_FIELDS, STAGE_BLOCKS
from tests.nasvit.elastic import contract
from tests.nasvit.elastic.examples import examples
from tests.nasvit.filled import filled, images

SPACE = """
name: fused
source: a test
resolution: [15, 16]
activation: relu
stem: {width: [8, 16], kernel_size: 3, stride: 1}
stages:
  - {name: fused1, block: fused, width: [16, 24], depth: [1, 2, 3], kernel_size: [1, 3], expand_ratio: [2, 3], stride: 2}
  - {name: conv2, block: mbconv, width: [24, 32], depth: [1, 2], kernel_size: 3, expand_ratio: 2, stride: 2}
head: {width: 32, expand_ratio: 2}
"""


class Fused(nn.Module):
    """Widen by a full convolution, narrow by a 1x1 one."""

    def __init__(self, widen: ConvNorm, narrow: ConvNorm, shortcut: bool) -> None:
        super().__init__()
        self.widen, self.narrow, self.shortcut = widen, narrow, shortcut

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.narrow(self.widen(x))
        return result + x if self.shortcut else result


class ElasticFused(Elastic):
    def __init__(
        self, ins: Widths, hidden: Widths, outs: Widths, side: int, stride: int, act: str, norm: NormFactory
    ) -> None:
        super().__init__()
        self.widen, self.stride = full(ins, hidden, norm, act, kernel_size=side, stride=stride), stride
        self.narrow = full(hidden, outs, norm)

    @shared
    def at(self, ins: int, hidden: int, outs: int, side: int, switch: Switch = ANY) -> Fused:
        widen = self.widen.at(ins, hidden, switch, kernel_size=side)
        return Fused(widen, self.narrow.at(hidden, outs, switch), self.stride == 1 and ins == outs)

    def inner_channels(self) -> list[Axes]:
        return [[("narrow.conv.weight", 1), *((f"widen.{name}", 0) for name in self.widen.out_channel_tensors())]]


def sizes(key: BlockKey) -> tuple[int, int, int, int]:
    assert key.expand_ratio is not None
    assert key.kernel_size is not None
    return key.in_channels, round(key.in_channels * key.expand_ratio), key.out_channels, key.kernel_size


def build_fused(place: Place, keys: Keys, norm: NormFactory) -> ElasticFused:
    ins, hidden, outs, sides = zip(*map(sizes, keys), strict=True)
    return ElasticFused(ins, hidden, outs, max(sides), keys[0].stride, place.space.activation, norm)


def fused_at(block: ElasticFused, place: Place, key: BlockKey, switch: Switch) -> Fused:
    return block.at(*sizes(key), switch)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setitem(BLOCK_FIELDS, "fused", ("kernel_size", "expand_ratio"))
        patch.setitem(STAGE_BLOCKS, "fused", ("fused", "fused"))
        entry = BlockKind(Fused, ElasticFused, build_fused, fused_at, ElasticFused.inner_channels)
        patch.setitem(KINDS, "fused", entry)
        yield
    assert "fused" not in {*KINDS, *BLOCK_FIELDS, *STAGE_BLOCKS}


def space(folder: Path) -> search_spaces.Space:
    (folder / "fused.yaml").write_text(SPACE)
    return search_spaces.load(folder / "fused.yaml")


@pytest.mark.usefixtures("registered")
def test_the_entry_alone_makes_a_searchable_block(tmp_path: Path) -> None:
    fused = space(tmp_path)
    supernet = filled(Supernet(fused, 5).double())
    table = cost_table(fused, 5)
    for architecture in (fused.smallest, fused.largest, fused.sample(np.random.default_rng(0))):
        live, x = supernet.at(architecture), images(fused, 4, dtype=torch.float64)
        assert isinstance(live.stages[0][0], Fused)  # type: ignore[index]
        extracted = supernet.extract(architecture, [x])
        assert type(extracted.stages[0][0]) is Fused  # type: ignore[index]
        assert torch.equal(extracted(x), calibrate(live, [x])(x))
        side, row = architecture.resolution, fused.encode([architecture])
        counted = count(build_subnet(fused, architecture, 5), 3, side, side)
        assert Cost(**{name: int(cost[0]) for name, cost in table.costs(row).items()}) == counted
    assert {"fused 16-24 side 16 stride 2 kernel 3 expand 3"} <= {block.name for block in unique_blocks(fused)}
    widest = supernet.at(fused.largest).train()(x)
    sort_channels(supernet)
    torch.testing.assert_close(supernet.at(fused.largest).train()(x), widest, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("registered")
def test_it_keeps_the_contract_of_every_kind() -> None:
    blocks = list(examples("fused"))
    assert len(blocks) == 2
    for example in blocks:
        contract.check_plain(example)
        contract.check_gradients(example)
        contract.check_cost(example)
        contract.check_norms(example)
        contract.check_sorting(example)


def test_without_its_entry_it_is_an_unknown_word(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"fused\.yaml:8: stages\[0\]\.block: is 'fused'; legal: mbconv, hybrid, ghost"
    ):
        space(tmp_path)
