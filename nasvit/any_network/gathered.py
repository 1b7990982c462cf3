"""Parameters of subnets that are no slices of the network's: they are gathered, and their gradients scattered back."""

from __future__ import annotations

import functools
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from nasvit.elastic.shared_parameter import Registry, SharedParameter, refuse

Index = tuple[slice | Tensor, ...]
"""What is kept along every axis: a slice, or the numbers of positions."""


class GatheredParameter(SharedParameter):
    """A parameter of a live subnet: some positions of a network's parameter, copied when it is used.

    Every backward pass adds its gradient to the network's in the same places; it has none of its own afterwards.
    Copying it (``copy.deepcopy``) gives an ordinary ``nn.Parameter``.
    """

    index: Index  # type: ignore[assignment]  # tensors have an unrelated attribute of this name in their stubs
    version: int

    @classmethod
    def gathered(cls, holder: Registry, name: str, index: Index) -> GatheredParameter:
        """Return the positions ``index`` of the parameter ``holder[name]``."""
        source = holder[name]
        assert source is not None, f"a module has positions of the parameters it has, and {name} is None"
        view = cls(gather(source.detach(), index), requires_grad=source.requires_grad)
        view.source, view.index, view.version = source, index, source._version
        view.holder, view.name_there, view.trains = holder, name, source.requires_grad
        view.address, view.watched = source.data_ptr(), False
        view.source_gradient = view.gradient = None
        _watch_optimizers()
        _SOURCES[id(source)] = source
        if source.requires_grad:
            if source.grad is None:
                source.grad = torch.zeros_like(source)
            view.source_gradient = source.grad
            view.register_post_accumulate_grad_hook(GatheredParameter._scatter)
        return view

    def refresh(self) -> None:
        """Copy the network's values anew if they changed since."""
        if self.version != self.source._version:
            with torch.no_grad():
                self.copy_(gather(self.source.detach(), self.index))
            self.version = self.source._version

    def is_stale(self) -> bool:
        """Return whether the network's parameter was replaced, moved, frozen or unfrozen since."""
        source = self.source
        if self.holder.get(self.name_there) is not source or source.requires_grad is not self.trains:
            return True
        return source.data_ptr() != self.address

    def check(self) -> None:
        """Raise if gradients would not reach the network.

        Raises:
            RuntimeError: after ``optimizer.zero_grad()`` or ``parameter.requires_grad = False``.
        """
        if self.requires_grad is not self.trains:
            refuse("freezing or unfreezing", way_out="undo it, freeze the network, or ")
        if self.trains and self.source.grad is not self.source_gradient:
            raise RuntimeError(
                "the gradient of a parameter was replaced, so training would not reach the network any more; use "
                "zero_grad() of the elastic network instead of optimizer.zero_grad()"
            )

    def _scatter(self) -> None:
        if self.is_stale():
            raise RuntimeError(
                "this subnet was cut off from its network, whose tensors were replaced or frozen since; take it "
                "anew: elastic.at(...)"
            )
        self.check()
        assert self.grad is not None
        assert self.source_gradient is not None
        with torch.no_grad():
            scatter_add(self.source_gradient, self.index, self.grad)
        self.grad = None

    def watch(self) -> None:
        """Nothing is needed: every backward pass checks."""

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Parameter:
        self.refresh()
        if id(self) not in memo:
            memo[id(self)] = nn.Parameter(self.detach().clone(), requires_grad=self.requires_grad)
        copied: nn.Parameter = memo[id(self)]
        return copied


_SOURCES: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()
"""Parameters of which some positions were gathered, by their ids."""


@functools.cache
def _watch_optimizers() -> None:
    """Let every step of any optimizer count as a change: PyTorch's fused ones change values without counting."""
    register_optimizer_step_post_hook(_count_step)


def _count_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    every = (each for group in optimizer.param_groups for each in group["params"])
    stepped: list[Tensor] = []
    for parameter in every:
        if id(parameter) in _SOURCES:
            stepped.append(parameter)
    if stepped:
        torch.autograd.graph.increment_version(stepped)


def gather(tensor: Tensor, index: Index) -> Tensor:
    """Return a tensor's positions along every axis, in the memory layout of the whole."""
    dense = torch.contiguous_format if tensor.is_contiguous() else torch.preserve_format
    for axis, kept in enumerate(index):
        if isinstance(kept, Tensor):
            tensor = tensor.index_select(axis, kept)
        else:
            tensor = tensor[(slice(None),) * axis + (kept,)]
    return tensor.clone(memory_format=dense)


def scatter_add(whole: Tensor, index: Index, part: Tensor) -> None:
    """Add a part to the positions of a tensor that it was gathered from, in place."""
    axes = [axis for axis, kept in enumerate(index) if isinstance(kept, Tensor)]
    view = whole[tuple(slice(None) if isinstance(kept, Tensor) else kept for kept in index)]
    if len(axes) == 1:
        view.index_add_(axes[0], index[axes[0]], part)  # type: ignore[arg-type]
        return
    grid = torch.meshgrid(*(index[axis] for axis in axes), indexing="ij")  # type: ignore[misc,arg-type]
    moved = view.movedim(axes, [*range(len(axes))])
    moved.index_put_(grid, part.movedim(axes, [*range(len(axes))]), accumulate=True)


def put(whole: Tensor, index: Index | None, part: Tensor) -> None:
    """Put a part to the positions of a tensor that :func:`gather` would gather it from, in place.

    Args:
        whole: the tensor.
        index: the positions; None: all.
        part: what is put there.
    """
    if index is None:
        whole.copy_(part)
        return
    axes = [axis for axis, kept in enumerate(index) if isinstance(kept, Tensor)]
    view = whole[tuple(slice(None) if isinstance(kept, Tensor) else kept for kept in index)]
    if not axes:
        view.copy_(part)
        return
    grid = torch.meshgrid(*(index[axis] for axis in axes), indexing="ij")  # type: ignore[misc,arg-type]
    moved = view.movedim(axes, [*range(len(axes))])
    moved.index_put_(grid, part.movedim(axes, [*range(len(axes))]))


class Refreshing(nn.Module):
    """Mixin of the live modules that hold gathered parameters: these are up to date whenever the module runs."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Copy what changed, and run."""
        for parameter in self._parameters.values():
            if isinstance(parameter, GatheredParameter):
                parameter.refresh()
        return super().forward(*args, **kwargs)
