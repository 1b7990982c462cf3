"""The supernet: all subnets of a search space in one memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from nasvit.elastic.batch_norm import ANY, Switch
from nasvit.elastic.in_spaces import Place, build_head, build_stem, head_at, stem_at
from nasvit.elastic.initialization import initialize
from nasvit.elastic.norms import NormFactory, calibrated_norm, shared_norm, switchable_norm
from nasvit.elastic.registry import KINDS
from nasvit.layers.calibration import track_statistics
from nasvit.layers.network import Network, Resize
from nasvit.supernets.shared_network import SharedNetwork, independent
from predictors.blocks import BlockKey, Blocks, blocks_of
from search_spaces import Architecture, Space, Stage


class Supernet(SharedNetwork):
    """All subnets of a search space, sharing one set of weights.

    ``supernet.at(architecture)`` is an ordinary ``nn.Module`` whose parameters are views: its backward pass trains
    the supernet. ``supernet.extract(architecture)`` is an independent copy of it.

    Args:
        space: the search space.
        classes: number of classes.
        seed: seed of the initial weights.
        stored_statistics: keep batch-norm statistics in the supernet too, for imported checkpoints; see
            :class:`nasvit.elastic.ElasticBatchNorm2d`.
        switches: if given, the only subnets there are, each with batch norms of its own, as in slimmable networks.

    Raises:
        ValueError: if there is less than one class, the space is a network, or does not hold a switch, or one is listed
            twice.
    """

    def __init__(
        self,
        space: Space,
        classes: int,
        *,
        seed: int = 0,
        stored_statistics: bool = False,
        switches: Sequence[Architecture] = (),
    ) -> None:
        super().__init__()
        if isinstance(space, nn.Module):
            raise ValueError(
                f"Supernet takes a search space, and this is a network, {type(space).__name__}; "
                "nasvit.elasticize(network, image) makes a supernet of it"
            )
        if classes < 1:
            raise ValueError(f"classes={classes}; a classifier needs at least 1")
        self.space, self.classes, self.seed, self.switches = space, classes, seed, tuple(switches)
        if len(set(switches)) < len(self.switches):
            raise ValueError(f"a switch is listed twice: {', '.join(each.key for each in switches)}")
        norm = switchable_norm if switches else shared_norm if stored_statistics else calibrated_norm
        stem, *stages, head = _blocks_at(space, self.switches or (space.largest,))
        self._ends = Place(space, classes)
        self.stem = build_stem(self._ends, [key for ((key, _),) in stem], norm)
        self.stages = nn.ModuleList(map(self._build_stage, space.stages, stages, [norm] * len(stages)))
        self.head = build_head(self._ends, [key for ((key, _),) in head], norm)
        initialize(self, seed)

    def _build_stage(self, stage: Stage, switches: Sequence[Blocks], norm: NormFactory) -> nn.ModuleList:
        """Build the elastic blocks of a stage, as large as the blocks of every switch need."""
        blocks = nn.ModuleList()
        for keys in zip(*map(_one_by_one, switches), strict=True):
            place = Place(self.space, self.classes, stage, not blocks)
            blocks.append(KINDS[keys[0].kind].build(place, keys, norm))
        return blocks

    def at(self, architecture: Architecture) -> Network:
        """Return the subnet of ``architecture`` as a plain network that shares the supernet's weights.

        Its parameters are leaf parameters whose ``grad`` is a slice of the supernet's, so an ordinary ``backward()``
        adds to the supernet's gradients. Every call gives fresh modules around the same views.

        Raises:
            ValueError: if the space does not hold the architecture, or it is none of the switches.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        self.space.check(architecture)
        self.bind()
        switch = self._switch(architecture)
        ((stem, _),), *stages, ((head, _),) = blocks_of(self.space, architecture)
        network = Network(
            Resize(architecture.resolution),
            stem_at(self.stem, self._ends, stem, switch),
            [self._stage_at(number, keys, switch) for number, keys in enumerate(stages)],
            head_at(self.head, self._ends, head, switch),
        )
        return self.as_live(network)

    def stage_channels(self, architecture: Architecture) -> tuple[int, ...]:
        """Return the channels of the map after every stage of a subnet."""
        return architecture.width[1:-1]

    def _switch(self, architecture: Architecture) -> Switch:
        if not self.switches:
            return ANY
        if architecture not in self.switches:
            keys = ", ".join(each.key for each in self.switches)
            raise ValueError(f"architecture {architecture.key} is none of the supernet's switches: {keys}")
        return Switch(self.switches.index(architecture), architecture.key)

    def _stage_at(self, number: int, blocks: Blocks, switch: Switch) -> list[nn.Module]:
        keys = _one_by_one(blocks)
        place = Place(self.space, self.classes, self.space.stages[number], depth=len(keys))
        held: Iterable[nn.Module] = self.stages[number]  # type: ignore[assignment]
        return [KINDS[key.kind].at(block, place, key, switch) for block, key in zip(held, keys)]

    def extract(
        self, architecture: Architecture, calibration: Iterable[Tensor] | None = None, *, resize: bool = True
    ) -> Network:
        """Return an independent plain network that computes the same as the subnet of ``architecture``.

        Args:
            architecture: sizes of the subnet.
            calibration: batches of images to take batch-norm statistics from; without them the copy can train, but
                must be calibrated before it evaluates.
            resize: keep the layer that resizes images to the subnet's resolution.

        Raises:
            ValueError: if the space does not hold the architecture.
        """
        network = independent(self.at(architecture), calibration)
        if not resize:
            network.resize = None
        return network

    def extra_repr(self) -> str:
        return f"space={self.space.name}, subnets={self.space.size:,}, classes={self.classes}"


def _blocks_at(space: Space, switches: Sequence[Architecture]) -> list[tuple[Blocks, ...]]:
    """Return, for every part of the network, its blocks at every switch, as many as there are at the deepest."""
    for architecture in switches:
        space.check(architecture)
    depth = tuple(map(max, zip(*(each.depth for each in switches), strict=True)))
    return list(zip(*(blocks_of(space, replace(each, depth=depth)) for each in switches), strict=True))


def _one_by_one(blocks: Blocks) -> list[BlockKey]:
    return [key for key, times in blocks for _ in range(times)]


def build_subnet(space: Space, architecture: Architecture, classes: int, *, seed: int = 0) -> Network:
    """Return a freshly initialized subnet to train from scratch: a plain network whose batch norms keep statistics."""
    network = Supernet(space.restrict(architecture), classes, seed=seed).extract(architecture)
    track_statistics(network)
    return network
