"""The parts of a space: a stem, stages of blocks, and a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from search_spaces.blocks import BLOCK_FIELDS, OMITTED, STAGE_BLOCKS
from search_spaces.ranges import Channels, Checked, Range
from search_spaces.reading import legal_names
from search_spaces.values import FieldError, Number, check_choices

Stride = Annotated[int, Range(1, 2)]
Kernel = Annotated[int, Range(1, 63, odd=True)]
KernelOrZero = Annotated[int, Range(0, 63, odd=True)]
Depth = Annotated[int, Range(1, 256)]
Ratio = Annotated[Number, Range(1, 64)]
Trim = Annotated[int, Range(0, 1)]
Windows = Annotated[int, Range(1, 1024)]
FIRST = {
    "start_kernel_size": "first_start_kernel_size",
    "kernel_size": "first_kernel_size",
    "expand_ratio": "first_expand_ratio",
}
"""Sizes that the first block of a stage may have apart from the others, and the fields with its choices then."""

SIZES = ("kernel_size", "expand_ratio", "mlp_ratio", "windows", "start_kernel_size", *FIRST.values())
"""Fields with choices that size blocks: a stage has those that its blocks have."""


@dataclass(frozen=True)
class Stem(Checked):
    """The first convolution.

    Args:
        width: choices of output channels.
        kernel_size: side of the kernel in pixels, odd; the same for every subnet.
        stride: 1 or 2.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    width: tuple[Channels, ...]
    kernel_size: Kernel = 3
    stride: Stride = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices("width", self.width)


