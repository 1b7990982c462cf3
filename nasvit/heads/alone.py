"""A head without its backbone, as what is counted, timed and exported: a module of one tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from nasvit.heads.head import HeadModule, Size


class HeadAlone(nn.Module):
    """A head that gets all its maps as one tensor.

    So no runtime can take a map for a constant and compute beforehand what the head makes of it.

    Args:
        head: the head.
        maps: channels, height and width of every map, finest first.
        size: of the images.

    Shape:
        ``(batch, numbers)``, the maps one after the other, each channels last -> what the head returns
    """

    def __init__(self, head: HeadModule, maps: Sequence[tuple[int, int, int]], size: Size) -> None:
        super().__init__()
        self.head, self.maps, self.size = head, tuple(maps), size

    @property
    def numbers(self) -> int:
        """Numbers of all maps of one image."""
        return sum(map(math.prod, self.maps))

    def forward(self, x: Tensor) -> object:
        parts = x.split([math.prod(each) for each in self.maps], dim=1)
        return self.head([_map(part, *each) for part, each in zip(parts, self.maps, strict=True)], self.size)


def _map(numbers: Tensor, channels: int, height: int, width: int) -> Tensor:
    return numbers.view(len(numbers), height, width, channels).permute(0, 3, 1, 2)
