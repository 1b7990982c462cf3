"""Convolutions of any network, and the batch norms that follow them alone, found by following its code."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import fx, nn

from nasvit.layers.ghost import DecoupledAttention
from nasvit.layers.reparameterized import Reparameterized


def of_timm(*names: str) -> tuple[type[nn.Module], ...]:
    """Return layers of timm by their names; none before timm is imported, since then no network has any."""
    return _imported("timm.layers", names)


def with_activation() -> tuple[type[nn.Module], ...]:
    """Return batch norms of timm, with an activation after them."""
    return of_timm("BatchNormAct2d", "SyncBatchNormAct", "FrozenBatchNormAct2d")


def frozen() -> tuple[Any, ...]:
    """Return batch norms whose gain and bias are constants, too."""
    return _imported("torchvision.ops", ("FrozenBatchNorm2d",)) + of_timm("FrozenBatchNormAct2d")


def _imported(module: str, names: Iterable[str]) -> tuple[type[nn.Module], ...]:
    return tuple(getattr(sys.modules[module], name) for name in names) if module in sys.modules else ()


class Pair(NamedTuple):
    """A convolution, and the layer that alone takes what it returns.

    Args:
        conv_name: name of the convolution.
        conv: the convolution.
        norm_name: name of that layer; empty: there is none.
        norm: the layer; None: there is none.
        shared: whether either of the two runs at several places.
    """

    conv_name: str
    conv: nn.Conv2d
    norm_name: str
    norm: nn.Module | None
    shared: bool


def pairs_in(network: nn.Module) -> Iterator[Pair]:
    """Yield the convolutions of a network in the order in which they run.

    Raises:
        ValueError: if the network cannot be traced by ``torch.fx``.
    """
    calls = [node for node in _trace(network).nodes if node.op == "call_module"]
    times = [id(network.get_submodule(str(node.target))) for node in calls]
    for node in calls:
        conv = network.get_submodule(str(node.target))
        if not isinstance(conv, nn.Conv2d) or not _computes_convolution(conv):
            continue
        user = next(iter(node.users)) if len(node.users) == 1 else None
        name = str(user.target) if user is not None and user.op == "call_module" else ""
        norm = network.get_submodule(name) if name else None
        shared = times.count(id(conv)) > 1 or times.count(id(norm)) > 1
        yield Pair(str(node.target), conv, name, norm, shared)


def pairs_in_parts(network: nn.Module) -> tuple[list[Pair], list[str]]:
    """Return the convolutions of a network, part by part where it cannot be traced as a whole, and why parts cannot be.

    Parts are looked at alone only if nothing reaches into them, as is known of our modules and of sequences. Layers
    that stand in several parts are left out.
    """
    found, reasons = _pairs_below("", network)
    places = Counter(id(each) for pair in found for each in (pair.conv, pair.norm) if each is not None)
    return [pair for pair in found if places[id(pair.conv)] == 1 and places[id(pair.norm)] <= 1], reasons


def _pairs_below(path: str, network: nn.Module) -> tuple[list[Pair], list[str]]:
    try:
        inside = [pair._replace(conv_name=path + pair.conv_name) for pair in pairs_in(network)]
        return [pair._replace(norm_name=pair.norm_name and path + pair.norm_name) for pair in inside], []
    except ValueError as error:
        if not (isinstance(network, _CALLED_WHOLE) or type(network).__module__.startswith("nasvit.")):
            return [], [str(error)]
    parts = [_pairs_below(f"{path}{name}.", part) for name, part in network.named_children()]
    return [pair for pairs, _ in parts for pair in pairs], [reason for _, reasons in parts for reason in reasons]


_CALLED_WHOLE = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def plain_norm(norm: nn.Module) -> nn.BatchNorm2d:
    """Return an ordinary batch norm with the values of another kind, without the activation it may have inside."""
    if isinstance(norm, nn.BatchNorm2d) and not isinstance(norm, with_activation()):
        return norm
    if isinstance(norm, frozen()):
        plain = nn.BatchNorm2d(len(norm.get_buffer("running_mean")), norm.eps)
        plain._parameters.update({name: nn.Parameter(getattr(norm, name), False) for name in ("weight", "bias")})
        plain._buffers.update({name: getattr(norm, name) for name in ("running_mean", "running_var")})
        return plain.eval()
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    plain._parameters.update(norm._parameters)
    plain._buffers.update(norm._buffers)
    return plain.train(norm.training)


def rest_of(norm: nn.Module) -> nn.Module:
    """Return the activation of a batch norm that moved elsewhere, or the identity."""
    if not isinstance(norm, with_activation()):
        return nn.Identity()
    return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))


def _computes_convolution(module: nn.Module) -> bool:
    known = type(module) in of_timm("Conv2dSame") or type(module).__module__.startswith("nasvit.")
    return known or type(module).forward is nn.Conv2d.forward


def _trace(network: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(network)
    except Exception as error:  # networks fail in any way there is
        first_line = str(error).partition("\n")[0]
        raise ValueError(f"{type(network).__name__} cannot be traced by torch.fx ({first_line})") from error


class _Tracer(fx.Tracer):
    """Looks into every module with a convolution inside, and into nothing else."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, Reparameterized, DecoupledAttention)):
            return True
        return not any(isinstance(module, nn.Conv2d) for module in m.modules())
