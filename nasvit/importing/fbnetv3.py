"""Names of the tensors of FBNetV3 in its release (mobile-vision) and in timm."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from nasvit.importing.releases import Release, ReleasedTensor, renamed
from nasvit.layers import MBConv, Network
from nasvit.models.fbnetv3 import DESIGNS
from nasvit.specs import FBNetV3Spec

TIMM = ("b", "d", "g")

_RELEASED_OUTSIDE = {
    "stem.conv.": "backbone.stages.xif0_0.conv.",
    "stem.norm.": "backbone.stages.xif0_0.bn.",
    "head.expand.conv.": "backbone.stages.xif6_0.pw.conv.",
    "head.expand.norm.": "backbone.stages.xif6_0.pw.bn.",
    "head.mix.conv.": "backbone.stages.xif6_0.pwl.conv.",
    "head.classifier.": "head.conv.",
}
_RELEASED_IN_BLOCKS = {
    "expand.conv.": "pw.conv.",
    "expand.norm.": "pw.bn.",
    "depthwise.conv.": "dw.conv.",
    "depthwise.norm.": "dw.bn.",
    "squeeze_excite.reduce.": "se.se.0.conv.",
    "squeeze_excite.expand.": "se.se.1.",
    "project.conv.": "pwl.conv.",
    "project.norm.": "pwl.bn.",
}
_TIMM_OUTSIDE = {
    "stem.conv.": "conv_stem.",
    "stem.norm.": "bn1.",
    "head.expand.conv.": "blocks.6.0.conv.",
    "head.expand.norm.": "blocks.6.0.bn1.",
    "head.mix.conv.": "conv_head.",
    "head.classifier.": "classifier.",
}
_TIMM_IN_BLOCKS = {
    "expand.conv.": "conv_pw.",
    "expand.norm.": "bn1.",
    "depthwise.conv.": "conv_dw.",
    "depthwise.norm.": "bn2.",
    "squeeze_excite.reduce.": "se.conv_reduce.",
    "squeeze_excite.expand.": "se.conv_expand.",
    "project.conv.": "conv_pwl.",
    "project.norm.": "bn3.",
}
_TIMM_WITHOUT_EXPANSION = {
    "depthwise.conv.": "conv_dw.",
    "depthwise.norm.": "bn1.",
    "squeeze_excite.reduce.": "se.conv_reduce.",
    "squeeze_excite.expand.": "se.conv_expand.",
    "project.conv.": "conv_pw.",
    "project.norm.": "bn2.",
}


def releases() -> Iterator[Release]:
    """Yield the releases of mobile-vision, then those of timm."""
    for name in DESIGNS:
        title, spec = f"FBNetV3-{name.upper()} of mobile-vision (Dai et al., 2021)", FBNetV3Spec(name)
        yield Release(f"fbnetv3_{name}", title, spec.build, released_entries, classifier="head.conv", spec=spec)
    for name in TIMM:
        title, spec = f"fbnetv3_{name} of timm", FBNetV3Spec(name, half_kernel_padding=True, stem_bias=False)
        yield Release(f"timm_fbnetv3_{name}", title, spec.build, timm_entries, classifier="classifier", spec=spec)


def released_entries(network: nn.Module) -> Iterator[ReleasedTensor]:
    """List the tensors of a FBNetV3 by their names in the release, whose classifier is a 1x1 convolution."""
    for name, tensor in network.state_dict().items():
        pooled = (1, 1) if name == "head.classifier.weight" else ()
        yield ReleasedTensor(_released_name(network, name), name, (*tensor.shape, *pooled))


def timm_entries(network: nn.Module) -> Iterator[ReleasedTensor]:
    """List the tensors of a FBNetV3 by their names in timm."""
    for name, tensor in network.state_dict().items():
        yield ReleasedTensor(_timm_name(network, name), name, tuple(tensor.shape))


def to_timm(network: Network) -> dict[str, Tensor]:
    """Return the weights of a FBNetV3 under timm's names; timm's network then computes the same in evaluation mode.

    timm's stem has no bias; ours moves into the stored mean of the batch norm after it.

    Raises:
        ValueError: if the network pads like the release where timm does not, so timm would compute something else.
    """
    for block in network.modules():
        if isinstance(block, nn.Conv2d) and block.padding != (block.kernel_size[0] // 2,) * 2:
            raise ValueError(
                f"this FBNetV3 has a padding of {block.padding[0]} at a kernel of {block.kernel_size[0]}, as released; "
                "timm has no such network; build it with half_kernel_padding=True"
            )
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    bias = state.pop("stem.conv.bias", None)
    if bias is not None:
        state["stem.norm.running_mean"] -= bias
    return {_timm_name(network, name): tensor for name, tensor in state.items()}


def _released_name(network: nn.Module, name: str) -> str:
    def block_name(stage: int, block: int) -> str:
        # The release counts the fourth and fifth stage as one.
        if stage == 4:
            assert isinstance(network, Network)
            block += len(network.stages[3])  # type: ignore[arg-type]
        return f"backbone.stages.xif{stage + 1 if stage < 4 else stage}_{block}."

    return _name(network, name, _RELEASED_OUTSIDE, lambda block: _RELEASED_IN_BLOCKS, block_name)


def _timm_name(network: nn.Module, name: str) -> str:
    def renames(block: MBConv) -> dict[str, str]:
        return _TIMM_WITHOUT_EXPANSION if block.expand is None else _TIMM_IN_BLOCKS

    return _name(network, name, _TIMM_OUTSIDE, renames, lambda stage, block: f"blocks.{stage}.{block}.")


def _name(
    network: nn.Module,
    name: str,
    outside: dict[str, str],
    inside: Callable[[MBConv], dict[str, str]],
    block_name: Callable[[int, int], str],
) -> str:
    found = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.*)", name)
    if found is None:
        return renamed(name, outside)
    stage, number = int(found[1]), int(found[2])
    block = network.get_submodule(f"stages.{stage}.{number}")
    assert isinstance(block, MBConv)
    return block_name(stage, number) + renamed(found[3], inside(block))
