"""Copies of a network's modules around other tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

M = TypeVar("M", bound=nn.Module)

Tensors = Callable[[str, Tensor, nn.Module], Tensor]
"""Name, tensor and module of a parameter or buffer -> what is there instead."""

Values = Mapping[str, Mapping[str, Any]]
"""Path of a module -> attribute -> its value."""

_HOOKS = tuple(name for name, value in vars(nn.Module()).items() if isinstance(value, OrderedDict))


def shell_of(network: M, tensors: Tensors, values: Values, left_out: Iterable[str] = ()) -> M:
    """Return a network of the same classes around other tensors.

    Modules are copied one by one, so that what they hold besides tensors and modules is shared; a module that is in
    two places is in two places again, and so is a tensor.

    Args:
        network: the network.
        tensors: gives the tensors.
        values: attributes with other values.
        left_out: paths of modules that are left out: children of ``nn.Sequential`` and ``nn.ModuleList`` are no longer
            there, others become ``nn.Identity``.
    """
    return _Builder(tensors, values, frozenset(left_out)).build(network, "")


class _Builder:
    def __init__(self, tensors: Tensors, values: Values, left_out: frozenset[str]) -> None:
        self.tensors, self.values, self.left_out = tensors, values, left_out
        self.modules: dict[int, nn.Module] = {}
        self.made: dict[int, Tensor] = {}

    def build(self, module: M, path: str) -> M:
        known = self.modules.get(id(module))
        if known is not None:
            return known  # type: ignore[return-value]
        shell: M = object.__new__(type(module))
        self.modules[id(module)] = shell
        prefix = f"{path}." if path else ""
        state = {name: _own(value) for name, value in module.__dict__.items()}
        for name in _HOOKS:
            state[name] = module.__dict__[name].copy()
        for kind in ("_parameters", "_buffers"):
            state[kind] = {
                name: None if tensor is None else self._tensor(prefix + name, tensor, module)
                for name, tensor in module.__dict__[kind].items()
            }
        state["_modules"] = self._children(module, prefix)
        state |= self.values.get(path, {})
        object.__setattr__(shell, "__dict__", state)
        fit_sizes(shell, module)
        return shell

    def _children(self, module: nn.Module, prefix: str) -> dict[str, nn.Module | None]:
        children: dict[str, nn.Module | None] = {}
        for name, child in module._modules.items():
            if prefix + name not in self.left_out:
                children[name] = None if child is None else self.build(child, prefix + name)
            elif not isinstance(module, (nn.Sequential, nn.ModuleList)):
                children[name] = nn.Identity()
        return children

    def _tensor(self, name: str, tensor: Tensor, module: nn.Module) -> Tensor:
        if id(tensor) not in self.made:
            self.made[id(tensor)] = self.tensors(name, tensor, module)
        return self.made[id(tensor)]


def _own(value: Any) -> Any:
    """Return what a copy of a module gets of an attribute; a cache of tensors starts empty."""
    if type(value) is dict:
        return {} if any(isinstance(each, Tensor) for each in value.values()) else value.copy()
    return value


def fit_sizes(shell: nn.Module, module: nn.Module) -> None:
    """Set what PyTorch's own modules say of their sizes by the sizes of their tensors.

    Args:
        shell: a copy of a module, with other tensors.
        module: the module.
    """
    weight, before = shell._parameters.get("weight"), module._parameters.get("weight")
    if isinstance(module, _BatchNorm):
        sized = next((each for each in (weight, shell._buffers.get("running_mean")) if each is not None), None)
        if sized is not None:
            shell.num_features = len(sized)
        return
    if weight is None or before is None or weight.shape == before.shape:
        return
    if isinstance(module, _ConvNd):
        _fit_convolution(shell, module, weight, before)  # type: ignore[arg-type]
    elif isinstance(module, nn.Linear):
        shell.out_features, shell.in_features = weight.shape
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        shell.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.GroupNorm):
        shell.num_channels = len(weight)
    elif isinstance(module, nn.PReLU):
        shell.num_parameters = len(weight)
    elif isinstance(module, nn.Embedding):
        shell.num_embeddings, shell.embedding_dim = weight.shape


def _fit_convolution(shell: _ConvNd, module: _ConvNd, weight: Tensor, before: Tensor) -> None:
    outer = 1 if module.transposed else 0
    if module.groups > 1:  # whole groups are left out
        shell.groups = module.groups * weight.shape[0] // before.shape[0]
    shell.out_channels = weight.shape[outer] * (shell.groups if module.transposed else 1)
    shell.in_channels = weight.shape[1 - outer] * (1 if module.transposed else shell.groups)
