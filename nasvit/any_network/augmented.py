"""NetAug around any network: it trains as part of wider ones that share its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from nasvit.any_network.groups import Group
from nasvit.any_network.importance import unit_scores
from nasvit.any_network.model import PREFIX, ElasticModel
from nasvit.any_network.plan import Plan
from nasvit.any_network.refusals import refuse_without_groups
from nasvit.any_network.widen import widened
from nasvit.supernets.factors import Factors, checked_factors
from nasvit.supernets.sorting import Move
from search_spaces.elastic import ElasticArchitecture, ElasticSpace, Part


class AugmentedModel(ElasticModel):
    """Any network inside wider ones: it has their first units, and trains with one of them a step.

    ``model.at(model.base)`` computes what the network computes, and ``model.at(model.sample(generator))`` is an
    augmented one. Groups of channels that lie inside one residual block, such as hidden channels and heads, follow
    ``expand``, all others ``width``. Statistics of batch norms are taken where the network is extracted.

    Source: Cai et al., Network Augmentation for Tiny Deep Learning (2022), https://arxiv.org/abs/2110.08890

    Args:
        network: the network, which is not changed.
        plan: what can be decided in it.
        image: shape of its images, ``(channels, height, width)``.
        width: factors on the channels that several blocks share.
        expand: factors on the channels inside one residual block.
        seed: seed of the weights that the network does not have.

    Raises:
        ValueError: if factors are missing or the least is not 1, or the network cannot be wider, naming the module.
    """

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        image: tuple[int, ...],
        *,
        width: Sequence[float] = (1.0, 1.8, 2.6),
        expand: Sequence[float] = (1.0, 1.6, 2.2, 2.8),
        seed: int = 0,
    ) -> None:
        factors = checked_factors("width", width), checked_factors("expand", expand)
        refuse_without_groups(network, plan, "be wider")
        inner = inner_groups(network, plan)
        sizes = {each.name: _sizes(each, factors[each.name in inner]) for each in plan.groups}
        most = {name: max(each) for name, each in sizes.items()}
        wider = widened(network, plan, torch.empty(image, device="meta"), most, seed=seed)
        parts = tuple(Part("width", name, tuple(sorted({*each}))) for name, each in sizes.items())
        space = ElasticSpace(f"{type(network).__name__}-augmented", (image[-1],), parts, image_channels=image[0])
        super().__init__(wider.network.train(network.training), wider.plan, space, image)
        self.inner, self._sizes = inner, sizes
        self.base = ElasticArchitecture(image[-1], tuple((each.name, each.units) for each in plan.groups))

    def sample(self, generator: torch.Generator, *, widths: bool = True, expands: bool = True) -> ElasticArchitecture:
        """Draw an augmented network: one factor for each group of channels by itself.

        Args:
            generator: the source of randomness.
            widths: augment what follows ``width``; otherwise it is the network's.
            expands: augment what follows ``expand``; otherwise it is the network's.
        """
        chosen = dict(self.base.width)
        for name, sizes in self._sizes.items():
            if expands if name in self.inner else widths:
                chosen[name] = sizes[int(torch.randint(len(sizes), (1,), generator=generator))]
        return ElasticArchitecture(self.base.resolution, tuple(chosen.items()))

    def extract(
        self,
        architecture: ElasticArchitecture | None = None,
        calibration: Iterable[Tensor] | None = None,
        *,
        resize: bool = True,
    ) -> nn.Module:
        """Return an independent copy of the network, or of another subnet; arguments as in :class:`ElasticModel`."""
        return super().extract(self.base if architecture is None else architecture, calibration, resize=resize)

    def moves_by_importance(self) -> Iterator[list[Move]]:
        """Yield for every group inside a block how its units move so that the most important ones come first."""
        tensors = dict([*self.network.named_parameters(), *self.network.named_buffers()])
        for group in self.plan.groups:
            scores = unit_scores(group, tensors) if group.name in self.inner else None
            if scores is not None:
                order = torch.argsort(scores, descending=True, stable=True)
                yield [_move(group, place, tensors[place[0]], order) for place in group.places]


def inner_groups(network: nn.Module, plan: Plan) -> frozenset[str]:
    """Return the groups of channels that lie inside one residual block, or one of the same class without a shortcut.

    A residual block has weights, adds something to what it gets, and holds no other module that does.

    Args:
        network: the network.
        plan: what can be decided in it.
    """
    adding = [call.path for call in plan.found.calls if call.path and (call.is_sum or call.adds)]
    adding = [path for path in adding if any(each.ndim > 1 for each in network.get_submodule(path).parameters())]
    innermost = [path for path in adding if not any(other.startswith(f"{path}.") for other in adding)]
    kinds = {type(network.get_submodule(path)) for path in innermost} - {nn.Sequential}
    blocks = [f"{path}." for path, module in network.named_modules() if type(module) in kinds]
    return frozenset(group.name for group in plan.groups if any(_is_inside(group, block) for block in blocks))


def _is_inside(group: Group, block: str) -> bool:
    return all(name.startswith(block) for name, _ in group.places)


def _sizes(group: Group, factors: Factors) -> tuple[int, ...]:
    """Return the units of a group by each factor, rounded half up."""
    return tuple(int(group.units * factor + 0.5) for factor in factors)


def _move(group: Group, place: tuple[str, int], tensor: Tensor, order: Tensor) -> Move:
    name, axis = place
    here = torch.from_numpy(group.places[place])
    where = torch.arange(tensor.shape[axis])
    where[here.flatten()] = here[order.cpu()].flatten()
    return PREFIX + name, axis, where.to(tensor.device)
