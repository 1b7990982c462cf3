"""Any network at many widths with one set of weights: slimmable, with batch norms for every width."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.any_network.choices import space_around, step_of, units_at
from nasvit.any_network.kept import Chosen, chosen_of
from nasvit.any_network.model import PREFIX, ElasticModel
from nasvit.any_network.plan import Plan
from nasvit.any_network.refusals import refuse_without_groups
from nasvit.any_network.sizes import Size
from nasvit.elastic.batch_norm import ElasticNorm, ElasticSwitchableBatchNorm2d, Switch
from nasvit.elastic.norms import NORMS, NormKind
from nasvit.elastic.universal_batch_norm import ElasticUniversalBatchNorm2d
from nasvit.layers.batch_norm import lacks_statistics
from nasvit.layers.calibration import track_statistics
from nasvit.supernets.shared_network import independent
from nasvit.supernets.widths import Slimmable
from search_spaces.elastic import ElasticArchitecture

AnyWidth = float | ElasticArchitecture
"""A share of the channels of every layer, or the sizes of all parts."""

DIVISOR = 8
"""Channels are kept in multiples of it, where a group has at least four times as many."""

_AFFINE = ("weight", "bias")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def uniform(plan: Plan, width: float, side: int, divisor: int = DIVISOR) -> ElasticArchitecture:
    """Return the subnet that keeps one share of the channels everywhere.

    Args:
        plan: what can be decided in the network.
        width: the share, above 0 and up to 1.
        side: side of the images in pixels.
        divisor: see :data:`DIVISOR`.

    Raises:
        ValueError: if the share is not above 0 and up to 1.
    """
    if not 0 < width <= 1:
        raise ValueError(f"width={width}; a network has no more channels than it has: legal are shares from 0 to 1")
    units = [each.units if width == 1 else units_at(each, width, divisor) for each in plan.groups]
    return ElasticArchitecture(side, tuple((each.name, kept) for each, kept in zip(plan.groups, units, strict=True)))


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
        self.plans = tuple(sizes) or tuple(map(self._sizes_of, widths))
        for each in self.plans:
            self._check(each)
        self.norms = nn.ModuleDict()
        self._counts: dict[str, Size | int] = {}
        for path, module in network.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                self._take_norm(path, module)
        self._note_universal()

    def _take_norm(self, path: str, module: _BatchNorm) -> None:
        """Put the tensors of a batch norm where there is room for every width."""
        own = f"{path}.{'weight' if module.affine else 'running_mean'}"
        axes = self.plan.found.tensors.get(own, {})
        self._counts[path] = self.plan.sizes.of(axes[0]) if 0 in axes else module.num_features
        chosen = [chosen_of(self.plan, sizes) for sizes in self.plans]
        if self.norm == "universal":
            chosen = [chosen_of(self.plan, uniform(self.plan, 1.0, self.image[-1]))]
        assert module.running_mean is not None
        like = module.running_mean
        holder = NORMS[self.norm]([self._count(path, each) for each in chosen]).to(device=like.device, dtype=like.dtype)  # type: ignore[arg-type]
        holder.requires_grad_(module.affine)
        with torch.no_grad():
            self._fill(holder, module, path, chosen)
        self.norms[_key(path)] = holder
        for name in _AFFINE:
            module._parameters[name] = None
        for name in _STATISTICS:
            module._buffers[name] = None
        module.track_running_stats = False  # or loading, which asks every norm, would give it a counter again

    def _fill(self, holder: ElasticNorm, module: _BatchNorm, path: str, chosen: Sequence[Chosen]) -> None:
        """Let every switch begin with the values of the network's channels that it keeps."""
        targets = holder.switches if isinstance(holder, ElasticSwitchableBatchNorm2d) else [holder]
        source = dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])
        for target, each in zip(targets, chosen, strict=True):
            for name, tensor in [*target.named_parameters(recurse=False), *target.named_buffers(recurse=False)]:
                if name in source:
                    index = self._positions.index(f"{path}.{name}", source[name], each)
                    tensor.copy_(source[name] if index is None else source[name][index])

    def _count(self, path: str, chosen: Chosen) -> int:
        """Return the channels of a batch norm in a subnet."""
        count = self._counts[path]
        return count if isinstance(count, int) else int(count.at(chosen.kept))

    def _sizes_of(self, width: AnyWidth) -> ElasticArchitecture:
        return width if isinstance(width, ElasticArchitecture) else uniform(self.plan, width, self.image[-1])

    def _check(self, sizes: ElasticArchitecture) -> None:
        if sizes.resolution != self.image[-1]:
            raise ValueError(f"resolution is {sizes.resolution}; all widths of one network take {self.image[-1]}")
        space_around(self.plan, sizes)

    def sizes(self, width: AnyWidth) -> ElasticArchitecture:
        """Return the sizes of every part at a width.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        if width in self.widths:
            return cast(ElasticArchitecture, self.plans[self.widths.index(width)])
        if not isinstance(width, ElasticArchitecture):
            self._check_range(width)
        sizes = self._sizes_of(width)
        if self.norm == "switchable" and sizes not in self.plans:
            raise ValueError(
                f"width={width} is none of this network's switches: {', '.join(map(str, self.widths))}; "
                'for any width build it with norm="universal"'
            )
        self._check(sizes)
        return sizes

    def _check_range(self, width: float) -> None:
        listed = [each for each in self.widths if not isinstance(each, ElasticArchitecture)]
        if listed and not min(listed) <= width <= max(listed):
            raise ValueError(f"width={width} is outside {min(listed)}..{max(listed)}, the widths of this network")

    def channels(self, width: AnyWidth) -> int:
        """Return the channels, or heads, of all groups together, by which widths are put in order."""
        return int(chosen_of(self.plan, self.sizes(width)).kept.sum())

    def elastic_norms(self) -> Mapping[str, nn.Module]:
        """Return name of a batch norm in a subnet -> where this network keeps what is in it."""
        return {path: self.norms[_key(path)] for path in self._counts}

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
        present = dict(subnet.named_modules())
        for path in self._counts:
            if path in present:  # others are in a block that is left out
                self._complete(present[path], path, chosen, switch)
        return self.as_live(subnet)

    def _complete(self, norm: nn.Module, path: str, chosen: Chosen, switch: Switch) -> None:
        """Give a batch norm of a subnet its tensors, which belong to the switch."""
        assert isinstance(norm, _BatchNorm)
        holder, norm.num_features = self.norms[_key(path)], self._count(path, chosen)
        norm.track_running_stats = True
        if isinstance(holder, ElasticUniversalBatchNorm2d):
            parameters = {name: self._view(f"{path}.{name}", getattr(holder, name), holder, chosen) for name in _AFFINE}
            kept = holder.statistics
            buffers = dict(kept[switch.key].named_buffers()) if switch.key in kept else {}
        else:
            own = cast(ElasticNorm, holder).at(norm.num_features, switch)
            parameters, buffers = own._parameters, own._buffers  # type: ignore[assignment]
        if norm.affine:
            norm._parameters.update(parameters)
        norm._buffers.update(buffers)

    def _mixins(self, module: nn.Module) -> tuple[type[nn.Module], ...]:
        mixins = super()._mixins(module)
        return (*mixins, _NeedsStatistics) if lacks_statistics(module) else mixins

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
        for holder in copied.norms.values():
            if isinstance(holder, ElasticSwitchableBatchNorm2d):
                kept = [self.plans.index(sizes) for sizes in plans]
                holder.switches = nn.ModuleList(holder.switches[index] for index in kept)
                holder.widths = tuple(holder.widths[index] for index in kept)
                holder.num_features = max(holder.widths)
            elif isinstance(holder, ElasticUniversalBatchNorm2d):
                for key in {*holder.statistics} - {sizes.key for sizes in plans}:
                    del holder.statistics[key]
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

    def _forget_if_replaced(self) -> None:
        own = [*self.network.parameters(), *self.norms.parameters()]
        now = [(id(each), each.data_ptr(), each.requires_grad) for each in own]
        if now != self._seen:
            if self._views:
                self.forget()
                self.bind()
            self._seen = now

    def extra_repr(self) -> str:
        return f"widths={self.widths}, norm={self.norm}"


def original_name(name: str) -> str:
    """Return the name that a parameter of a slimmable model has in the network that it was made of."""
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    _, key, *rest = name.split(".")
    return f"{key.replace('/', '.')}.{rest[-1]}"


def _key(path: str) -> str:
    return path.replace(".", "/")  # keys of a ModuleDict hold no dots


class _NeedsStatistics(nn.Module):
    """Mixin of the live batch norms of a width without statistics, which PyTorch's own would silently do without."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run, unless it would evaluate by the statistics of the batch.

        Raises:
            RuntimeError: in evaluation mode, before there are statistics.
        """
        if not self.training and lacks_statistics(self):
            raise RuntimeError(
                "this width has no batch-norm statistics yet; call network.calibrate(batches, [width]), or "
                "nasvit.calibrate(subnet, batches), before evaluating it"
            )
        return super().forward(*args, **kwargs)