@dataclass(frozen=True)
class Stage(Checked):
    """Blocks that share one width; the first ``depth`` of them are kept.

    Args:
        name: name in messages and of genes, for example ``"mb4"``.
        block: kind of the stage, a key of :data:`search_spaces.blocks.STAGE_BLOCKS`. "mbconv": every block is
            an MBConv. "hybrid": the first is an MBConv, the others are transformer blocks. "ghost", "universal",
            "conv_pair": every block is a Ghost block, a universal inverted bottleneck, a pair of convolutions.
        width: choices of output channels.
        depth: choices of the number of blocks.
        kernel_size: choices of the kernels' side, for all blocks of the stage but transformer blocks; of universal
            bottlenecks it is that of the second depthwise convolution, and 0 leaves it out.
        expand_ratio: choices of hidden over input channels, likewise.
        start_kernel_size: choices for the first depthwise convolution of universal bottlenecks, where 0 leaves it out.
        first_start_kernel_size: choices of the first block's, if it has its own, as below.
        first_kernel_size: choices of the first block's kernel, if it has its own; empty: it is that of the others.
        first_expand_ratio: choices of the first block's expand ratio, likewise.
        stride: stride of the first block, 1 or 2.
        squeeze_excite: whether these blocks have squeeze-and-excite.
        trim: pixels that the strided convolution pads less than half its kernel, on every side: 1 makes a side of n
            pixels one of (n - 1) // 2, as in some released networks; only for an MBConv with shortcut "identity".
        mlp_ratio: choices of the transformer blocks' MLP ratio; empty unless hybrid.
        windows: choices of the transformer blocks' attention windows per side, 1 = global attention; empty
            unless hybrid.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    name: str
    block: str
    width: tuple[Channels, ...]
    depth: tuple[Depth, ...]
    kernel_size: tuple[KernelOrZero, ...]
    expand_ratio: tuple[Ratio, ...]
    stride: Stride
    squeeze_excite: bool = False
    trim: Trim = 0
    mlp_ratio: tuple[Ratio, ...] = ()
    windows: tuple[Windows, ...] = ()
    start_kernel_size: tuple[KernelOrZero, ...] = ()
    first_start_kernel_size: tuple[KernelOrZero, ...] = ()
    first_kernel_size: tuple[KernelOrZero, ...] = ()
    first_expand_ratio: tuple[Ratio, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block not in STAGE_BLOCKS:
            raise FieldError(["block"], f"is {self.block!r}; {legal_names(str(self.block), STAGE_BLOCKS)}")
        for name in ("width", "depth", "kernel_size", "expand_ratio"):
            check_choices(name, getattr(self, name))
        for field in SIZES[2:]:
            if any(self.sized_by(field)):
                check_choices(field, getattr(self, field))
            elif getattr(self, field):
                raise FieldError([field], _owners(field))
        if self.squeeze_excite and not any(self.sized_by("squeeze_excite")):
            raise FieldError(["squeeze_excite"], f"{self.block} blocks have none; legal: false")
        if self.trim and (self.kinds[0] != "mbconv" or self.stride != 2):
            raise FieldError(["trim"], "belongs to stages that begin with an MBConv of stride 2; legal: 0")
        self._check_omitted()

    def _check_omitted(self) -> None:
        """Refuse kernels of 0 where a block needs the convolution."""
        for place, kind in enumerate(self.kinds):
            for field in BLOCK_FIELDS[kind]:
                own = field if place else self.first_field(field)
                if field.endswith("kernel_size") and 0 in getattr(self, own):
                    if field not in OMITTED.get(kind, ()):
                        raise FieldError([own], f"0 is illegal; {kind} blocks are not without this convolution")
                    if not place and self.stride > 1 and field == "kernel_size":
                        told = "is that of the stride; give the first block its own kernels in first_kernel_size"
                        raise FieldError([own], f"0 is illegal; in the first block this convolution {told}")

    @property
    def kinds(self) -> tuple[str, str]:
        """The kind of the first block, and that of the blocks after it."""
        return STAGE_BLOCKS[self.block]

    def sized_by(self, field: str) -> tuple[bool, bool]:
        """Return whether a field sizes the first block, and whether it sizes the blocks after it."""
        first, rest = (BLOCK_FIELDS[kind] for kind in self.kinds)
        for shared, own in FIRST.items():
            apart = bool(getattr(self, own)) and shared in first and shared in rest
            if field == own:
                return apart, False
            if field == shared and apart:
                return False, True
        return field in first, field in rest

    def first_field(self, field: str) -> str:
        """Return the field that the first block has a size from."""
        own = FIRST.get(field, field)
        return own if self.sized_by(own)[0] else field

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """The fields that all blocks depend on; of two lists, the first block on one and the others on the other."""
        sizes = [(field, *self.sized_by(field)) for field in SIZES]
        first, rest = (tuple(size[0] for size in sizes if size[which]) for which in (1, 2))
        if any(field in FIRST.values() for field in first):
            return ("width", *first), ("width", "depth", *rest)
        return (("width", "depth", *(field for field, *used in sizes if any(used))),)

    @property
    def hybrid(self) -> bool:
        """True if there may be transformer blocks."""
        return "transformer" in self.kinds


@dataclass(frozen=True)
class Head(Checked):
    """Last layers: 1x1 convolution, global pooling, 1x1 convolution, classifier.

    Args:
        width: choices of the channels that enter the classifier.
        expand_ratio: channels before pooling over channels of the last stage.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    width: tuple[Channels, ...]
    expand_ratio: Ratio = 6

    def hidden_channels(self, in_channels: int) -> int:
        """Return the channels before pooling, behind a last stage of ``in_channels``."""
        return round(in_channels * self.expand_ratio)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices("width", self.width)


def _owners(field: str) -> str:
    for shared, own in FIRST.items():
        if field == own:
            return f"belongs to stages whose first block and whose others have the field {shared}; leave it out"
    blocks = [kind for kind, fields in BLOCK_FIELDS.items() if field in fields]
    stages = [f'"{name}"' for name, kinds in STAGE_BLOCKS.items() if {*kinds} & {*blocks}]
    return f"belongs to {' and '.join(blocks)} blocks; legal: only where block is {' or '.join(stages)}"
