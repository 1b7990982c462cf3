"""The modules of live subnets: plain ones that refuse operations that would cut them off from the supernet."""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from nasvit.elastic.shared_parameter import SharedParameter, refuse

if TYPE_CHECKING:
    from typing_extensions import Self

M = TypeVar("M", bound=nn.Module)

_HOOKS = tuple(name for name, value in vars(nn.Module()).items() if isinstance(value, OrderedDict))


class Live(nn.Module):
    """Mixin of the modules of a live subnet, whose tensors are a supernet's.

    :func:`enliven` adds it to a plain module, which computes, prints and is found by ``isinstance`` as before, and
    ``copy.deepcopy`` gives the plain module back with tensors of its own. Moving, casting, freezing, saving, loading
    and parametrizing are refused before anything has changed, because they would cut the subnet off from its
    supernet, or reach far more of the supernet than the subnet.
    """

    plain: ClassVar[type[nn.Module]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "plain" not in vars(cls):  # as torch.nn.utils.parametrize derives a class of its own
            refuse("parametrizing")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Refuse a conversion, unless it changes no tensor.

        Raises:
            RuntimeError: if ``fn`` would replace any tensor of a live module inside.
        """
        for module in self.modules() if recurse else (self,):
            if isinstance(module, Live):
                _check_unchanged(module, fn)
        for child in self.children() if recurse else ():
            child._apply(fn)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Refuse to freeze or unfreeze shared parameters.

        Raises:
            RuntimeError: if this would change a shared parameter.
        """
        parameters = list(self.parameters())
        if any(each.requires_grad != requires_grad for each in parameters if isinstance(each, SharedParameter)):
            refuse("freezing or unfreezing")
        return super().requires_grad_(requires_grad)

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set the gradients to zero in place.

        Raises:
            ValueError: for ``set_to_none=True``, which would cut the subnet off from the supernet's gradients.
        """
        zero_in_place(self, set_to_none)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Add a parameter that is the subnet's own; ``module.weight = parameter`` comes here too.

        Raises:
            RuntimeError: if it would replace a shared one.
        """
        if isinstance(self._parameters.get(name), SharedParameter):
            refuse("replacing a parameter of")
        super().register_parameter(name, param)

    def _save_to_state_dict(self, *_: Any) -> NoReturn:
        refuse("saving")

    def _load_from_state_dict(self, *_: Any) -> NoReturn:
        refuse("loading into", harm="overwrite its supernet's weights")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse("saving")

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        object.__setattr__(twin, "__dict__", self.__dict__.copy())
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """Return the plain module with compact tensors of its own."""
        for buffer in self._buffers.values():
            if buffer is not None and id(buffer) not in memo:
                memo[id(buffer)] = buffer.clone()  # deepcopy would copy all the memory that it is a view of
        copied = object.__new__(self.plain)
        memo[id(self)] = copied
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied


def _check_unchanged(module: nn.Module, fn: Callable[[Tensor], Tensor]) -> None:
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is None:
            continue
        with torch.no_grad():
            converted = fn(tensor)
        if converted is not tensor:
            refuse("moving" if converted.device != tensor.device else "replacing the data of")


def zero_in_place(module: nn.Module, set_to_none: bool) -> None:
    """Set the gradients of a module's parameters to zero in place; views of them stay views.

    Raises:
        ValueError: if they should be set to None.
    """
    if set_to_none:
        raise ValueError("set_to_none=True would cut the subnets off from the supernet's gradients; leave it out")
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if gradients:
        torch._foreach_zero_(gradients)


@functools.cache
def live_class(plain: type[nn.Module], *mixins: type[nn.Module]) -> type[nn.Module]:
    """Return the live class of a plain one, under the same name, which printing and tracing go by.

    Args:
        plain: the class.
        mixins: what comes before it and before :class:`Live`.
    """
    names = {"plain": plain, "__module__": plain.__module__, "__qualname__": plain.__qualname__}
    return type(plain.__name__, (*mixins, Live, plain), {**names, "__doc__": plain.__doc__})


def enliven(module: M) -> M:
    """Make a module and all inside it live, in place, and return it."""
    if not isinstance(module, Live):
        live = live_class(type(module))  # type: ignore[arg-type]  # classes can be hashed, whatever mypy says
        object.__setattr__(module, "__class__", live)
        for child in module.children():
            enliven(child)
    return module


def fresh_shell(template: M) -> M:
    """Return a module like ``template`` with the same tensors but registries of its own (recursively)."""
    shell: M = object.__new__(type(template))
    state = template.__dict__.copy()
    for name in _HOOKS:
        state[name] = OrderedDict()
    state["_parameters"] = template._parameters.copy()
    state["_buffers"] = template._buffers.copy()
    state["_modules"] = {
        name: None if module is None else fresh_shell(module) for name, module in template._modules.items()
    }
    object.__setattr__(shell, "__dict__", state)  # that of nn.Module looks for parameters among modules first
    return shell
