"""The cost of networks, counted on the operations that they really run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import flop_registry

from nasvit.layers.alive import AliveTensors

BYTES = 4  # costs are those of float32


@dataclass(frozen=True)
class Cost:
    """Cost of a network for one image.

    Args:
        macs: multiply-adds of convolutions, linear layers and matrix products. Papers of this field print them as
            "FLOPs"; norms, activations, biases, pooling and resizing do not count.
        params: parameters that are used, batch-norm gains and biases among them, statistics not.
        memory: the most bytes of activations alive at once in float32 at batch size 1, the input among them.
        int8_size: bytes of the parameters where convolutions and linear layers hold integers of 8 bits: see
            :func:`int8_bytes`. A file has the graph besides.
    """

    macs: int
    params: int
    memory: int
    int8_size: int


def int8_bytes(owner: nn.Module, name: str) -> tuple[int, int]:
    """Return the bytes that a parameter takes in a network of 8-bit integers: of each value, and of each channel.

    A weight of a convolution or linear layer takes a byte a value, and each of its output channels a scale and a bias
    of 4 bytes. Batch norms are folded into convolutions, so that they and the biases take nothing of their own. All
    else stays in float32.

    Args:
        owner: the module that has the parameter.
        name: its name in that module.
    """
    if isinstance(owner, (nn.Conv2d, nn.Linear)):
        return (1, 2 * BYTES) if name == "weight" else (0, 0)
    if isinstance(owner, nn.modules.batchnorm._BatchNorm):
        return 0, 0
    return BYTES, 0


def _int8_size(network: nn.Module) -> int:
    owners = ((module, name, each) for module in network.modules() for name, each in module.named_parameters("", False))
    sizes = {}
    for owner, name, parameter in owners:
        a_value, a_channel = int8_bytes(owner, name)
        sizes[id(parameter)] = a_value * parameter.numel() + (a_channel * len(parameter) if a_channel else 0)
    return sum(sizes.values())


def count(network: nn.Module, *shape: int) -> Cost:
    """Count the cost of a plain network, live or extracted, for one image.

    Args:
        network: the network or any part of it.
        shape: shape of one input without the batch axis, such as ``3, 224, 224``.

    Raises:
        ValueError: if the shape is given as one tuple.
    """
    if not all(isinstance(side, int) for side in shape):
        raise ValueError(f"count takes sides one by one, such as count(network, 3, 224, 224); it got {shape}")
    try:
        cost = _count_on("meta", network, shape)
    except RuntimeError:  # such as an operation that is not defined there
        cost = _count_on("cpu", network, shape)
    # Moving to another device unties parameters that several modules share, so they are counted before.
    params = sum(parameter.numel() for parameter in network.parameters())
    return replace(cost, params=params, int8_size=_int8_size(network))


def _count_on(device: str, network: nn.Module, shape: tuple[int, ...]) -> Cost:
    copied = copy.deepcopy(network).to(device, torch.float32).eval()
    for module in copied.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            module.running_mean = torch.zeros(module.num_features, device=device)
            module.running_var = torch.ones(module.num_features, device=device)
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch's counter does not know the processor's fused attention
        return count_on_meta(copied, torch.zeros(1, *shape, device=device))


def count_on_meta(network: nn.Module, x: Tensor) -> Cost:
    """Count the cost of a network on the meta device for an input ``x`` on the meta device."""
    with torch.no_grad(), _Counter() as counter:
        counter.ignore((*network.parameters(), *network.buffers()))
        counter.hold(x)
        network(x)
    params = sum(parameter.numel() for parameter in network.parameters())
    return Cost(counter.macs, params, counter.peak, _int8_size(network))


class _Counter(AliveTensors):
    """Counts multiply-adds and follows which tensors are alive, as if all were of float32."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        counted: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
        if counted is not None:
            self.macs += counted(*args, **(kwargs or {}), out_val=result) // 2
        return result

    def size(self, tensor: Tensor) -> int:
        """Return the bytes that the memory of a tensor would take in float32."""
        return tensor.untyped_storage().nbytes() // tensor.element_size() * BYTES
