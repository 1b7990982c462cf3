"""Plain layers: ordinary PyTorch modules of one size with a ``forward``."""

from nasvit.layers.activation import activation
from nasvit.layers.attention import Attention, TalkingHeads
from nasvit.layers.batch_norm import BatchNorm2d, sync_batch_norm
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.depthwise import DepthwiseConv2d
from nasvit.layers.head import Head
from nasvit.layers.layer_norm import JointLayerNorm
from nasvit.layers.mbconv import MBConv
from nasvit.layers.mlp import Mlp
from nasvit.layers.network import Network, Resize
from nasvit.layers.normalize import Normalize
from nasvit.layers.position_bias import RelativePositionBias
from nasvit.layers.shortcut import PoolShortcut
from nasvit.layers.squeeze_excite import SqueezeExcite
from nasvit.layers.transformer import ChannelScale, ResidualBranch, TransformerBlock

__all__ = [
    "Attention",
    "BatchNorm2d",
    "ChannelScale",
    "ConvNorm",
    "DepthwiseConv2d",
    "Head",
    "JointLayerNorm",
    "MBConv",
    "Mlp",
    "Network",
    "Normalize",
    "PoolShortcut",
    "RelativePositionBias",
    "ResidualBranch",
    "Resize",
    "SqueezeExcite",
    "TalkingHeads",
    "TransformerBlock",
    "activation",
    "sync_batch_norm",
]
