"""Options of the blocks of a space, which are the same for all of its subnets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from search_spaces.ranges import Channels, Checked, Pixels, Range
from search_spaces.values import make_divisible

Activation = Literal["swish", "relu", "relu6", "hard_swish"]


@dataclass(frozen=True)
class MBConvOptions(Checked):
    """Behavior of the MBConv (inverted residual) blocks.

    Args:
        shortcut: "pool": every block has one; it average-pools by the stride (at odd sides with padding 1, whose
            zeros are counted in the mean), then a 1x1 convolution without batch norm if the widths differ.
            "identity": only blocks of stride 1 and equal widths have one, and it changes nothing.
        squeeze_excite_ratio: inner channels of squeeze-and-excite over the block's hidden channels.
        squeeze_excite_activation: activation between the two layers of squeeze-and-excite; the gate is always
            a hard sigmoid.
        squeeze_excite_of: what that ratio counts from: the block's "hidden" channels or those of its "input".
        divisor: hidden channels and inner channels of squeeze-and-excite are multiples of it.
        rounding_share: they are rounded up where rounding down would leave less than this share of them.
        zero_init_last_gain: start the last batch norm's gain at 0, so that a block starts as its shortcut.

    Raises:
        ValueError: a ratio or divisor out of its range.

    Source: NASViT and AlphaNet released code for "pool"; Sandler et al., MobileNetV2 (2018) for "identity".
    """

    shortcut: Literal["pool", "identity"] = "pool"
    squeeze_excite_ratio: Annotated[float, Range(0, 16, above=True)] = 0.25
    squeeze_excite_activation: Activation = "relu"
    squeeze_excite_of: Literal["hidden", "input"] = "hidden"
    divisor: Annotated[int, Range(1, 1024)] = 8
    rounding_share: Annotated[float, Range(0, 1)] = 0.9
    zero_init_last_gain: bool = True

    def hidden_channels(self, in_channels: int, expand_ratio: float) -> int:
        """Return the hidden channels of a block with ``in_channels``."""
        return make_divisible(round(in_channels * expand_ratio), self.divisor, self.rounding_share)

    def squeeze_channels(self, channels: int) -> int:
        """Return the channels between the two layers of squeeze-and-excite, of those that its ratio counts from."""
        return make_divisible(channels * self.squeeze_excite_ratio, self.divisor, self.rounding_share)


@dataclass(frozen=True)
class TransformerOptions(Checked):
    """Behavior of the transformer blocks. The defaults are the paper's; the release differs in six of them.

    Args:
        head_dim: channels of a head's queries and keys; heads = width / head_dim.
        value_ratio: channels of the values over channels of the block.
        norm: "token": layer norm over the channels of every token. "joint": over tokens and channels together.
        mlp_order: "macaron": MLP, attention, MLP. "after": attention, the second MLP, the first MLP.
        mlp_depthwise: a 3x3 depthwise convolution on the hidden features of every MLP.
        projection_activation: activation "before" or "after" the output projection of attention.
        scale: key of a subnet's own switchable scales. "width_depth": the stage's width and depth.
            "depth_tokens": the stage's depth and (tokens mod 8), with an extra factor 8 / width. "shared": every subnet
            has the leading channels of one scale, so nothing is switched.
        scale_init: initial value of the switchable scales.
        position_side: side of the map that every relative position table is built for (smaller maps use its
            middle). None: the largest map of the table's own stage.

    Raises:
        ValueError: a size out of its range.

    Source: Gong et al., NASViT (ICLR 2022), https://openreview.net/forum?id=Qaw16njk6L, and its released code;
    docs/nasvit_space.md lists how they differ.
    """

    head_dim: Channels = 8
    value_ratio: Annotated[int, Range(1, 64)] = 4
    norm: Literal["token", "joint"] = "token"
    mlp_order: Literal["macaron", "after"] = "macaron"
    mlp_depthwise: bool = True
    projection_activation: Literal["before", "after"] = "after"
    scale: Literal["width_depth", "depth_tokens", "shared"] = "width_depth"
    scale_init: Annotated[float, Range(0, 1000, above=True)] = 1e-4
    position_side: Pixels | None = None
