"""Torchvision's two-stage detectors around slimmable backbones: one head learns from all widths, padded with zeros."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

from nasvit.backbones import features
from nasvit.heads.pyramid import PyramidBackbone
from nasvit.supernets.slimmable import SlimmableNetwork
from tests.nasvit.supernets.tiny import FAMILY

SHAPE = (3, 64, 64)


def targets() -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0]])
    masks = torch.zeros(1, *SHAPE[1:], dtype=torch.uint8)
    masks[:, 8:48, 8:40] = 1
    points = torch.tensor([[[12.0, 12.0, 1.0], [30.0, 40.0, 1.0]]])
    return [{"boxes": boxes, "labels": torch.ones(1).long(), "masks": masks, "keypoints": points}] * 2


@pytest.mark.parametrize(
    ("kind", "more"),
    [(FasterRCNN, {}), (MaskRCNN, {}), (KeypointRCNN, {"num_keypoints": 2})],
    ids=lambda each: str(each),
)
def test_one_step_trains_backbones_of_all_widths_and_one_head(kind: Any, more: dict[str, int]) -> None:
    network = SlimmableNetwork(FAMILY, (0.5, 1.0), 5)
    widest = features(network.at(1.0), (2, 4), SHAPE)
    anchors = AnchorGenerator(((16,), (32,)), ((1.0,),) * 2)
    size = {"min_size": SHAPE[1], "max_size": SHAPE[1]}
    detector = kind(PyramidBackbone(widest, 16), 2, rpn_anchor_generator=anchors, **size, **more).train()
    images = list(torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)))
    network.zero_grad()
    for width in network.widths:
        narrow = features(network.at(width).train(), like=widest)
        detector.backbone = PyramidBackbone(narrow, 16, detector.backbone.pyramid)
        losses = detector(images, [dict(each) for each in targets()])
        assert all(torch.isfinite(each) for each in losses.values())
        sum(losses.values()).backward()
    assert network.gradients.norm() > 0
    assert all(each.grad is not None for each in detector.backbone.pyramid.parameters())
    if kind is FasterRCNN:
        assert {"boxes", "labels", "scores"} <= set(detector.eval()(images)[0])
