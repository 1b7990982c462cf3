"""Elastic layers: they own the largest tensors and give plain layers of any size that share them."""

from nasvit.elastic.attention import ElasticAttention, ElasticRelativePositionBias, ElasticTalkingHeads
from nasvit.elastic.base import Elastic, is_live
from nasvit.elastic.batch_norm import ANY, ElasticBatchNorm2d, ElasticNorm, ElasticSwitchableBatchNorm2d, Switch
from nasvit.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from nasvit.elastic.conv_norm import ElasticConvNorm
from nasvit.elastic.ends import ElasticHead, ElasticStem
from nasvit.elastic.ghost import ElasticGhostBlock, ElasticGhostModule
from nasvit.elastic.layer_norm import ElasticLayerNorm
from nasvit.elastic.linear import ElasticLinear
from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.mlp import ElasticMlp
from nasvit.elastic.residual import ElasticResidual
from nasvit.elastic.shared_parameter import SharedParameter
from nasvit.elastic.shuffle import ElasticGroupedLayers, ElasticShuffleBlock, ElasticSplitShuffleBlock
from nasvit.elastic.squeeze_excite import ElasticSqueezeExcite
from nasvit.elastic.transformer import ElasticTransformerBlock, SwitchableScale
from nasvit.elastic.universal import ElasticConvPair, ElasticUniversalBottleneck
from nasvit.elastic.universal_batch_norm import ElasticUniversalBatchNorm2d

__all__ = [
    "ANY",
    "Elastic",
    "ElasticAttention",
    "ElasticBatchNorm2d",
    "ElasticConv2d",
    "ElasticConvNorm",
    "ElasticConvPair",
    "ElasticDepthwiseConv2d",
    "ElasticGhostBlock",
    "ElasticGhostModule",
    "ElasticGroupedLayers",
    "ElasticHead",
    "ElasticLayerNorm",
    "ElasticLinear",
    "ElasticMBConv",
    "ElasticMlp",
    "ElasticNorm",
    "ElasticRelativePositionBias",
    "ElasticResidual",
    "ElasticShuffleBlock",
    "ElasticSplitShuffleBlock",
    "ElasticSqueezeExcite",
    "ElasticStem",
    "ElasticSwitchableBatchNorm2d",
    "ElasticTalkingHeads",
    "ElasticTransformerBlock",
    "ElasticUniversalBatchNorm2d",
    "ElasticUniversalBottleneck",
    "SharedParameter",
    "Switch",
    "SwitchableScale",
    "is_live",
]
