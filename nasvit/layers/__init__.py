"""Plain layers: ordinary PyTorch modules of one size with a ``forward``."""

from nasvit.layers.activation import activation
from nasvit.layers.attention import Attention, TalkingHeads
from nasvit.layers.batch_norm import BatchNorm2d, sync_batch_norm
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.depthwise import DepthwiseConv2d
from nasvit.layers.ghost import DecoupledAttention, GhostBlock, GhostModule
from nasvit.layers.head import Head
from nasvit.layers.layer_norm import JointLayerNorm
from nasvit.layers.mbconv import MBConv
from nasvit.layers.mlp import Mlp
from nasvit.layers.network import Network, Resize
from nasvit.layers.normalize import Normalize
from nasvit.layers.position_bias import RelativePositionBias
from nasvit.layers.reparameterized import Reparameterized
from nasvit.layers.residual import ResidualBlock
from nasvit.layers.shortcut import PoolShortcut
from nasvit.layers.shuffle import GroupedLayers, ShuffleBlock, SplitShuffleBlock, shuffle_channels
from nasvit.layers.squeeze_excite import SqueezeExcite
from nasvit.layers.transformer import ChannelScale, ResidualBranch, TransformerBlock
from nasvit.layers.universal import ConvPair, UniversalBottleneck

__all__ = [
    "Attention",
    "BatchNorm2d",
    "ChannelScale",
    "ConvNorm",
    "ConvPair",
    "DecoupledAttention",
    "DepthwiseConv2d",
    "GhostBlock",
    "GhostModule",
    "GroupedLayers",
    "Head",
    "JointLayerNorm",
    "MBConv",
    "Mlp",
    "Network",
    "Normalize",
    "PoolShortcut",
    "RelativePositionBias",
    "Reparameterized",
    "ResidualBlock",
    "ResidualBranch",
    "Resize",
    "ShuffleBlock",
    "SplitShuffleBlock",
    "SqueezeExcite",
    "TalkingHeads",
    "TransformerBlock",
    "UniversalBottleneck",
    "activation",
    "shuffle_channels",
    "sync_batch_norm",
]
