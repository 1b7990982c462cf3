"""The ways in which maps are had from a network: each says which there are, and cuts the network behind some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from nasvit.layers import BatchNorm2d, DecoupledAttention, DepthwiseConv2d, Reparameterized
from nasvit.layers.network import Network


class Way(Protocol):
    """A way in which maps are had.

    Attributes:
        any_size: whether all networks take images of any size.
    """

    any_size: bool

    def maps(self, network: Any, images: Tensor) -> dict[str, Tensor]:
        """Return all maps by the name of what makes them; of several of one stride the last is the one to take."""

    def same_places(self, network: Any, names: Sequence[str]) -> list[str] | None:
        """Return the names of the maps that have these names in a network of other sizes; None: run it to know."""

    def cut(self, network: Any, names: Sequence[str]) -> nn.Module:
        """Return a module that returns the maps of these names as a list; it may take the network to pieces."""


class Stages(nn.Module):
    """The stages of a network of ours up to the last map needed.

    Args:
        stem: first layers.
        stages: the blocks of each stage.
        taken: numbers of the stages whose last map is returned.

    Shape:
        ``(batch, image channels, height, width)`` -> a list of maps
    """

    def __init__(self, stem: nn.Module, stages: Sequence[nn.Module], taken: Sequence[int]) -> None:
        super().__init__()
        self.stem, self.stages, self.taken = stem, nn.ModuleList(stages), tuple(taken)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = self.stem(images), []
        for number, stage in enumerate(self.stages):
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
            if number in self.taken:
                maps.append(x)
        return maps


class _ByStages:
    any_size = True

    def maps(self, network: Network, images: Tensor) -> dict[str, Tensor]:
        network.resize = None
        return dict(zip(self._names(network), network.forward_intermediates(images), strict=True))

    def same_places(self, network: Network, names: Sequence[str]) -> list[str] | None:
        own = {name.split(".")[1]: name for name in self._names(network)}
        places = [name.split(".")[1] for name in names if name.startswith("stages.")]
        return [own[place] for place in places] if len(places) == len(names) and own.keys() >= set(places) else None

    def cut(self, network: Network, names: Sequence[str]) -> nn.Module:
        taken = [int(name.split(".")[1]) for name in names]
        return Stages(network.stem, list(network.stages)[: taken[-1] + 1], taken)

    def _names(self, network: Network) -> list[str]:
        return [f"stages.{number}.{len(list(stage.children())) - 1}" for number, stage in enumerate(network.stages)]


class TimmMaps(nn.Module):
    """A network of timm that is asked for some of its maps.

    Args:
        network: a network with timm's ``forward_intermediates``, which is cut behind the last map needed.
        indices: numbers of the maps in its ``feature_info``.

    Shape:
        ``(batch, image channels, height, width)`` -> a list of maps
    """

    def __init__(self, network: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        network.prune_intermediate_layers(list(indices), prune_norm=True)  # type: ignore[operator]
        self.network, self.indices = network, list(indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            images, indices=self.indices, intermediates_only=True
        )
        return maps


class _ByTimm:
    any_size = False

    def maps(self, network: Any, images: Tensor) -> dict[str, Tensor]:
        found = network.forward_intermediates(images, intermediates_only=True)
        return dict(zip(self._names(network), found, strict=True))

    def same_places(self, network: Any, names: Sequence[str]) -> list[str] | None:
        return list(names) if set(names) <= set(self._names(network)) else None

    def cut(self, network: Any, names: Sequence[str]) -> nn.Module:
        every = self._names(network)
        return TimmMaps(network, [every.index(name) for name in names])

    def _names(self, network: Any) -> list[str]:
        return [entry["module"] for entry in network.feature_info]


class TracedMaps(nn.Module):
    """What torch.fx traced of a network.

    Args:
        graph: returns maps by name.
        names: their names, in order.

    Shape:
        ``(batch, image channels, height, width)`` -> a list of maps
    """

    def __init__(self, graph: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.graph, self.names = graph, tuple(names)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.graph(images)
        return [maps[name] for name in self.names]


class _ByTracing:
    any_size = False

    def maps(self, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
        from torchvision.models.feature_extraction import get_graph_node_names

        try:
            training, evaluating = get_graph_node_names(network, _leaves(), suppress_diff_warning=True)
        except Exception as error:  # whatever the network's own code raises when it gets no tensor
            raise ValueError(
                f"{type(network).__name__} cannot be traced by torch.fx ({error}), by which its maps are found; let a "
                "function that is wrapped by torch.fx.wrap decide what depends on sizes or values"
            ) from error
        names = [name for name in training if name in set(evaluating)]
        finder = _extractor(network, names, names[-1:]).train()  # tracing takes longer than running
        found = _run(finder, names, images)
        batch, channels, height, width = images.shape
        try:
            twice = _run(finder, names, images.new_empty(batch, channels, 2 * height, 2 * width))
        except (RuntimeError, AssertionError):  # it takes images of one size only
            twice = found
        depths = _depths(names)
        maps = [name for name in found if twice is found or _grows(found[name], twice.get(name))]
        return {name: found[name] for name in sorted(maps, key=lambda name: -depths[name])}

    def same_places(self, network: nn.Module, names: Sequence[str]) -> list[str] | None:
        return None  # a network without its last blocks has other names

    def cut(self, network: nn.Module, names: Sequence[str]) -> nn.Module:
        return TracedMaps(_extractor(network, names, names).train(network.training), names)


def _run(extractor: nn.Module, names: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    found = extractor(images)
    return {name: found[name] for name in names if isinstance(found[name], Tensor) and found[name].ndim == 4}


def _grows(x: Tensor, of_larger_images: Tensor | None) -> bool:
    """Say whether a map follows the size of the images, as pooled features of one pixel do not."""
    if of_larger_images is None:
        return False
    sides = zip(x.shape[2:], of_larger_images.shape[2:])
    return all(max(side + 1, 2 * side - 1) <= larger <= 2 * side + 2 for side, larger in sides)


def _depths(names: Sequence[str]) -> dict[str, int]:
    """Return of every operation how deep the outermost module lies that ends with it.

    What ends a stage, or else a block, is the map to take: the operations behind it, in the first layers of the next
    block, are of a branch of it, or of many more channels.
    """
    depths = dict[str, int]()
    ended = set[str]()
    for name in reversed(names):
        parts = name.split(".")
        modules = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
        depths[name] = next((depth for depth, module in enumerate(modules, 1) if module not in ended), len(parts))
        ended.update(modules)
    return depths


def _extractor(network: nn.Module, training: Sequence[str], evaluating: Sequence[str]) -> nn.Module:
    """Return what answers with these operations of a network in its modes; the time grows with their square."""
    from torchvision.models.feature_extraction import create_feature_extractor

    return create_feature_extractor(
        network,
        train_return_nodes=list(training),
        eval_return_nodes=list(evaluating),
        tracer_kwargs=_leaves(),
        suppress_diff_warning=True,
    )


def _leaves() -> dict[str, Any]:
    """Return how to trace: layers of ours whose code decides by values are not looked into."""
    return {"leaf_modules": [BatchNorm2d, DecoupledAttention, DepthwiseConv2d, Reparameterized]}


def way_of(network: nn.Module) -> Way:
    """Return the way in which maps are had from a network."""
    if isinstance(network, Network):
        return _ByStages()
    if all(hasattr(network, name) for name in ("feature_info", "forward_intermediates", "prune_intermediate_layers")):
        return _ByTimm()
    return _ByTracing()
