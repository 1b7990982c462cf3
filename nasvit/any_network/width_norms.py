"""The batch norms of every width of any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.any_network.kept import Chosen, Positions
from nasvit.any_network.plan import Plan
from nasvit.any_network.sizes import Size
from nasvit.elastic.batch_norm import ElasticNorm, ElasticSwitchableBatchNorm2d, Switch
from nasvit.elastic.norms import NORMS, NormKind
from nasvit.elastic.shared_parameter import SharedParameter
from nasvit.elastic.universal_batch_norm import ElasticUniversalBatchNorm2d
from nasvit.layers.batch_norm import lacks_statistics

View = Callable[[str, nn.Parameter, nn.Module, Chosen], SharedParameter]
"""Name of a parameter, the parameter, its holder, and a subnet -> what the subnet has of it."""

_AFFINE = ("weight", "bias")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class WidthNorms(nn.ModuleDict):
    """The elastic batch norms of a network, which hold what its own ones held, for every width.

    Keys are the paths of the batch norms with slashes, as keys hold no dots. Norms without statistics, such as layer
    norms, and batch norms that store none, are left as they are: they know nothing of a width.

    Args:
        network: the network; its batch norms have no tensors afterwards.
        plan: what can be decided in it.
        positions: which positions of its tensors subnets keep.
        norm: "switchable" or "universal".
        switches: what each switch keeps; of "universal", the widest subnet alone.
    """

    def __init__(
        self, network: nn.Module, plan: Plan, positions: Positions, norm: NormKind, switches: Sequence[Chosen]
    ) -> None:
        super().__init__()
        self._counts: dict[str, Size | int] = {}
        for path, module in network.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                axes = plan.found.tensors.get(f"{path}.{'weight' if module.affine else 'running_mean'}", {})
                self._counts[path] = plan.sizes.of(axes[0]) if 0 in axes else module.num_features
                like, counts = module.running_mean, [self.count(path, each) for each in switches]
                holder = NORMS[norm](tuple(counts)).to(device=like.device, dtype=like.dtype)
                holder.requires_grad_(module.affine)
                _fill(holder, module, path, positions, switches)
                _empty(module)
                self[_key(path)] = holder

    def by_path(self) -> Mapping[str, nn.Module]:
        """Return path of a batch norm in the network -> its elastic one."""
        return {path: self[_key(path)] for path in self._counts}

    def count(self, path: str, chosen: Chosen) -> int:
        """Return the channels of a batch norm in a subnet."""
        count = self._counts[path]
        return count if isinstance(count, int) else int(count.at(chosen.kept))

    def complete(self, subnet: nn.Module, chosen: Chosen, switch: Switch, view: View) -> None:
        """Give the batch norms of a subnet their tensors, which belong to its switch.

        Args:
            subnet: a subnet whose batch norms have none.
            chosen: what it keeps.
            switch: which switch it is.
            view: makes what a subnet has of a parameter that all widths share.
        """
        present = dict(subnet.named_modules())
        for path, holder in self.by_path().items():
            if path in present:  # others are in a block that is left out
                norm = cast(_BatchNorm, present[path])
                norm.num_features, norm.track_running_stats = self.count(path, chosen), True
                if isinstance(holder, ElasticUniversalBatchNorm2d):
                    parameters: Mapping[str, Any] = {
                        name: view(f"{path}.{name}", getattr(holder, name), holder, chosen) for name in _AFFINE
                    }
                    known = switch.key in holder.statistics
                    buffers = dict(holder.statistics[switch.key].named_buffers()) if known else {}
                else:
                    own = cast(ElasticNorm, holder).at(norm.num_features, switch)
                    parameters, buffers = own._parameters, own._buffers  # type: ignore[assignment]
                norm._parameters.update(parameters if norm.affine else {})
                norm._buffers.update(buffers)

    def keep(self, switches: Sequence[int], keys: Sequence[str]) -> None:
        """Forget all switches but some, and the statistics of all subnets but some.

        Args:
            switches: numbers of the switches that stay, in their new order.
            keys: keys of the subnets whose statistics stay.
        """
        for holder in self.values():
            if isinstance(holder, ElasticSwitchableBatchNorm2d):
                holder.switches = nn.ModuleList(holder.switches[number] for number in switches)
                holder.widths = tuple(holder.widths[number] for number in switches)
                holder.num_features = max(holder.widths)
            elif isinstance(holder, ElasticUniversalBatchNorm2d):
                for key in {*holder.statistics} - {*keys}:
                    del holder.statistics[key]


@torch.no_grad()
def _fill(holder: ElasticNorm, module: _BatchNorm, path: str, positions: Positions, switches: Sequence[Chosen]) -> None:
    """Let every switch begin with the values of the network's channels that it keeps."""
    targets = holder.switches if isinstance(holder, ElasticSwitchableBatchNorm2d) else [holder]
    source = dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])
    for target, chosen in zip(targets, switches, strict=True):
        for name, tensor in [*target.named_parameters(recurse=False), *target.named_buffers(recurse=False)]:
            if name in source:
                index = positions.index(f"{path}.{name}", source[name], chosen)
                tensor.copy_(source[name] if index is None else source[name][index])


def _empty(module: _BatchNorm) -> None:
    for name in _AFFINE:
        module._parameters[name] = None
    for name in _STATISTICS:
        module._buffers[name] = None
    module.track_running_stats = False  # or loading, which asks every norm, would give it a counter again


def path_of(key: str) -> str:
    """Return the path of the batch norm that has a key."""
    return key.replace("/", ".")


def _key(path: str) -> str:
    return path.replace(".", "/")


class NeedsStatistics(nn.Module):
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
