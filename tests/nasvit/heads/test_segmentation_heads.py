"""Heads that give every pixel a class."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.segmentation.lraspp import LRASPPHead

from nasvit.heads.kinds import AnyHead, head_of
from nasvit.heads.segmentation import LRASPP, PyramidSegmentation
from nasvit.tasks.segmentation import Segmentation
from search_spaces.values import FieldError

SIZE, CLASSES = (64, 96), 5


def maps(head: AnyHead, batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    channels = [8 * (number + 1) for number, _ in enumerate(head.strides)]
    sides = [(SIZE[0] // stride, SIZE[1] // stride) for stride in head.strides]
    return [torch.randn(batch, one, *side, generator=generator) for one, side in zip(channels, sides, strict=True)]


def channels_of(head: AnyHead) -> list[int]:
    return [each.shape[1] for each in maps(head)]


@pytest.mark.parametrize("head", [LRASPP(), PyramidSegmentation()])
def test_every_pixel_gets_a_score_for_every_class(head: AnyHead) -> None:
    module = head.build(channels_of(head), CLASSES)
    for mode in (True, False):
        assert module.train(mode)(maps(head), SIZE).shape == (2, CLASSES, *SIZE)


def test_lraspp_computes_what_torchvisions_does() -> None:
    head = LRASPP()
    module = head.build(channels_of(head), CLASSES).eval()
    theirs = LRASPPHead(*channels_of(head), CLASSES, 128)
    theirs.load_state_dict(module.layers.state_dict())  # type: ignore[union-attr]
    low, high = maps(head)
    expected = F.interpolate(theirs.eval()({"low": low, "high": high}), size=SIZE, mode="bilinear", align_corners=False)
    assert torch.equal(module([low, high], SIZE), expected)


@pytest.mark.parametrize("head", [LRASPP(), PyramidSegmentation()])
def test_the_loss_is_the_mean_over_pixels_that_have_a_class(head: AnyHead) -> None:
    targets = torch.randint(0, CLASSES, (2, *SIZE), generator=torch.Generator().manual_seed(0))
    targets[0, :40] = 255
    outputs = torch.randn(2, CLASSES, *SIZE, generator=torch.Generator().manual_seed(1))
    objective = Segmentation(CLASSES, head, SIZE).objective()
    learned = objective.of_batch(torch.zeros(2, 3, *SIZE), targets, torch.autocast("cpu", enabled=False))
    torch.testing.assert_close(objective.loss(outputs, learned), F.cross_entropy(outputs, targets, ignore_index=255))
    parts = [objective.loss(outputs[one : one + 1], tuple(each[one : one + 1] for each in learned)) for one in (0, 1)]
    torch.testing.assert_close(torch.stack(parts).mean(), objective.loss(outputs, learned))


@pytest.mark.parametrize("head", [LRASPP(), PyramidSegmentation()])
def test_the_weights_that_read_the_backbone_are_all_that_depends_on_its_channels(head: AnyHead) -> None:
    narrow, wide = (head.build([each * factor for each in channels_of(head)], CLASSES) for factor in (1, 2))
    wider = {name for name, one in narrow.named_parameters() if one.shape != wide.get_parameter(name).shape}
    assert wider == set(narrow.reads())
    assert all(isinstance(narrow.get_submodule(name.rpartition(".")[0]), nn.Conv2d) for name in wider)


def test_a_head_of_another_task_is_refused_with_those_that_fit() -> None:
    with pytest.raises(FieldError, match="lraspp is for segmentation; legal of detection: fcos"):
        head_of("detection", LRASPP())
    with pytest.raises(FieldError, match="lraspp is for segmentation; leave it out, or say task: segmentation"):
        head_of("classification", LRASPP())
