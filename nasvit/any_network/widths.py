"""Any network at many widths with one set of weights: slimmable, with batch norms for every width."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from nasvit.any_network.choices import DIVISOR, space_around, step_of, uniform
from nasvit.any_network.kept import chosen_of
from nasvit.any_network.model import PREFIX, ElasticModel
from nasvit.any_network.plan import Plan
from nasvit.any_network.refusals import refuse_without_groups
from nasvit.any_network.width_norms import NeedsStatistics, WidthNorms, path_of
from nasvit.elastic.batch_norm import ElasticNorm
from nasvit.elastic.norms import NormKind
from nasvit.layers.batch_norm import lacks_statistics
from nasvit.layers.calibration import track_statistics
from nasvit.supernets.shared_network import independent
from nasvit.supernets.widths import Slimmable
from search_spaces.elastic import ElasticArchitecture

AnyWidth = float | ElasticArchitecture
"""A share of the channels of every layer, or the sizes of all parts."""


class SlimmableModel(Slimmable[AnyWidth], ElasticModel):
    """Any network that runs at many widths with one set of weights.

    ``model.at(0.5)`` is a network of the same classes whose backward pass trains the shared weights, and
    ``model.extract(0.5)`` an independent copy of it. A width is a share of the channels of every layer, or the sizes of
    every part, as AutoSlim finds them. Only batch norms have statistics of a width; other norms are shared.

    Source: see :class:`nasvit.supernets.slimmable.SlimmableNetwork`, which does the same for families.

    Args:
        network: the network, which is taken over: its weights become the shared ones, and its batch norms' tensors are
            those of every width at first.
        plan: what can be decided in it.
        image: shape of its images, ``(channels, height, width)``.
        widths: the switches.
        norm: "switchable": every switch has its own batch norms, and only switches can run. "universal": any width up
            to the largest can run; gain and bias are shared, and statistics are taken by :meth:`calibrate`.
        sizes: the sizes at each switch, where they are known already; found by :func:`uniform` if left out.

    Raises:
        ValueError: if there are no switches, one is listed twice, or the network cannot have it.
    """

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        image: tuple[int, ...],
        widths: Sequence[AnyWidth],
        *,
        norm: NormKind = "switchable",
        sizes: Sequence[ElasticArchitecture] = (),
    ) -> None:
        if not widths or len(set(widths)) < len(widths):
            raise ValueError(f"widths={list(widths)}; a slimmable network needs at least one, and each only once")
        if norm == "shared":
            raise ValueError('norm="shared" is a baseline of families; legal for other networks: switchable, universal')
        refuse_without_groups(network, plan, "be narrower")
        track_statistics(network)
        super().__init__(network, plan, space_around(plan, uniform(plan, 1.0, image[-1])), image)
        self.widths, self.norm = tuple(widths), norm
        self.plans = tuple(map(self.sizes_of, sizes or widths))
        switches = self.plans if norm == "switchable" else (uniform(plan, 1.0, image[-1]),)
        self.norms = WidthNorms(network, plan, self._positions, norm, [chosen_of(plan, each) for each in switches])
        self._note_universal()

    def sizes_of(self, width: AnyWidth) -> ElasticArchitecture:
        """Return the sizes of every part at any width that the network could have.

        Raises:
            ValueError: if it has no such part, or is not that large.
        """
        side = self.image[-1]
        sizes = width if isinstance(width, ElasticArchitecture) else uniform(self.plan, width, side)
        if sizes.resolution != side:
            raise ValueError(f"resolution is {sizes.resolution}; all widths of one network take {side}")
        space_around(self.plan, sizes)
        return sizes

    def channels(self, width: AnyWidth) -> int:
        """Return the channels, or heads, of all groups together, by which widths are put in order."""
        return int(chosen_of(self.plan, self.sizes(width)).kept.sum())

    def channels_of(self, width: AnyWidth, tensor: str, count: int) -> list[int]:
        """Return which channels of the whole network a layer has at a width; see :class:`Slimmable`."""
        kept = self._positions.along(tensor, 0, count, chosen_of(self.plan, self.sizes(width)))
        return [*range(kept.start, kept.stop)] if isinstance(kept, slice) else kept.tolist()

    def elastic_norms(self) -> Mapping[str, nn.Module]:
        """Return name of a batch norm in a subnet -> where this network keeps what is in it."""
        return self.norms.by_path()

    def at(self, width: AnyWidth) -> nn.Module:  # type: ignore[override]
        """Return the subnet of a width: a network of the same classes that shares this one's weights.

        Raises:
            ValueError: if this network cannot run at that width.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        chosen, switch = chosen_of(self.plan, self.sizes(width)), self.switch(width)
        self.bind()
        self._forget_if_replaced()
        subnet = self._shell(chosen)
        self.norms.complete(subnet, chosen, switch, self._view)
        return self.as_live(subnet)

    def _mixins(self, module: nn.Module) -> tuple[type[nn.Module], ...]:
        mixins = super()._mixins(module)
        return (*mixins, NeedsStatistics) if lacks_statistics(module) else mixins

    def extract(self, width: AnyWidth, calibration: Iterable[Tensor] | None = None) -> nn.Module:  # type: ignore[override]
        """Return an independent network of the original classes that computes the same as the subnet of a width.

        Args:
            width: a width.
            calibration: batches of images to take batch-norm statistics from, for this copy alone.

        Raises:
            ValueError: if this network cannot run at that width, or has no statistics for it.
        """
        network = independent(self.at(width), calibration)
        if any(map(lacks_statistics, network.modules())):
            raise ValueError(f"width={width} has no batch-norm statistics; give calibration, or calibrate the network")
        return network

    def reduced(self, widths: Sequence[AnyWidth]) -> SlimmableModel:
        """Return a copy with some widths alone, which computes the same at them.

        Raises:
            ValueError: if this network cannot run at a width.
        """
        plans = tuple(map(self.sizes, widths))
        copied = copy.deepcopy(self)
        switches = [self.switch(width).index for width in widths]
        copied.norms.keep([each for each in switches if each is not None], [each.key for each in plans])
        copied.widths, copied.plans = tuple(widths), plans
        return copied

    def sort(self, importance: object = "magnitude") -> None:
        """Refuse: every switch has batch norms of its own, which belong to the channels as they are.

        Raises:
            ValueError: always.
        """
        raise ValueError("sort the channels before the network is made slimmable: nasvit.elasticize(...).sort()")

    def slimming_steps(self, parts: int) -> tuple[int, ...]:
        """Return how many units AutoSlim takes from each group at a time: about one of ``parts`` parts."""
        steps = ((group.units, step_of(group, DIVISOR)) for group in self.plan.groups)
        return tuple(max(1, round(units / parts / step)) * step for units, step in steps)

    def check_views(self) -> None:
        """Raise if a view or its gradient was replaced; forget all if a parameter was."""
        ElasticModel.check_views(self)
        for holder in self.norms.values():
            cast(ElasticNorm, holder).check_views()

    def extra_repr(self) -> str:
        return f"widths={self.widths}, norm={self.norm}"


def original_name(name: str) -> str:
    """Return the name that a parameter of a slimmable model has in the network that it was made of."""
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    _, key, *rest = name.split(".")
    return f"{path_of(key)}.{rest[-1]}"
