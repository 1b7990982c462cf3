"""Published networks in timm: importing this module registers them, so that scripts made for timm run on them.

    import timm
    import nasvit.timm_models

    timm.list_models("nasvit_*")
    timm.create_model("nasvit_alphanet_a0", num_classes=10, features_only=True)

The names are those of the published networks with ``nasvit_`` before them, since timm has some of its own, and since a
name with a slash means a network of a hub to it. None of them has weights to download: ``checkpoint_path`` takes those
that nasvit saved (``network.safetensors``), or a state dict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nasvit.layers import Network
from nasvit.layers.head import Head
from nasvit.names import spec_of_name
from nasvit.training.regularization import regularize
from search_spaces import published

PREFIX = "nasvit_"
__all__ = ["TimmNetwork", "names"]  # timm adds its own to it


class TimmNetwork(nn.Module):
    """A published network with the methods of timm's networks; its weights have the names of :class:`Network`'s.

    It takes images as they are; those of networks with attention must have the side that their tables are for.

    Args:
        published_name: name of the published network.
        num_classes: number of classes; 0: it returns features.
        in_chans: channels of the images.
        global_pool: ``avg``, or empty: without classes it returns a map.
        drop_rate: probability of dropping a feature before the classifier.
        drop_path_rate: probability of skipping the last branch.
        img_size: side of the images; None: that of the publication.

    Shape:
        ``(batch, in_chans, height, width) -> (batch, num_classes)``

    Raises:
        ValueError: if the network is for images of another side, or an argument is illegal.
    """

    def __init__(
        self,
        published_name: str,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        img_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        spec = spec_of_name(published_name)
        seed = int(torch.randint(2**31, ()))  # so that torch.manual_seed decides, as with other networks of timm
        network = spec.build(max(num_classes, 1), seed=seed)
        assert isinstance(network, Network)
        assert isinstance(network.head, Head)
        self.fixed_side = spec.side if has_attention(published_name) else None
        sides = {img_size} if img_size is None or isinstance(img_size, int) else set(img_size)
        if self.fixed_side is not None and not sides <= {None, self.fixed_side}:
            raise ValueError(f"img_size={img_size}: {self._only}")
        self.num_classes, self.in_chans, self.drop_rate, self.grad_checkpointing = (
            num_classes,
            in_chans,
            drop_rate,
            False,
        )
        self.stem, self.stages, self.head = _with_channels(network.stem, in_chans), network.stages, network.head
        self.global_pool = global_pool
        self.feature_info, self.pool_size = self._shapes(spec.side)
        self.num_features = self.feature_info[-1]["num_chs"]
        self.head_hidden_size = self.head.classifier.in_features
        self.reset_classifier(num_classes, global_pool)
        regularize(self, dropout=drop_rate, drop_path_rate=drop_path_rate)

    def get_classifier(self) -> nn.Module:
        """Return the classifier."""
        return self.head.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one, or by nothing.

        Args:
            num_classes: number of classes; 0: none.
            global_pool: as in the class; None: as it is.

        Raises:
            ValueError: if there is no such pooling, or a classifier without pooling.
        """
        pool = self.global_pool if global_pool is None else global_pool
        if pool not in ("avg", "") or (num_classes and not pool):
            raise ValueError(f"global_pool={pool!r}; legal: 'avg', and with num_classes=0 also ''")
        old = self.head.classifier
        if num_classes != getattr(old, "out_features", 0):
            new: nn.Module = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()
            if isinstance(new, nn.Linear):
                nn.init.trunc_normal_(new.weight, std=0.02)
                nn.init.zeros_(new.bias)
            parameter = next(self.parameters())
            self.head.classifier = new.to(parameter.device, parameter.dtype)  # type: ignore[assignment]
        self.num_classes, self.global_pool = num_classes, pool

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map, ``(batch, num_features, height, width)``."""
        x = self._started(x)
        for stage in self.stages:
            x = self._through(stage, x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return class scores of the last map, or with ``pre_logits`` the features that the classifier gets."""
        head = self.head
        x = x if head.expand is None else head.expand(x)
        x = x.mean((2, 3), keepdim=True) if self.global_pool else x
        x = x if head.mix is None else head.mix(x)
        x = x.flatten(1) if self.global_pool else x
        x = x if head.dropout is None else head.dropout(x)
        return x if pre_logits else head.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last map and maps on the way to it, or these alone.

        Args:
            x: images.
            indices: which entries of ``feature_info``; a number: the last so many; None: all.
            norm: has no effect, since every block ends in its own norm.
            stop_early: leave out blocks after the last map that is asked for.
            output_fmt: ``NCHW``.
            intermediates_only: without the last map.

        Raises:
            ValueError: if another format is asked for.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt={output_fmt!r}; legal: 'NCHW'")
        taken, last = feature_take_indices(len(self.feature_info), indices)
        found = {self.feature_info[index]["stage"]: index for index in taken}
        end = self.feature_info[last]["stage"] if stop_early or intermediates_only else len(self.stages) - 1
        maps: dict[int, Tensor] = {}
        x = self._started(x)
        for number, stage in enumerate(self.stages):
            if number > end:
                break
            x = self._through(stage, x)
            if number in found:
                maps[found[number]] = x
        intermediates = [maps[index] for index in taken]
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what :meth:`forward_intermediates` does not need for these indices, and return them as numbers."""
        taken, last = feature_take_indices(len(self.feature_info), indices)
        self.stages = self.stages[: self.feature_info[last]["stage"] + 1]
        if prune_head:
            self.reset_classifier(0, "")
            self.head.expand = self.head.mix = None
        return list(taken)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations of blocks again in the backward pass, and keep less in memory."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return which parameters belong together, for learning rates that differ by depth."""
        return {
            "stem": r"^stem",
            "blocks": [(r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)", None), (r"^head", (99999,))],
        }

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that weight decay spoils: tables of positions."""
        return {name for name, _ in self.named_parameters() if name.endswith("table")}

    def _through(self, stage: nn.Module, x: Tensor) -> Tensor:
        for block in stage:  # type: ignore[attr-defined]
            if self.grad_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)  # type: ignore[assignment]
            else:
                x = block(x)
        return x

    @property
    def _only(self) -> str:
        return f"this network has attention, whose tables are for {self.fixed_side}x{self.fixed_side} pixels alone"

    def _started(self, x: Tensor) -> Tensor:
        if self.fixed_side is not None and x.shape[2:] != (self.fixed_side, self.fixed_side):
            raise ValueError(f"images of {x.shape[2]}x{x.shape[3]} pixels: {self._only}")
        stem: Tensor = self.stem(x)
        return stem

    @torch.no_grad()
    def _shapes(self, side: int) -> tuple[list[dict[str, Any]], tuple[int, int]]:
        """Return the last map of every reduction, as timm tells of them, and the sides of the last map of all."""
        stem, *stages = deepcopy(nn.ModuleList([self.stem, *self.stages])).to("meta").eval()
        x: Tensor = stem(torch.empty(1, self.in_chans, side, side, device="meta"))
        found: dict[int, dict[str, Any]] = {}
        for number, stage in enumerate(stages):
            x = self._through(stage, x)
            reduction = 2 ** round(math.log2(side / x.shape[-1]))  # maps without padding are a little smaller
            module = f"stages.{number}.{len(list(stage.children())) - 1}"
            found[reduction] = {"num_chs": x.shape[1], "reduction": reduction, "module": module, "stage": number}
        return list(found.values()), (x.shape[-2], x.shape[-1])


def _with_channels(stem: nn.Module, channels: int) -> nn.Module:
    """Return a stem whose first convolution takes so many channels; another number than 3 draws its weights anew."""
    name, conv = next((name, module) for name, module in stem.named_modules() if isinstance(module, nn.Conv2d))
    if conv.in_channels == channels:
        return stem
    new = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    parent, _, last = name.rpartition(".")
    setattr(stem.get_submodule(parent), last, new)
    return stem


def names() -> list[str]:
    """Return the names of all these networks in timm."""
    return [_timm_name(name) for name in published.names()]


def has_attention(name: str) -> bool:
    """Return whether a published network has attention, and so takes images of one size only."""
    entry = published.load(name)
    return entry.space is not None and any(windows is not None for windows in entry.architecture.windows)


def _timm_name(name: str) -> str:
    return f"{PREFIX}{name.removeprefix(PREFIX)}"


def _side(name: str) -> int:
    entry = published.load(name)
    return entry.architecture.resolution if entry.resolution is None else entry.resolution


def _config(name: str) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, _side(name), _side(name)),
        "fixed_input_size": has_attention(name),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.classifier",
    }


def _register(name: str) -> None:
    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        features = {"feature_cls": "getter"}
        network: Any = build_model_with_cfg(
            TimmNetwork, _timm_name(name), pretrained, feature_cfg=features, published_name=name, **options
        )
        inner = network.model if options.get("features_only") else network
        network.default_cfg["pool_size"] = inner.pool_size
        return network  # type: ignore[no-any-return]

    entry.__name__ = entry.__qualname__ = _timm_name(name)
    entry.__doc__ = f"Return the published network {name}."
    register_model(entry)


default_cfgs = generate_default_cfgs({_timm_name(name): _config(name) for name in published.names()})
for _name in published.names():
    _register(_name)
