"""What every elastic layer is made of: the largest tensors, and plain layers that are views into them."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
E = TypeVar("E", bound="Elastic")
M = TypeVar("M", bound=nn.Module)

_HOOKS = tuple(name for name, value in vars(nn.Module()).items() if isinstance(value, OrderedDict))


class SharedParameter(nn.Parameter):
    """A parameter of a live subnet: a view into a supernet's parameter, whose gradient is the same view.

    Copying it (``copy.deepcopy``) gives an ordinary, compact ``nn.Parameter``. Everything that would quietly cut
    the tie to the supernet (moving, casting, freezing, saving) is refused in words.
    """

    source: nn.Parameter
    slices: tuple[int | slice, ...]
    source_gradient: Tensor | None
    gradient: Tensor | None
    watched: bool

    @classmethod
    def of(cls, source: nn.Parameter, index: tuple[int | slice, ...]) -> SharedParameter:
        """Return the view ``source[index]``; basic indices only (integers and slices without a step)."""
        view = cls(source.detach()[index], requires_grad=source.requires_grad)
        view.source, view.slices, view.watched = source, index, False
        view.source_gradient = view.gradient = None
        if source.requires_grad:
            _say_the_layout_warning_once()
            if source.grad is None:
                source.grad = torch.zeros_like(source)
            view.source_gradient = source.grad
            view.gradient = view.grad = source.grad[index]
        return view

    def check(self) -> None:
        """Raise if a gradient is not the slice of the supernet's gradient that it was made to be.

        Raises:
            RuntimeError: after ``optimizer.zero_grad()``, ``backward(create_graph=True)`` or anything else that
                put another tensor in place of a gradient.
        """
        if self.gradient is None:
            return
        if self.source.grad is not self.source_gradient or self.grad is not self.gradient:
            raise RuntimeError(
                f"the gradient of a shared parameter of shape {tuple(self.source.shape)} was replaced, so training "
                "would not reach the supernet any more; use supernet.zero_grad() instead of optimizer.zero_grad() "
                "(or optimizer.zero_grad(set_to_none=False)), and backward() without create_graph=True"
            )

    def watch(self, owner: Elastic) -> None:
        """Let every backward pass from now on check that ``owner`` still holds what this is a view of."""
        if self.requires_grad and not self.watched:
            self.watched, held = True, weakref.ref(owner)
            self.register_post_accumulate_grad_hook(lambda _: self._check_tie(held()))

    def _check_tie(self, owner: Elastic | None) -> None:
        if owner is None:
            return  # the supernet is gone, and nobody can be misled
        held = any(parameter is self.source for parameter in owner._parameters.values())
        if not held or self.untyped_storage().data_ptr() != self.source.untyped_storage().data_ptr():
            raise RuntimeError(
                "this subnet was cut off from its supernet, whose tensors were replaced since (by to(...) or "
                "load_state_dict(assign=True)); take it anew: supernet.at(...)"
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
        _refuse("saving")

    def requires_grad_(self, requires_grad: bool = True) -> SharedParameter:
        if requires_grad != self.requires_grad:
            _refuse("freezing or unfreezing")
        return self

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """Convert as ``Tensor.to`` does; another device is refused."""
        return self._same_device(super().to(*args, **kwargs))

    def cuda(self, *args: Any, **kwargs: Any) -> Tensor:
        """Refuse to leave the supernet's device."""
        return self._same_device(super().cuda(*args, **kwargs))

    def cpu(self, *args: Any, **kwargs: Any) -> Tensor:
        """Refuse to leave the supernet's device."""
        return self._same_device(super().cpu(*args, **kwargs))

    def _same_device(self, converted: Tensor) -> Tensor:
        if converted.device != self.device:
            _refuse("moving")
        return converted

    @property
    def requires_grad(self) -> bool:  # type: ignore[override]
        return torch.Tensor.requires_grad.__get__(self)  # type: ignore[attr-defined, no-any-return]

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return torch.Tensor.data.__get__(self)  # type: ignore[attr-defined, no-any-return]

    @data.setter
    def data(self, value: Tensor) -> None:
        _refuse("replacing the data of")


def _refuse(deed: str) -> NoReturn:
    raise RuntimeError(
        f"{deed} a live subnet would cut it off from its supernet; extract it first: supernet.extract(architecture) "
        "or copy.deepcopy(subnet)"
    )


@functools.cache
def _say_the_layout_warning_once() -> None:
    """Use up, unseen, PyTorch's once-a-process remark that a gradient view is not dense.

    A slice of a tensor is rarely dense, and its gradient has the same strides by design, so the remark
    ("grad and param do not obey the gradient layout contract") says nothing here.
    """
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        probe = nn.Parameter(torch.zeros(2, 2)[:, :1])
        probe.grad = torch.zeros(2, 2)[:, :1]
        probe.sum().backward()


