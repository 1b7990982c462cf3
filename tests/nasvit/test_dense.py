"""Networks with shared weights and one head: every subnet is a detector of ordinary PyTorch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import search_spaces
from nasvit.backbones import features
from nasvit.costs.counting import Cost, count
from nasvit.costs.dense import as_backbones
from nasvit.dense.shared import DenseAugmented, DenseShared, DenseSlimmable
from nasvit.experiment.dense_origin import OfSpaceWithHead
from nasvit.experiment.origin import ImagesOf
from nasvit.heads.alone import HeadAlone
from nasvit.heads.fcos import FCOS
from nasvit.heads.kinds import AnyHead
from nasvit.heads.retinanet import RetinaNet
from nasvit.heads.segmentation import LRASPP, PyramidSegmentation
from nasvit.heads.ssdlite import SSDLite
from nasvit.layers.calibration import calibrate
from nasvit.supernets.augment import augment
from nasvit.supernets.supernet import Supernet
from search_spaces.values import FieldError
from tests.nasvit.supernets.tiny import FAMILY, tiny

SHAPE = (3, 40, 64)
HEADS: list[AnyHead] = [
    FCOS(channels=16, convs=1, strides=(2, 4, 8)),
    RetinaNet(channels=16, strides=(4, 8)),
    LRASPP(channels=16, strides=(2, 8)),
    PyramidSegmentation(channels=16, strides=(2, 4, 8)),
]


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def network(head: AnyHead) -> tuple[DenseShared, Any]:
    space = as_backbones(search_spaces.load("micro32"), head)
    return DenseShared(Supernet(space, 1), space.largest, head, SHAPE, 3), space


def as_tuple(found: Any) -> tuple[torch.Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
def test_an_extracted_subnet_computes_what_the_shared_one_does(head: AnyHead) -> None:
    shared, space = network(head)
    for architecture in (space.smallest, space.largest, space.sample(np.random.default_rng(0))):
        subnet = calibrate(shared.at(architecture), [images()])
        extracted = shared.extract(architecture, [images()]).eval()
        assert all(map(torch.equal, as_tuple(subnet(images())), as_tuple(extracted(images()))))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
def test_a_narrow_subnet_trains_the_first_channels_that_its_head_reads(head: AnyHead) -> None:
    shared, space = network(head)
    shared.zero_grad()
    shared.at(space.smallest).train()(images()).square().mean().backward()
    narrow = shared.backbones.stage_channels(space.smallest)  # type: ignore[operator]
    for name, place in shared.head.largest.reads().items():
        gradient = shared.head.largest.get_parameter(name).grad
        own = narrow[shared.maps.stages[place]]
        assert gradient is not None
        assert gradient[:, :own].abs().sum() > 0
        assert gradient.shape[1] == own or gradient[:, own:].abs().sum() == 0
    assert shared.gradients.norm() > 0
    shared.check_views()


def test_a_head_that_reads_fewer_channels_computes_what_zeros_would() -> None:
    head = FCOS(channels=16, convs=1, strides=(4, 8))
    shared, space = network(head)
    module, wide = shared.head.at((5, 7)).eval(), shared.head.at(shared.maps.channels((16, 24, 40, 72))).eval()
    maps = [torch.randn(1, channels, 10 * 2 // step, 16 * 2 // step) for channels, step in ((5, 2), (7, 4))]
    padded = [
        torch.cat([each, each.new_zeros(1, more - each.shape[1], *each.shape[2:])], 1)
        for each, more in zip(maps, (40, 72), strict=True)
    ]
    for ours, theirs in zip(module(maps, (40, 64)), wide(padded, (40, 64)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gradients_of_the_backbones_are_those_of_the_whole() -> None:
    shared, space = network(HEADS[0])
    assert shared.backbones.gradients is shared.gradients
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.1)
    shared.guard(optimizer)
    shared.zero_grad()
    shared.at(space.smallest).train()(images()).square().mean().backward()
    before = copy.deepcopy(shared.state_dict())
    optimizer.step()
    moved = [name for name, each in shared.state_dict().items() if not torch.equal(each, before[name])]
    assert any(name.startswith("backbones.") for name in moved)
    assert any(name.startswith("head.") for name in moved)
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="zero_grad"):
        shared.at(space.smallest)


def test_a_copy_trains_by_itself() -> None:
    shared, space = network(HEADS[0])
    twin = copy.deepcopy(shared)
    twin.zero_grad()
    twin.at(space.smallest).train()(images()).square().mean().backward()
    shared.zero_grad()
    assert twin.gradients.norm() > 0
    assert shared.gradients.norm() == 0
    assert twin.backbones.gradients is twin.gradients


def test_maps_are_those_that_features_finds_without_running_anything() -> None:
    head = FCOS(channels=16, convs=1, strides=(2, 4, 8))
    shared, space = network(head)
    for architecture in (space.smallest, space.largest):
        found = features(shared.backbones.at(architecture), head.strides, SHAPE).feature_info
        ours = shared.at(architecture).backbone.feature_info
        assert (ours.channels(), ours.reduction()) == (found.channels(), found.reduction())  # type: ignore[operator, union-attr]


def test_widths_and_wider_networks_share_one_head() -> None:
    head = FCOS(channels=16, convs=1, strides=(2, 4))
    slimmable = DenseSlimmable(tiny(0.5, 1.0).float(), head, (3, 16, 16), 3)
    picture = torch.randn(2, 3, 16, 16)
    for width in slimmable.widths:
        one = slimmable.at(width).eval()
        assert all(map(torch.equal, slimmable.extract(width).eval()(picture), one(picture)))
    augmented = DenseAugmented(augment(FAMILY, classes=1), head, (3, 16, 16), 3)
    drawn = augmented.sample(torch.Generator().manual_seed(0))
    base, wider = (count(augmented.at(plan), 3, 16, 16).macs for plan in (augmented.base, drawn))
    assert base < wider
    assert count(augmented.extract(calibration=[picture]), 3, 16, 16).macs == base


def test_a_head_made_for_one_backbone_is_refused_for_several() -> None:
    space = as_backbones(search_spaces.load("micro32"), SSDLite(strides=(4, 8)))
    with pytest.raises(FieldError, match="ssdlite is made for one backbone; legal for several: fcos"):
        DenseShared(Supernet(space, 1), space.largest, SSDLite(strides=(4, 8)), SHAPE, 3)


@pytest.mark.parametrize(
    ("space", "head", "shape"),
    [
        ("micro32", FCOS(strides=(2, 4, 8)), (3, 48, 72)),
        ("micro32", RetinaNet(strides=(2, 4, 8)), (3, 48, 72)),
        ("ghost_micro32", LRASPP(strides=(2, 8)), (3, 42, 64)),
        ("micro32", PyramidSegmentation(strides=(2, 4, 8)), (3, 48, 72)),
        ("ghost_micro32", SSDLite(strides=(4, 8), extra=1), (3, 42, 64)),
    ],
)
def test_costs_of_backbone_and_head_together_are_exact(space: str, head: AnyHead, shape: tuple[int, int, int]) -> None:
    origin = OfSpaceWithHead(space, ImagesOf(shape, ("a", "b", "c")), head, None)
    codes = origin.space.genome.sample(3, np.random.default_rng(0))
    costs = origin.costs(codes)
    for row, architecture in enumerate(origin.space.decode(codes)):
        counted = count(origin.spec(origin.space, architecture).build(3), *shape)
        assert Cost(**{name: int(values[row]) for name, values in costs.items()}) == counted


GROWING = """\
name: growing
source: a test
resolution: 32
stem: {width: 8, stride: 2}
stages:
  - {name: a, block: mbconv, width: 8, depth: 1, kernel_size: 3, expand_ratio: 1, stride: 1}
  - {name: b, block: mbconv, width: [64, 80], depth: [1, 2], kernel_size: 3, expand_ratio: 1, stride: 2}
