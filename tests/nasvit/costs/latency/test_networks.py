"""Latency tables of networks that were made elastic: sums of all that their subnets do, and of nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nasvit.any_network import Elastic
from nasvit.any_network.choices import space_of
from nasvit.costs.latency import covering
from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.networks import NetworkSubject, Segments
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.costs.latency.subjects import SpaceSubject
from nasvit.names import code_spec
from nasvit.specs import elastic_plan
from predictors.bounds import outside_bounds
from search_spaces import load
from tests.nasvit.any_network import networks
from tests.nasvit.any_network.networks import Classifying, Residual, conv
from tests.nasvit.costs.latency.fake import FakeDevice

FREE = Elastic(width=(0.5, 1.0), divisor=1)


def deep(num_classes: int = 5) -> nn.Module:
    """Blocks that can be left out, around one of a depthwise convolution whose kernel can be cropped."""
    return Classifying(
        nn.Sequential(
            nn.Sequential(*(Residual(8, 6) for _ in range(3))),
            conv(8, 8, 5, groups=8),
            nn.Sequential(*(Residual(8, 4) for _ in range(2))),
        )
    )


def joined(num_classes: int = 5) -> nn.Module:
    return Classifying(networks.UNet())


def attending(num_classes: int = 5) -> nn.Module:
    return Classifying(networks.Attending())


def twice(num_classes: int = 5) -> nn.Module:
    return Classifying(networks.Twice())


def subject(name: str, elastic: Elastic = FREE, side: int = 8) -> NetworkSubject:
    base = replace(code_spec(f"{__name__}:{name}", 3), image_side=side)
    space = space_of(elastic_plan(base, 5, side), elastic, name, (3, side, side))
    return NetworkSubject(base, space, side)


def apart(measured: NetworkSubject) -> Segments:
    found = measured.take_apart(5, 1)
    assert isinstance(found, Segments)
    return found


def times(found: Segments) -> dict[str, float]:
    """A different time for every segment."""
    return {block.name: float(2 + 3 * number) for number, block in enumerate(found.blocks)}


@pytest.mark.parametrize("name", ["deep", "joined", "attending", "twice"])
def test_the_latency_of_a_subnet_is_exactly_the_sum_of_its_segments(name: str) -> None:
    measured = subject(name, replace(FREE, resolution=(4, 8)) if name == "deep" else FREE)
    found, space = apart(measured), measured.space
    known = times(found)
    subnets = [*space.decode(space.genome.sample(20, np.random.default_rng(0))), space.smallest, space.largest]
    by_hand = [sum(known[segment.timed.name] for segment in found.of(each).values()) for each in subnets]
    assert len({*by_hand}) >= 4
    table = found.table(known)
    assert table.latency(space.encode(subnets)) == pytest.approx(by_hand)
    assert set(known) == {block.name for block in found.blocks}


def test_genes_that_do_not_count_change_nothing() -> None:
    measured = subject("deep")
    space = measured.space
    rows = np.random.default_rng(0).integers(0, space.genome.cards, (200, len(space.genome))).astype(np.uint8)
    found = apart(measured)
    table = found.table(times(found))
    assert not np.array_equal(rows, space.canonical(rows))
    for name in ("depth.middle.0", "depth.middle.2"):
        assert name in space.genome.names
    assert np.allclose(table.latency(rows), table.latency(space.canonical(rows)))


def test_no_subnet_is_outside_the_bounds_of_any_of_its_choices() -> None:
    measured = subject("deep")
    found, space = apart(measured), measured.space
    table = found.table(times(found))
    rows = space.genome.sample(2000, np.random.default_rng(0))
    latency = table.latency(rows)
    least, most = outside_bounds(table.parts)
    assert least <= latency.min() and latency.max() <= most
    for column in range(len(space.genome)):
        for value, (low, high) in enumerate(zip(*outside_bounds(table.parts, column), strict=True)):
            own = latency[rows[:, column] == value]
            assert low <= own.min() and own.max() <= high


def test_random_networks_are_of_all_sizes_and_all_different() -> None:
    measured = subject("deep")
    found = measured.choose(40, seed=0)
    assert found[:2] == [measured.space.smallest, measured.space.largest]
    assert len({*found}) == 40
    assert measured.choose(20, seed=0) == found[:20]
    assert measured.choose(20, seed=1) != found[:20]
    costs = [sum(parameter.numel() for parameter in measured.network(each, 5, 1).make().parameters()) for each in found]
    spread = (np.array(costs) - min(costs)) / (max(costs) - min(costs))
    assert all(((low <= spread) & (spread < low + 0.2)).any() for low in (0, 0.2, 0.4, 0.6))


def test_a_whole_network_takes_images_of_its_resolution_and_batch_size() -> None:
    measured = subject("deep", replace(FREE, resolution=(4, 8)))
    timed = measured.network(measured.space.smallest, 5, 2)
    assert timed.shape == (2, 3, 4, 4)
    assert timed.make()(torch.zeros(timed.shape)).shape == (2, 5)
    assert not timed.make().training


def test_a_segment_sees_the_batch_size() -> None:
    blocks = subject("deep").take_apart(5, 4).blocks
    assert {block.shape[0] for block in blocks} == {4}


def test_everything_is_compared_with_what_does_not_depend_on_the_network() -> None:
    yardsticks = [apart(subject(name)).yardstick for name in ("deep", "joined")]
    assert {each.name for each in yardsticks} == {"yardstick"}
    assert yardsticks[0].make()(torch.zeros(yardsticks[0].shape)).shape == yardsticks[0].shape


def test_of_too_many_combinations_some_are_timed_and_the_others_are_interpolated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = subject("joined", replace(FREE, width=(0.25, 0.5, 0.75, 1.0)))
    whole = apart(measured)
    assert whole.blocks  # found before anything changes
    monkeypatch.setattr(covering, "MOST", 20)
    monkeypatch.setattr(covering, "DRAWN", 8)
    found, space = apart(measured), measured.space
    assert len(found.blocks) < len(whole.blocks)
    assert found.recorded(times(found))["interpolated"] > 0
    assert whole.recorded(times(whole))["interpolated"] == 0
    rows = space.genome.sample(50, np.random.default_rng(0))
    linear = {block.name: 1.0 + block.shape[1] for block in whole.blocks}  # what comes in, which is a sum of sizes
    known = {block.name: 1.0 + block.shape[1] for block in found.blocks}
    assert found.table(known).latency(rows) == pytest.approx(whole.table(linear).latency(rows))


def settings(**changed: Any) -> MeasurementSettings:
    given: dict[str, Any] = {"classes": 5, "networks": 12, "name": "fake", "policy": NoisePolicy(rounds=2)}
    return MeasurementSettings(**given | changed)


def plan(measured: NetworkSubject, device: FakeDevice, folder: Path) -> MeasurementPlan:
    return MeasurementPlan(measured, settings(), folder / "table.json", injected=device)


def test_segments_that_add_up_are_predicted_exactly_and_a_killed_build_goes_on(tmp_path: Path) -> None:
    measured = subject("deep")
    device = FakeDevice(measured, scale=1.5, offset=0.25, classes=5)
    device.dies_after = 30
    with pytest.raises(KeyboardInterrupt):
        build_table(plan(measured, device, tmp_path))
    device.dies_after = -1
    table = build_table(plan(measured, device, tmp_path))
    assert (table.scale, table.offset) == pytest.approx((1.5, 0.25))
    assert table.record["error"]["median_relative_error"] < 1e-9
    assert table.record["error"]["networks"] == 5
    assert set(device.asked.values()) == {2}
    rows = measured.space.genome.sample(50, np.random.default_rng(0))
    assert np.array_equal(measured.load(tmp_path / "table.json").latency(rows), table.latency(rows))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    measured = subject("deep")
    build_table(plan(measured, FakeDevice(measured, classes=5), folder))
    return folder / "table.json"


def test_a_table_serves_a_space_of_fewer_choices(table: Path) -> None:
    measured = subject("deep")
    fewer = subject("deep", replace(FREE, fixed=("stem",), depth=False, kernel_size=False))
    assert fewer.space.size < measured.space.size
    subnets = fewer.space.decode(fewer.space.genome.sample(30, np.random.default_rng(0)))
    same = [measured.space.architecture(json.loads(each.to_json())) for each in subnets]
    one = fewer.load(table).latency(fewer.space.encode(subnets))
    assert np.allclose(one, measured.load(table).latency(measured.space.encode(same)))


REFUSED = {
    "another network": (lambda: subject("twice"), r"was measured for network 'deep' \(code: function .*:deep.*twice"),
    "another image size": (
        lambda: subject("deep", replace(FREE, resolution=(4, 8))),
        r"was measured with resolution of 8, and 4 is asked for; .* nasvit latency build EXPERIMENT.yaml",
    ),
    "other widths": (
        lambda: subject("deep", replace(FREE, width=(0.25, 0.5, 1.0))),
        r"was measured with width\.stem\.0 of 4, 8, and 2 is asked for",
    ),
    "a space": (
        lambda: SpaceSubject(load("micro8")),
        r"measured for network 'deep' \(code: .*\), not for 'micro8' \(fingerprint",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_of_something_else_is_refused_in_words(table: Path, case: str) -> None:
    asked, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        asked().load(table)


def test_the_table_of_a_space_is_refused_for_a_network(tmp_path: Path) -> None:
    space = SpaceSubject(load("micro8"))
    build_table(
        MeasurementPlan(space, settings(classes=10), tmp_path / "table.json", injected=FakeDevice(load("micro8")))
    )
    with pytest.raises(
        ValueError, match=r"was measured for space 'micro8' \(fingerprint .*\), not for network 'deep' \(code: "
    ):
        subject("deep").load(tmp_path / "table.json")