class Elastic(nn.Module):
    """Base of elastic layers and blocks: owns the largest tensors, has no ``forward``, answers ``at``.

    What ``at`` built is kept as a template and handed out as fresh module shells around the same parameter views,
    so that ``eval()``, a hook or statistics set on one subnet never reach the next. Templates are no part of the
    state dict, of copies or of pickles, and are forgotten whenever the tensors they look into are replaced.
    """

    def __init__(self) -> None:
        super().__init__()
        self._templates: dict[Any, nn.Module] = {}

    def view(self, name: str, *index: int | slice) -> SharedParameter:
        """Return the view ``self.<name>[index]`` as a leaf parameter that shares memory and gradient."""
        return SharedParameter.of(self._parameters[name], index)  # type: ignore[arg-type]

    def check_views(self) -> None:
        """Raise if the gradient of a cached view was replaced (see :meth:`SharedParameter.check`)."""
        for module in self.modules():
            if isinstance(module, Elastic) and module._parameters:  # the views of the others are these
                for template in module._templates.values():
                    _check(template._parameters)

    def forget(self) -> None:
        """Drop the cached views of this layer and of those inside it; subnets that somebody still has are watched."""
        for module in self.modules():
            if isinstance(module, Elastic):
                for template in module._templates.values() if module._parameters else ():
                    for parameter in template._parameters.values():
                        if type(parameter) is SharedParameter:
                            parameter.watch(module)
                module._templates.clear()

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set the gradients to zero in place; views of them stay views.

        Raises:
            ValueError: for ``set_to_none=True``, which would cut every subnet off from its gradients.
        """
        if set_to_none:
            raise ValueError("set_to_none=True would cut the subnets off from the supernet's gradients; leave it out")
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        if gradients:
            torch._foreach_zero_(gradients)

    def forward(self, *_: Any, **__: Any) -> NoReturn:
        """Elastic layers only share tensors.

        Raises:
            TypeError: always; plain layers compute.
        """
        name = type(self).__name__
        raise TypeError(f"{name} only shares tensors and computes nothing; call {name}.at(...) and use what it returns")

    def requires_grad_(self, requires_grad: bool = True) -> Elastic:
        """Freeze or unfreeze all parameters; cached views are made anew."""
        super().requires_grad_(requires_grad)
        self.forget()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Elastic:
        super()._apply(fn, recurse)
        self.forget()
        return self

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Any, *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)
        if local_metadata.get("assign_to_params_buffers", False):
            self.forget()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_templates": {}}


def shared(build: Callable[Concatenate[E, P], M]) -> Callable[Concatenate[E, P], M]:
    """Turn a method that builds a plain module into an ``at`` that builds it once and hands out fresh shells."""

    @functools.wraps(build)
    def at(self: E, *args: P.args, **kwargs: P.kwargs) -> M:
        key = (build.__name__, args, tuple(kwargs.items()))
        template = self._templates.get(key)
        if template is None:
            with torch.inference_mode(False):  # views made in inference mode could never train
                template = self._templates[key] = build(self, *args, **kwargs)
        return fresh_shell(template)  # type: ignore[return-value]

    return at  # type: ignore[return-value]


def fresh_shell(template: M) -> M:
    """Return a module like ``template`` with the same tensors but registries of its own (recursively).

    Raises:
        RuntimeError: if the gradient of a parameter is not the supernet's any more (see :class:`SharedParameter`).
    """
    shell: M = object.__new__(type(template))
    state = template.__dict__.copy()
    for name in _HOOKS:
        state[name] = OrderedDict()
    _check(template._parameters)
    state["_parameters"] = template._parameters.copy()
    state["_buffers"] = template._buffers.copy()
    state["_modules"] = {
        name: None if module is None else fresh_shell(module) for name, module in template._modules.items()
    }
    shell.__dict__ = state
    return shell


def _check(parameters: Mapping[str, nn.Parameter | None]) -> None:
    for parameter in parameters.values():
        if type(parameter) is SharedParameter:
            parameter.check()


def check_size(layer: str, name: str, value: int, largest: int) -> None:
    """Raise if a requested size is not one that a layer holds.

    Raises:
        ValueError: naming the layer, the size and the sizes that are there.
    """
    if not 1 <= value <= largest:
        raise ValueError(f"{layer}: {name}={value} is outside 1..{largest}, the sizes this layer holds")


def is_live(module: nn.Module) -> bool:
    """Return whether ``module`` shares parameters with a supernet."""
    return any(isinstance(parameter, SharedParameter) for parameter in module.parameters())
