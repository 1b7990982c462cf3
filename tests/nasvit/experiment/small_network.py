"""A network of one's own, as a user would bring it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.second = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.norm(self.first(x)).relu())


class Residual(nn.Module):
    """A small residual network for images of one channel."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(16, 32) for _ in range(3)))
        self.head = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.blocks(self.stem(images)).mean((2, 3)))
        return scores


def residual(num_classes: int) -> Residual:
    """Return the network."""
    return Residual(num_classes)


class Joined(nn.Module):
    """Two convolutions whose maps are joined, so that what reads both is no slice in a smaller network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(1, 16, 1)
        self.both = nn.Conv2d(32, 16, 1)
        self.head = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        joined = torch.cat([self.first(images), self.second(images)], 1).relu()
        scores: Tensor = self.head(self.both(joined).relu().mean((2, 3)))
        return scores


def joined(num_classes: int) -> Joined:
    """Return the network."""
    return Joined(num_classes)


def no_choice(num_classes: int) -> nn.Module:
    """Return a network without anything to decide."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


def cut_off(num_classes: int) -> nn.Module:
    """Return a network whose code cuts off what is too much, and so cannot have more."""

    class CutOff(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.channels, self.stem = 16, nn.Conv2d(1, 16, 3)
            self.head = nn.Linear(16, num_classes)

        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.head(self.stem(images)[:, : self.channels].mean((2, 3)))
            return scores

    return CutOff()


def pairs(num_classes: int) -> nn.Module:
    """Return a network that returns something else than scores."""

    class Pairs(Residual):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images), images  # type: ignore[return-value]

    return Pairs(num_classes)
