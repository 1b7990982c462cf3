"""Spaces with a head: what is timed alone is what stands in the detectors, and the table adds it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import search_spaces
from nasvit.costs.counting import count
from nasvit.costs.dense import as_backbones
from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.dense import DenseSubject
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.costs.latency.subjects import SpaceSubject
from nasvit.heads.alone import HeadAlone
from nasvit.heads.fcos import FCOS
from nasvit.heads.segmentation import LRASPP
from nasvit.specs import DenseSpec, SubnetSpec
from tests.nasvit.costs.latency.fake import FakeDevice

HEAD, SIZE, CLASSES = FCOS(channels=8, convs=1, strides=(1, 2)), (6, 10), 3
FEWER = {"kernel_size.conv1": (3,), "kernel_size.conv2": (5,), "expand_ratio.conv1": (2,), "windows.mix3": (2,)}
SPACE = as_backbones(search_spaces.load("micro8").cut(FEWER), HEAD)
SUBJECT = DenseSubject(SPACE, HEAD, SIZE)


def what_a_device_sees(module: nn.Module, shape: tuple[int, ...]) -> tuple[str, str, tuple[int, ...]]:
    tensors = [(name, tuple(tensor.shape), tensor.stride()) for name, tensor in module.state_dict().items()]
    return str(module), str(tensors), shape


@torch.no_grad()
def test_blocks_and_head_are_timed_as_they_stand_in_a_detector_and_added_up() -> None:
    timed = SUBJECT.take_apart(CLASSES, 2)
    alone: dict[Any, str] = {}
    heads: dict[str, HeadAlone] = {}
    for each in timed.blocks:
        module = each.make()
        if isinstance(module, HeadAlone):
            heads[each.name] = module
            assert each.shape == (2, module.numbers)
        alone[what_a_device_sees(module, each.shape)] = each.name
    milliseconds = {name: 1.0 + number % 5 for number, name in enumerate(alone.values())}
    (fine, wide), (coarse, broad) = (SPACE.stages[stage].width for stage in (0, 2))
    assert list(heads) == [f"head {fine}-{coarse}", f"head {wide}-{coarse}", f"head {fine}-{broad}"]
    assert count(SUBJECT.network(SPACE.largest, CLASSES, 1).make(), 1, *SIZE) == count(detector(), 1, *SIZE)
    for architecture in SUBJECT.choose(4, seed=1):
        whole = SUBJECT.network(architecture, CLASSES, 2)
        network: Any = whole.make()
        met, maps = run_and_watch(network, torch.rand(whole.shape))
        own = tuple(each.shape[1] for each in maps)
        expected = sum(milliseconds[alone[block]] for block in met) - milliseconds[f"head {fine}-{coarse}"]
        expected += milliseconds[f"head {own[0]}-{coarse}"] + milliseconds[f"head {fine}-{own[1]}"]
        assert timed.table(milliseconds).total(SPACE.encode([architecture]))[0] == pytest.approx(expected)
        if (name := f"head {own[0]}-{own[1]}") in heads:
            heads[name].head.load_state_dict(network.head.state_dict())
            flat = torch.cat([each.permute(0, 2, 3, 1).flatten(1) for each in maps], 1)
            torch.testing.assert_close(heads[name](flat), network.head(maps, SIZE))


def detector() -> nn.Module:
    return DenseSpec(SubnetSpec(SPACE, SPACE.largest, resize=False), HEAD, SIZE).build(CLASSES)


def run_and_watch(network: Any, images: Tensor) -> tuple[list[Any], list[Tensor]]:
    """What a device sees of every block as an image meets it, and the maps that the head gets."""
    met: list[Any] = []
    given: list[Tensor] = []
    backbone = network.backbone
    for block in (backbone.stem, *(block for stage in backbone.stages for block in stage)):
        block.register_forward_pre_hook(lambda block, x: met.append(what_a_device_sees(block, tuple(x[0].shape))))
    network.head.register_forward_pre_hook(lambda head, inputs: given.extend(inputs[0]))
    network(images)
    return met, [*given]


def test_a_table_is_exact_where_the_device_adds_up_and_is_refused_for_anything_else(tmp_path: Path) -> None:
    settings = MeasurementSettings(classes=CLASSES, networks=8, name="fake", policy=NoisePolicy(rounds=1))
    path = tmp_path / "table.json"
    device = FakeDevice(SUBJECT, classes=CLASSES)
    table = build_table(MeasurementPlan(SUBJECT, settings, path, injected=device))
    assert table.record["error"]["largest_relative_error"] < 1e-9
    codes = SPACE.genome.sample(20, np.random.default_rng(0))
    assert np.array_equal(SUBJECT.load(path).latency(codes), table.latency(codes))

    other = LRASPP(strides=(1, 2))
    refused: list[tuple[DenseSubject | SpaceSubject, str]] = [
        (DenseSubject(SPACE, HEAD, (6, 6)), r"for network 'micro8' .*size \[6, 10\]\), not for .*size \[6, 6\]"),
        (DenseSubject(SPACE, other, SIZE), "'kind': 'fcos'.* not for .*'kind': 'lraspp'.*latency build EXPERIMENT"),
        (DenseSubject(SPACE.cut({"depth.conv2": (1,)}), HEAD, SIZE), "not for network 'micro8'"),
        (SpaceSubject(search_spaces.load("micro8")), "not for 'micro8' .*nasvit latency build micro8"),
    ]
    for subject, message in refused:
        with pytest.raises(ValueError, match=message):
            subject.load(path)
    of_classifiers = SpaceSubject(search_spaces.load("micro8"))
    path = tmp_path / "classifiers.json"
    build_table(MeasurementPlan(of_classifiers, settings, path, injected=FakeDevice(of_classifiers, classes=CLASSES)))
    with pytest.raises(ValueError, match="measured for space 'micro8' .* not for network 'micro8'"):
        SUBJECT.load(path)
