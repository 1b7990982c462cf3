"""The supernet: all subnets of a search space in one memory."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from nasvit.elastic.batch_norm import ElasticBatchNorm2d
from nasvit.elastic.conv import ElasticConv2d
from nasvit.elastic.conv_norm import ElasticConvNorm
from nasvit.elastic.ghost import ElasticGhostBlock
from nasvit.elastic.head import ElasticHead
from nasvit.elastic.initialization import initialize
from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.transformer import ElasticTransformerBlock
from nasvit.layers.calibration import track_statistics
from nasvit.layers.network import Network, Resize
from nasvit.supernets.shared_network import SharedNetwork, independent
from search_spaces import Architecture, Space
from search_spaces.stages import Stage


class Supernet(SharedNetwork):
    """All subnets of a search space, sharing one set of weights.

    ``supernet.at(architecture)`` is an ordinary ``nn.Module`` whose parameters are views: its backward pass trains
    the supernet. ``supernet.extract(architecture)`` is an independent copy of it.

    Args:
        space: the search space.
        classes: number of classes.
        seed: decides the initial weights.
        stored_statistics: keep batch-norm statistics in the supernet too, for imported checkpoints; see
            :class:`nasvit.elastic.ElasticBatchNorm2d`.

    Raises:
        ValueError: if there is less than one class.
    """

    def __init__(self, space: Space, classes: int, *, seed: int = 0, stored_statistics: bool = False) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes={classes}; a classifier needs at least 1")
        self.space, self.classes, self.seed = space, classes, seed
        self._stored = stored_statistics
        stem = space.stem
        width = max(stem.width)
        self.stem = ElasticConvNorm(
            ElasticConv2d(space.image_channels, width, stem.kernel_size, stride=stem.stride),
            ElasticBatchNorm2d(width, stored_statistics=stored_statistics),
            space.activation,
        )
        self.stages = nn.ModuleList()
        largest_sides = space.feature_sizes(max(space.resolution))[1:]
        for stage, side in zip(space.stages, largest_sides, strict=True):
            self.stages.append(self._build_stage(stage, width, side))
            width = max(stage.width)
        self.head = ElasticHead(
            width,
            max(space.head.width),
            classes,
            expand_ratio=space.head.expand_ratio,
            act=space.activation,
            stored_statistics=stored_statistics,
        )
        initialize(self, seed)

    def _build_stage(self, stage: Stage, in_channels: int, side: int) -> nn.ModuleList:
        blocks = nn.ModuleList()
        for number in range(max(stage.depth)):
            if stage.hybrid and number > 0:
                blocks.append(self._build_transformer(stage, side))
            elif stage.block == "ghost":
                blocks.append(self._build_ghost(stage, in_channels, number == 0))
            else:
                blocks.append(self._build_mbconv(stage, in_channels, stage.stride if number == 0 else 1))
            in_channels = max(stage.width)
        return blocks

    def _build_mbconv(self, stage: Stage, in_channels: int, stride: int) -> ElasticMBConv:
        return ElasticMBConv(
            in_channels,
            max(stage.width),
            kernel_size=max(stage.kernel_size),
            expand_ratio=max(stage.expand_ratio),
            stride=stride,
            squeeze_excite=stage.squeeze_excite,
            act=self.space.activation,
            options=self.space.mbconv,
            stored_statistics=self._stored,
        )

    def _build_ghost(self, stage: Stage, in_channels: int, is_first: bool) -> ElasticGhostBlock:
        return ElasticGhostBlock(
            in_channels,
            max(stage.width),
            kernel_size=max(stage.kernel_size),
            expand_ratio=max(stage.expand_ratio),
            stride=stage.stride if is_first else 1,
            squeeze_excite=stage.squeeze_excite,
            keeps=not is_first,
            act=self.space.activation,
            options=self.space.mbconv,
            stored_statistics=self._stored,
        )

    def _build_transformer(self, stage: Stage, side: int) -> ElasticTransformerBlock:
        options = self.space.transformer
        assert options is not None, "a space with hybrid stages has transformer options"
        by_width = options.scale == "width_depth"
        return ElasticTransformerBlock(
            max(stage.width),
            side,
            mlp_ratio=max(stage.mlp_ratio),
            scales=(len(stage.width), len(stage.depth)) if by_width else (max(stage.depth) + 1, 8),
            act=self.space.activation,
            options=options,
        )

    def at(self, architecture: Architecture) -> Network:
        """Return the subnet of ``architecture`` as a plain network that shares the supernet's weights.

        Its parameters are leaf parameters whose ``grad`` is a slice of the supernet's, so an ordinary ``backward()``
        adds to the supernet's gradients. Every call gives fresh modules around the same views.

        Raises:
            ValueError: if the space does not hold the architecture.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        self.space.check(architecture)
        self.bind()
        sides = self.space.feature_sizes(architecture.resolution)[1:]
        widths = architecture.width
        stages = [
            self._stage_at(number, architecture, widths[number], widths[number + 1], side)
            for number, side in enumerate(sides)
        ]
        stem = self.stem.at(self.space.image_channels, widths[0])
        head = self.head.at(widths[-2], widths[-1])
        return self.as_live(Network(Resize(architecture.resolution), stem, stages, head))

    def _stage_at(
        self, number: int, architecture: Architecture, in_channels: int, out_channels: int, side: int
    ) -> list[nn.Module]:
        stage, depth = self.space.stages[number], architecture.depth[number]
        blocks: list[nn.Module] = []
        for block in self.stages[number][:depth]:  # type: ignore[index]
            if isinstance(block, ElasticTransformerBlock):
                blocks.append(
                    block.at(
                        out_channels,
                        side,
                        mlp_ratio=architecture.mlp_ratio[number],  # type: ignore[arg-type]
                        windows=architecture.windows[number],  # type: ignore[arg-type]
                        scale=self._scale_at(stage, out_channels, depth, side),
                    )
                )
            else:
                kernel_size, expand_ratio = architecture.kernel_size[number], architecture.expand_ratio[number]
                blocks.append(block.at(in_channels, out_channels, kernel_size, expand_ratio))
            in_channels = out_channels
        return blocks

    def _scale_at(self, stage: Stage, width: int, depth: int, side: int) -> tuple[int, int]:
        assert self.space.transformer is not None
        if self.space.transformer.scale == "width_depth":
            return stage.width.index(width), stage.depth.index(depth)
        return depth, side * side % 8

    def extract(
        self, architecture: Architecture, calibration: Iterable[Tensor] | None = None, *, resize: bool = True
    ) -> Network:
        """Return an independent plain network that computes what the subnet of ``architecture`` computes.

        Args:
            architecture: which subnet.
            calibration: batches of images to take batch-norm statistics from; without them the copy can train, but
                must be calibrated before it evaluates.
            resize: keep the layer that brings images to the subnet's resolution.

        Raises:
            ValueError: if the space does not hold the architecture.
        """
        network = independent(self.at(architecture), calibration)
        if not resize:
            network.resize = None
        return network

    def extra_repr(self) -> str:
        return f"space={self.space.name}, subnets={self.space.size:,}, classes={self.classes}"


def build(space: Space, architecture: Architecture, classes: int, *, seed: int = 0) -> Network:
    """Return one freshly initialized plain network, to be trained from scratch; its batch norms keep statistics."""
    network = Supernet(space.restrict(architecture), classes, seed=seed).extract(architecture)
    track_statistics(network)
    return network
