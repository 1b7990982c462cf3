"""A supernet starts from another one: every subnet has the weights that it has there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import search_spaces
from nasvit.importing.transfer import Report, Source, load_supernet, subnets
from nasvit.layers.calibration import calibrate
from nasvit.supernets.supernet import Supernet
from search_spaces import Space
from tests.nasvit.filled import filled, images

MICRO = search_spaces.load("micro8")
HYBRID = search_spaces.load("micro32")
TEN = tuple(map(str, range(10)))


def halved(space: Space) -> Space:
    """The space with the smaller half of the choices of every decision."""
    values = {each.name: each.values[: (len(each.values) + 1) // 2] for each in space.decisions if not each.never}
    return space.cut(values)


def loaded(
    space: Space, other: Supernet, classes: tuple[str, ...] = TEN, known: tuple[str, ...] = ()
) -> tuple[Supernet, Report]:
    supernet = Supernet(space, len(classes), seed=5)
    return supernet, load_supernet(supernet, other, Source("a supernet", {}, known), classes)


def backbone(network: nn.Module) -> nn.Module:
    """The network without its classifier."""
    network.head.classifier = nn.Identity()  # type: ignore[union-attr]
    return network


@pytest.mark.parametrize("space", [MICRO, HYBRID], ids=["micro8", "micro32"])
@pytest.mark.parametrize("cut", [False, True])
def test_every_subnet_computes_what_it_computes_in_the_other_supernet(space: Space, cut: bool) -> None:
    other = filled(Supernet(space, 10, seed=1))
    smaller = halved(space) if cut else space
    supernet, report = loaded(smaller, other)
    rng, batch = np.random.default_rng(3), images(space)
    for architecture in (smaller.smallest, smaller.largest, *(smaller.sample(rng) for _ in range(5))):
        answers = [calibrate(each.extract(architecture), [batch])(batch) for each in (supernet, other)]
        assert torch.equal(*answers)
    assert not report.anew
    assert ("the parts that the subnets of this space have" in str(report)) == cut


def test_the_largest_supernet_of_a_transformer_space_takes_the_scales_of_its_own_kinds_of_subnets() -> None:
    space = search_spaces.load("nasvit_release")
    smaller = halved(space)
    other = filled(Supernet(space, 10, seed=1))
    supernet, report = loaded(smaller, other)
    architecture = smaller.sample(np.random.default_rng(0))
    pairs = zip(supernet.at(architecture).parameters(), other.at(architecture).parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert report.numbers < sum(each.numel() for each in other.parameters())


@pytest.mark.parametrize("space", [MICRO, HYBRID], ids=["micro8", "micro32"])
def test_what_any_subnet_computes_with_is_copied_without_any_luck(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = []
    for patience in (0, 150):
        monkeypatch.setattr(subnets, "_PATIENCE", patience)
        numbers.append(loaded(space, Supernet(space, 10))[1].numbers)
    assert numbers[0] == numbers[1]


def test_a_classifier_of_other_classes_is_made_anew_and_nothing_else() -> None:
    other = filled(Supernet(MICRO, 37, seed=1))
    supernet, report = loaded(MICRO, other)
    assert report.anew == dict.fromkeys(("head.classifier.weight", "head.classifier.bias"), "10 classes instead of 37")
    batch = images(MICRO)
    answers = [backbone(calibrate(each.extract(MICRO.smallest), [batch]))(batch) for each in (supernet, other)]
    assert torch.equal(*answers)
    assert torch.equal(supernet.head.classifier.weight, Supernet(MICRO, 10, seed=5).head.classifier.weight)


def test_classes_are_found_by_their_names() -> None:
    other = filled(Supernet(MICRO, 3, seed=1))
    supernet, report = loaded(MICRO, other, ("emu", "cat"), ("cat", "dog", "emu"))
    assert torch.equal(supernet.head.classifier.weight, other.head.classifier.weight[[2, 0]])
    assert report.reshaped["head.classifier.bias"] == "2 of 3 classes, by their names"


def test_colored_images_take_a_third_of_the_stem_of_gray_ones() -> None:
    other = filled(Supernet(MICRO, 10, seed=1))
    colored = replace(MICRO, image_channels=3)
    supernet, report = loaded(colored, other)
    batch = images(MICRO)
    answers = [
        calibrate(each.extract(MICRO.largest), [given])(given)
        for each, given in ((supernet, batch.expand(-1, 3, -1, -1)), (other, batch))
    ]
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)
    assert list(report.reshaped) == ["stem.conv.weight"]


def test_statistics_of_a_released_supernet_are_left_out_and_named() -> None:
    other = filled(Supernet(MICRO, 10, stored_statistics=True))
    _, report = loaded(MICRO, other)
    ((reason, names),) = report.left_out.items()
    assert "statistics" in reason and all("running" in name for name in names)


def test_blocks_beyond_the_space_are_left_out_and_named() -> None:
    shallow = MICRO.cut({each.name: each.values[:1] for each in MICRO.decisions if each.field == "depth"})
    supernet, report = loaded(shallow, filled(Supernet(MICRO, 10)))
    (names,) = report.left_out.values()
    kept = {name for name, _ in supernet.named_parameters()}
    assert names and not kept & set(names)


def test_a_supernet_that_does_not_hold_all_subnets_is_refused_by_its_choices() -> None:
    smaller = halved(MICRO)
    with pytest.raises(ValueError, match=f"a supernet is a supernet of the space {smaller.name}, which has no .* of "):
        loaded(MICRO, Supernet(smaller, 10))


def test_a_space_of_other_blocks_is_refused_by_the_tensor_that_differs() -> None:
    other = replace(MICRO, mbconv=replace(MICRO.mbconv, shortcut="identity"))
    with pytest.raises(
        ValueError, match="a supernet of another space than micro8: stages.*shortcut.* is missing there"
    ):
        loaded(MICRO, Supernet(other, 10))


def test_a_started_supernet_trains_like_any_other() -> None:
    supernet, _ = loaded(halved(MICRO), filled(Supernet(MICRO, 10)))
    supernet.zero_grad()
    supernet.at(supernet.space.largest)(images(MICRO)).sum().backward()
    assert float(supernet.gradients.norm()) > 0
