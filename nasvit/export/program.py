"""Networks as ``torch.export`` programs, which run with PyTorch alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nasvit.compute import Compute
from nasvit.elastic import is_live
from nasvit.export.written import remember
from nasvit.layers import BatchNorm2d, Normalize

PROGRAM = "program.pt2"


def check_complete(network: nn.Module) -> None:
    """Refuse a network that cannot be saved or exported.

    Raises:
        ValueError: if the network still shares its weights with a supernet, or its batch norms have no statistics.
    """
    if is_live(network):
        raise ValueError("this subnet shares its weights with a supernet; save supernet.extract(architecture) instead")
    if any(isinstance(module, BatchNorm2d) and module.running_mean is None for module in network.modules()):
        raise ValueError("this network has no batch-norm statistics; call nasvit.calibrate(network, batches) first")


def on_processor(network: nn.Module) -> nn.Module:
    """Return a network whose tensors are in main memory: itself, or a copy."""
    elsewhere = [each for each in (*network.parameters(), *network.buffers()) if each.device.type != "cpu"]
    if not elsewhere:
        return network
    moved = {id(each): _in_main_memory(each) for each in elsewhere}
    return copy.deepcopy(network, moved)  # which takes these as copies made already, however often each is used


def _in_main_memory(tensor: Tensor) -> Tensor:
    copied = Compute.host(tensor.detach())
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def export_program(
    network: nn.Module,
    path: Path | str,
    *,
    shape: Sequence[int],
    mean: Sequence[float] = (),
    deviation: Sequence[float] = (),
    batch: int | None = None,
) -> None:
    """Write a network as a ``torch.export`` program, which runs with PyTorch alone.

    Args:
        network: a calibrated or trained plain network.
        path: the file, usually ``program.pt2``.
        shape: shape of one image, such as ``(3, 32, 32)``.
        mean: mean of each channel; if given, the program takes pixels from 0 to 1 and normalizes them itself.
        deviation: standard deviation of each channel, given with ``mean``.
        batch: the one batch size that it is for; None: any.

    Raises:
        ValueError: if the network still shares its weights with a supernet, or its batch norms have no statistics.
    """
    check_complete(network)
    network = on_processor(network)
    parts = [Normalize(mean, deviation), network] if mean else [network]
    images = torch.rand(batch or 2, *shape)
    sizes = ({0: torch.export.Dim("batch", min=1)},) if batch is None else None
    program = torch.export.export(nn.Sequential(*parts).eval(), (images,), dynamic_shapes=sizes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # which names the folders of this machine
    torch.export.save(program, path)
    remember(Path(path))
