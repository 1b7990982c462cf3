"""Parameters that are views into a supernet's parameters."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

Registry = Mapping[str, nn.Parameter | None]


class SharedParameter(nn.Parameter):
    """A parameter of a live subnet: a view into a supernet's parameter, whose gradient is the same view.

    Copying it (``copy.deepcopy``) gives an ordinary, compact ``nn.Parameter``. The live modules that hold it
    (:mod:`nasvit.elastic.live`) refuse operations that would cut it off from the supernet; :meth:`check` notices
    those that bypass the modules.
    """

    source: nn.Parameter
    slices: tuple[int | slice, ...]
    holder: Registry
    name_there: str
    trains: bool
    address: int
    distance: int
    source_gradient: Tensor | None
    gradient: Tensor | None
    watched: bool

    @classmethod
    def of(cls, holder: Registry, name: str, index: tuple[int | slice, ...]) -> SharedParameter:
        """Return the view ``holder[name][index]``; basic indices only (integers and slices without a step)."""
        source = holder[name]
        assert source is not None, f"a layer has views of the parameters it has, and {name} is None"
        view = cls(source.detach()[index], requires_grad=source.requires_grad)
        view.source, view.slices, view.holder, view.name_there = source, index, holder, name
        view.trains, view.watched = source.requires_grad, False
        view.address = source.data_ptr()
        view.distance = view.data_ptr() - view.address
        view.source_gradient = view.gradient = None
        if source.requires_grad:
            _say_the_layout_warning_once()
            if source.grad is None:
                source.grad = torch.zeros_like(source)
            view.source_gradient = source.grad
            view.gradient = view.grad = source.grad[index]
        return view

    def is_stale(self) -> bool:
        """Return whether the supernet's parameter was replaced, moved, frozen or unfrozen since this view was made."""
        source = self.source
        if self.holder.get(self.name_there) is not source or source.requires_grad is not self.trains:
            return True
        return source.data_ptr() != self.address and self._is_elsewhere()

    def _is_elsewhere(self) -> bool:
        return self.data_ptr() - self.source.data_ptr() != self.distance  # share_memory() moves both

    def check(self) -> None:
        """Raise if this view or its gradient is no longer its slice of the supernet's.

        Raises:
            RuntimeError: after ``optimizer.zero_grad()``, ``backward(create_graph=True)``, ``parameter.data = ...``,
                ``parameter.requires_grad = False`` or anything else that put another tensor in place of this view.
        """
        if self._is_elsewhere():
            refuse("replacing the data of", way_out="take it anew after supernet.forget(), or ")
        if self.requires_grad is not self.trains:
            refuse("freezing or unfreezing", way_out="undo it, freeze the supernet, or ")
        if self.gradient is None:
            return
        if self.source.grad is not self.source_gradient or self.grad is not self.gradient:
            raise RuntimeError(
                f"the gradient of a shared parameter of shape {tuple(self.source.shape)} was replaced, so training "
                "would not reach the supernet any more; use supernet.zero_grad() instead of optimizer.zero_grad() "
                "(or optimizer.zero_grad(set_to_none=False)), and backward() without create_graph=True"
            )

    def watch(self) -> None:
        """Let every backward pass from now on check that the supernet still holds the tensor of this view."""
        if self.requires_grad and not self.watched:
            self.watched = True
            self.register_post_accumulate_grad_hook(SharedParameter._check_tie)

    def _check_tie(self) -> None:
        if self.is_stale():
            raise RuntimeError(
                "this subnet was cut off from its supernet, whose tensors were replaced or frozen since (by to(...), "
                "load_state_dict(assign=True) or requires_grad_(False)); take it anew: supernet.at(...)"
            )
        self.check()

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Parameter:
        if id(self) not in memo:
            # The strides of a slice do not tell a 1x1 kernel's layout; those of the whole do.
            dense = torch.contiguous_format if self.source.is_contiguous() else torch.channels_last
            compact = self.detach().clone(memory_format=dense)
            memo[id(self)] = nn.Parameter(compact, requires_grad=self.requires_grad)
        copied: nn.Parameter = memo[id(self)]
        return copied

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse("saving")


def refuse(deed: str, *, harm: str = "cut it off from its supernet", way_out: str = "") -> NoReturn:
    """Refuse an operation on a live subnet.

    Raises:
        RuntimeError: always, naming the operation, the harm and the ways out.
    """
    raise RuntimeError(
        f"{deed} a live subnet would {harm}; {way_out}extract it first: supernet.extract(architecture) "
        "or copy.deepcopy(subnet)"
    )


@functools.cache
def _say_the_layout_warning_once() -> None:
    """Trigger and hide PyTorch's once-a-process warning that a gradient view is not dense.

    A slice of a tensor is rarely dense, and its gradient has the same strides by design, so the warning
    ("grad and param do not obey the gradient layout contract") says nothing here.
    """
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        probe = nn.Parameter(torch.zeros(2, 2)[:, :1])
        probe.grad = torch.zeros(2, 2)[:, :1]
        probe.sum().backward()
