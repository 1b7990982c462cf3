"""Networks of every kind that backbones are made of."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import nasvit
import nasvit.timm_models
import search_spaces
from nasvit.branches import reparameterize
from nasvit.layers import Normalize
from nasvit.layers.network import Resize, Resized
from nasvit.models import mobilenet_v2
from nasvit.models.tiny import mobilenet_v2_tiny
from nasvit.registry import create
from nasvit.supernets.augment import augment
from nasvit.supernets.slimmable import SlimmableNetwork


class OwnCode(nn.Module):
    """A network of a user: functions besides modules, a branch, gray images, and a gate from pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, 2, 1)
        self.left, self.right = nn.Conv2d(8, 6, 3, 2, 1), nn.Conv2d(8, 6, 1, 2)
        self.gate = nn.Linear(12, 12)
        self.down = nn.Sequential(nn.Conv2d(12, 24, 3, 2, 1), nn.BatchNorm2d(24))
        self.classify = nn.Linear(24, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.first(images))
        x = torch.cat((self.left(x), self.right(x)), 1)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        x = F.relu(self.down(F.relu_(x)))
        scores: Tensor = self.classify(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return scores


def _slimmable(width: float, *, live: bool) -> nn.Module:
    network = SlimmableNetwork(mobilenet_v2(), (0.25, 0.5), 5)
    found: nn.Module = network.at(width) if live else network.extract(width)
    return found


def _augmented(which: str) -> nn.Module:
    network = augment(mobilenet_v2_tiny(), classes=5)
    plan = network.sample(torch.Generator().manual_seed(1)) if which == "augmented" else network.base
    return network.at(plan)  # type: ignore[arg-type]


def _elastic(network: nn.Module) -> nn.Module:
    elastic = nasvit.elasticize(network, torch.zeros(3, 64, 64))
    return elastic.at(elastic.space.smallest)


def _live_subnet() -> nn.Module:
    space = search_spaces.load("micro32")
    return nasvit.Supernet(space, 5).at(space.smallest)


def _named(name: str) -> Callable[[], nn.Module]:
    return lambda: create(name, 5).network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "a hybrid subnet": _named("micro32:smallest"),
    "a live hybrid subnet": _live_subnet,
    "a ghost subnet": _named("ghost_micro32:largest"),
    "a slimmable network at a width": lambda: _slimmable(0.25, live=False),
    "a live width": lambda: _slimmable(0.25, live=True),
    "the base of NetAug": lambda: _augmented("base"),
    "an augmented network": lambda: _augmented("augmented"),
    "mobilenet_v2": _named("mobilenet_v2-0.35"),
    "resnet": _named("resnet18-0.25"),
    "shufflenet_v2": _named("shufflenet_v2-0.5"),
    "mcunet": _named("mcunet"),
    "ghostnet_v3": _named("ghostnet_v3-1.0"),
    "fbnetv3": _named("fbnetv3_a"),
    "with branches": lambda: reparameterize(create("mobilenet_v2-0.35", 5).network),
    "timm": lambda: timm.create_model("mobilenetv3_small_050", num_classes=5),
    "a published network in timm": lambda: timm.create_model("nasvit_alphanet_a0", num_classes=5),
    "torchvision": lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5),
    "torchvision with branches": lambda: reparameterize(torchvision.models.mobilenet_v2(num_classes=5)),
    "a subnet of torchvision's": lambda: _elastic(torchvision.models.resnet18(num_classes=5)),
    "a subnet of timm's": lambda: _elastic(timm.create_model("mobilenetv3_small_050", num_classes=5)),
    "one that resizes": lambda: Resized(Resize(64), torchvision.models.resnet18(num_classes=5)),
    "own code": OwnCode,
    "own code in a sequence": lambda: nn.Sequential(Normalize([0.5], [0.5]), OwnCode()),
}
