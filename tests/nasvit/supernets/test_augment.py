from __future__ import annotations

import pytest
import torch
from torch import nn

import search_spaces
from nasvit.layers.calibration import calibrate
from nasvit.models.catalog import shufflenet_v1
from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec
from nasvit.models.tiny import TARGETS, target
from nasvit.supernets.augment import augment
from nasvit.supernets.augmented_space import AugmentedSupernet
from nasvit.supernets.factors import augmentation_factors
from nasvit.supernets.sorting import sort_channels
from nasvit.supernets.supernet import build_subnet
from search_spaces import Space
from tests.nasvit.filled import filled

MICRO8 = search_spaces.load("micro8")


def shapes(network: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in network.parameters()]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["micro8", "ghost_micro32"])
@pytest.mark.parametrize("end", ["smallest", "largest"])
def test_the_smallest_subnet_of_an_augmented_search_result_is_the_search_result(name: str, end: str) -> None:
    space: Space = search_spaces.load(name)
    found = getattr(space, end)
    network = augment((space, found), classes=5)
    assert network.base == found
    assert shapes(network.extract()) == shapes(build_subnet(space, found, 5))
    generator = seeded(0)
    for _ in range(5):
        drawn = network.sample(generator)
        assert all(wide >= own for wide, own in zip(drawn.width, found.width, strict=True))  # type: ignore[union-attr]


def test_an_augmented_search_result_is_the_exact_copy_of_its_subnet() -> None:
    network = augment((MICRO8, MICRO8.largest), classes=5)
    images = [torch.randn(8, 1, 8, 8, generator=seeded(1))]
    extracted = network.extract(calibration=images).eval()
    live = network.at(network.base)  # type: ignore[arg-type]
    assert torch.equal(calibrate(live, images)(images[0]), extracted(images[0]))


def test_without_widths_only_expand_and_mlp_ratios_of_a_search_result_grow() -> None:
    network = augment((MICRO8, MICRO8.largest), classes=5)
    drawn = [network.sample(seeded(seed), widths=False) for seed in range(8)]
    assert {each.width for each in drawn} == {MICRO8.largest.width}  # type: ignore[union-attr]
    assert len({each.expand_ratio for each in drawn}) > 1  # type: ignore[union-attr]
    assert network.sample(seeded(0), widths=False, expands=False) == network.base


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_resnets_can_be_augmented(kind: str) -> None:
    blocks = (BlockSpec(kind, 16, act="relu"), BlockSpec(kind, 16, act="relu"), BlockSpec(kind, 32, 2, act="relu"))  # type: ignore[arg-type]
    network = augment(
        Family("small", "a test", StemSpec(16), (blocks,), divisor=0), width=(1, 2), expand=(1, 2), classes=5
    )
    generator = seeded(0)
    for _ in range(5):
        plan = network.sample(generator)
        network.at(plan).train()(torch.randn(2, 3, 8, 8)).sum().backward()  # type: ignore[arg-type]
    assert shapes(network.extract())[0] == (16, 3, 3, 3)


def test_grouped_blocks_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="shufflenet_v1 has shuffle blocks, whose groups tie channels together"):
        augment(shufflenet_v1())


def test_the_papers_two_factors_give_evenly_spaced_widths() -> None:
    assert augmentation_factors(3, 2) == (1, 2, 3)
    assert augmentation_factors(2.5, 3) == (1, 1.5, 2, 2.5)
    assert augmentation_factors(1, 2) == (1,)
    with pytest.raises(ValueError, match="augmentation factor 0.5, diversity factor 2: legal are numbers from 1 up"):
        augmentation_factors(0.5, 2)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_shipped_target_has_a_form_for_small_images(name: str) -> None:
    small = target(f"{name}@32")
    assert small == target(name).for_small_images()
    with torch.device("meta"):
        network = augment(f"{name}@32", classes=10)
    assert network.base == target(name).plan()


def test_an_unknown_target_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"netaug target 'mcunex' is unknown; legal: tinymbv2, .*each also with @32"):
        augment("mcunex")


def test_convolutions_start_as_in_pytorch_because_fan_out_fails_in_wide_networks() -> None:
    family = Family("small", "a test", StemSpec(8), ((BlockSpec("inverted", 16, expand=4),),), HeadSpec(32))
    network = augment(family, classes=5)
    project = dict(network.named_parameters())["stages.0.0.project.conv.weight"]
    bound = project.shape[1] ** -0.5
    assert 0.9 * bound < project.abs().max() <= bound
    assert abs(float(project.detach().std()) - bound / 3**0.5) < 0.1 * bound
    assert torch.equal(project, dict(augment(family, classes=5).named_parameters())["stages.0.0.project.conv.weight"])


def test_sorting_an_augmented_search_result_keeps_its_widest_network() -> None:
    network = filled(augment((MICRO8, MICRO8.largest), classes=5)).double()
    assert isinstance(network, AugmentedSupernet)
    images = torch.randn(4, 1, 8, 8, generator=seeded(2), dtype=torch.float64)
    widest, tiny = network.at(network.space.largest).train(), network.at(network.base).train()
    before, before_tiny = widest(images), tiny(images)
    sort_channels(network)
    torch.testing.assert_close(widest(images), before, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(tiny(images), before_tiny)


def test_blocks_that_do_not_expand_stay_so_in_augmented_search_results() -> None:
    space = search_spaces.load("ghost_micro32")
    found = space.smallest
    model = augment((space, found), classes=5)
    for seed in range(5):
        drawn = model.sample(torch.Generator().manual_seed(seed))
        for own, wide in zip(found.expand_ratio, drawn.expand_ratio, strict=True):  # type: ignore[union-attr]
            assert (own == 1) <= (wide == 1)
    assert 1 in found.expand_ratio