head: {width: 32, expand_ratio: 2}
"""


APART = GROWING.replace("expand_ratio: 1, stride: 2", "expand_ratio: 1, first_expand_ratio: [2, 3], stride: 2")


def test_costs_with_a_head_are_exact_where_first_blocks_are_sized_apart(tmp_path: Path) -> None:
    (tmp_path / "apart.yaml").write_text(APART)
    origin = OfSpaceWithHead(str(tmp_path / "apart.yaml"), ImagesOf((3, 32, 48), ("a",)), FCOS(strides=(2, 4)), None)
    ends = [origin.space.smallest, origin.space.largest]
    costs = origin.costs(origin.space.encode(ends))
    for row, architecture in enumerate(ends):
        counted = count(origin.spec(origin.space, architecture).build(1), 3, 32, 48)
        assert Cost(**{name: int(values[row]) for name, values in costs.items()}) == counted


def test_a_map_that_was_taken_is_alive_while_later_blocks_of_the_next_stage_run(tmp_path: Path) -> None:
    (tmp_path / "growing.yaml").write_text(GROWING)
    head = FCOS(channels=8, convs=0, strides=(2, 4))
    origin = OfSpaceWithHead(str(tmp_path / "growing.yaml"), ImagesOf((3, 32, 48), ("a",)), head, None)
    counted = count(origin.spec(origin.space, origin.space.largest).build(1), 3, 32, 48)
    assert origin.whole["memory"] == counted.memory


def test_the_memory_of_a_head_is_the_same_whether_its_anchors_were_known_or_not() -> None:
    alone = HeadAlone(RetinaNet().build((8, 8, 8), 1), [(8, 17, 21), (8, 9, 11), (8, 5, 6)], (136, 168))
    assert count(alone, alone.numbers) == count(alone, alone.numbers)


def test_a_stride_that_no_stage_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(FieldError, match="16 is no stride of micro32's stages; legal: 2, 4, 8"):
        as_backbones(search_spaces.load("micro32"), FCOS(strides=(8, 16)))
