"""Networks and their losses in float64: no tensor inside is made in another format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import search_spaces
from nasvit.heads.fcos import FCOS
from nasvit.heads.head import Head
from nasvit.heads.retinanet import RetinaNet
from nasvit.heads.segmentation import LRASPP, PyramidSegmentation
from nasvit.heads.ssdlite import SSDLite
from nasvit.layers.calibration import track_statistics
from nasvit.models.catalog import mobilenet_v2
from nasvit.names import spec_of_name
from nasvit.registry import augmentable, spec_of
from nasvit.specs import DenseSpec
from nasvit.supernets import SlimmableNetwork, Supernet, augment
from nasvit.tasks.objective import LabelObjective
from nasvit.tasks.teacher import Teacher, Teachers

SPACE = search_spaces.load("micro32")
SHARED: dict[str, Callable[[], tuple[Any, list[Any]]]] = {
    "a supernet": lambda: (Supernet(SPACE, 3), [SPACE.largest, SPACE.smallest]),
    "a slimmable network": lambda: (SlimmableNetwork(mobilenet_v2(), [0.1, 0.2], 3, norm="universal"), [0.2, 0.1]),
}


def images(side: int = 32) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def watched(network: nn.Module) -> nn.Module:
    """Return a network that notices if a module in it returns another format."""

    def is_double(module: nn.Module, inputs: Any, output: Any) -> None:
        for each in output if isinstance(output, (tuple, list)) else (output,):
            assert not isinstance(each, Tensor) or each.dtype == torch.float64, module

    for module in network.modules():
        module.register_forward_hook(is_double)
    return network


def netaug() -> tuple[Any, list[Any]]:
    network = augment(augmentable(spec_of("mbv3")), classes=3)
    return network, [network.base, network.sample(torch.Generator().manual_seed(0))]  # type: ignore[union-attr]


@pytest.mark.parametrize("autocast", [nullcontext(), torch.autocast("cpu", torch.bfloat16)], ids=["", "autocast"])
@pytest.mark.parametrize("name", ["NetAug MobileNetV3", *SHARED])
def test_shared_weights_learn_from_labels_and_a_teacher(name: str, autocast: Any) -> None:
    network, subnets = (SHARED | {"NetAug MobileNetV3": netaug})[name]()
    network.double()
    teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), (0.5,) * 3, (0.2,) * 3)
    objective = LabelObjective(0.1, Teachers([teacher], 0.5))
    learned = objective.of_batch(images(), torch.tensor([[0.2, 0.3, 0.5]] * 2), nullcontext())
    for subnet in subnets:
        with autocast:
            loss = objective.loss(watched(network.at(subnet).train())(images()), learned)
        loss.backward()
        assert loss.dtype == network.gradients.norm().dtype == torch.float64


@pytest.mark.parametrize(
    "head", [FCOS(), RetinaNet(), SSDLite(), LRASPP(), PyramidSegmentation()], ids=lambda h: h.kind
)
def test_heads(head: Head) -> None:
    network = DenseSpec(spec_of_name("mobilenet_v2-0.1"), head, (64, 64)).build(3).double()  # type: ignore[arg-type]
    track_statistics(network)
    watched(network.train())(images(64))
    network.eval()(images(64))
