"""The parts a space is made of: a stem, stages of blocks, and a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search_spaces.values import FieldError, Number, check_choices

STRIDES = (1, 2)


@dataclass(frozen=True)
class Stem:
    """The first convolution.

    Args:
        width: choices of output channels.
        kernel_size: side of its kernel, odd; the same for every subnet.
        stride: 1 or 2.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    width: tuple[int, ...]
    kernel_size: int = 3
    stride: int = 2

    def __post_init__(self) -> None:
        check_choices("width", self.width, least=1)
        check_choices("kernel_size", (self.kernel_size,), least=1, odd=True)
        _check_stride(self.stride)


@dataclass(frozen=True)
class Stage:
    """Blocks that share one width; the first ``depth`` of them are kept.

    Args:
        name: for messages and gene names, for example ``"mb4"``.
        block: "mbconv": every block is an MBConv. "hybrid": the first is an MBConv, the others are transformer
            blocks. "ghost": every block is a Ghost block.
        width: choices of output channels.
        depth: choices of the number of blocks.
        kernel_size: choices of the depthwise kernels' side, for every MBConv or Ghost block of the stage.
        expand_ratio: choices of hidden over input channels, likewise.
        stride: stride of the first block, 1 or 2.
        squeeze_excite: whether these blocks have squeeze-and-excite.
        mlp_ratio: choices of the transformer blocks' MLP ratio; empty unless hybrid.
        windows: choices of the transformer blocks' attention windows per side, 1 = global attention; empty
            unless hybrid.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    name: str
    block: Literal["mbconv", "hybrid", "ghost"]
    width: tuple[int, ...]
    depth: tuple[int, ...]
    kernel_size: tuple[int, ...]
    expand_ratio: tuple[Number, ...]
    stride: int
    squeeze_excite: bool = False
    mlp_ratio: tuple[Number, ...] = ()
    windows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_choices("width", self.width, least=1)
        check_choices("depth", self.depth, least=1)
        check_choices("kernel_size", self.kernel_size, least=1, odd=True)
        check_choices("expand_ratio", self.expand_ratio, least=1)
        _check_stride(self.stride)
        for field, choices in (("mlp_ratio", self.mlp_ratio), ("windows", self.windows)):
            if self.hybrid:
                check_choices(field, choices, least=1)
            elif choices:
                raise FieldError([field], 'belongs to transformer blocks; legal: only where block is "hybrid"')

    @property
    def hybrid(self) -> bool:
        """True if blocks after the first are transformer blocks."""
        return self.block == "hybrid"


@dataclass(frozen=True)
class Head:
    """What follows the last stage: 1x1 convolution, global pooling, 1x1 convolution, classifier.

    Args:
        width: choices of the channels that enter the classifier.
        expand_ratio: channels before pooling over channels of the last stage.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    width: tuple[int, ...]
    expand_ratio: Number = 6

    def __post_init__(self) -> None:
        check_choices("width", self.width, least=1)
        check_choices("expand_ratio", (self.expand_ratio,), least=1)


def _check_stride(stride: int) -> None:
    if stride not in STRIDES:
        raise FieldError(["stride"], f"{stride} is illegal; legal: {', '.join(map(str, STRIDES))}")
