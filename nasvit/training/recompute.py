"""Blocks that keep their input alone for the backward pass, which then computes what is inside them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

_CONTAINERS = (nn.Sequential, nn.ModuleList)


class Recomputed:
    """Runs a network whose blocks are computed again in the backward pass, instead of keeping what is inside them.

    Gradients, masks of dropout, and buffers such as statistics of batch norms are those of a network that keeps
    everything: a block computes again from the buffers that it had, and what it would change is set aside.

    Args:
        network: the network; outside of a call it is what it was.

    Raises:
        ValueError: if the network has no blocks.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost (2016), https://arxiv.org/abs/1604.06174
    """

    def __init__(self, network: nn.Module) -> None:
        self.network, self.blocks = network, blocks_of(network)
        if not self.blocks:
            raise ValueError(
                f"recompute: {type(network).__name__} has no blocks, which are modules with modules inside, in "
                "an nn.Sequential or nn.ModuleList; leave recompute out, or split batches with accumulate"
            )

    def __call__(self, images: Tensor) -> Any:
        if not is_grad_enabled():
            return self.network(images)
        with _run_again(self.blocks):
            return self.network(images)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of a network: modules with modules inside that stand in a row, and what stands beside rows.

    Where blocks have blocks inside, such as stages, the inner ones count.
    """
    children = list(dict.fromkeys(network.children()))
    inner = [blocks_of(child) for child in children]
    if not any(inner) and not isinstance(network, _CONTAINERS):
        return []
    found = [blocks or ([child] if _is_block(child) else []) for child, blocks in zip(children, inner, strict=True)]
    return list(dict.fromkeys(block for blocks in found for block in blocks))


def _is_block(module: nn.Module) -> bool:
    return any(True for _ in module.children()) and type(module) not in _CONTAINERS


@contextmanager
def _run_again(blocks: list[nn.Module]) -> Iterator[None]:
    """Let the backward pass run what blocks do inside this again."""
    own = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.__dict__["forward"] = partial(_run, block, block.forward)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            if forward is None:
                del block.__dict__["forward"]
            else:
                block.__dict__["forward"] = forward


def _run(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    contexts = partial(_contexts, block)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what the first run happens in, and the second: with the buffers from before the first, set aside again."""
    own = [(module, dict(module._buffers)) for module in block.modules() if module._buffers]
    kept = {id(buffer): buffer.clone() for _, buffers in own for buffer in buffers.values() if buffer is not None}
    before = [(module, {name: kept.get(id(buffer)) for name, buffer in buffers.items()}) for module, buffers in own]
    return nullcontext(), _with_buffers(before)


@contextmanager
def _with_buffers(others: list[tuple[nn.Module, dict[str, Tensor | None]]]) -> Iterator[None]:
    """Let modules use and change other buffers."""
    own = [(module, dict(module._buffers)) for module, _ in others]
    for module, buffers in others:
        module._buffers.update(buffers)
    try:
        yield
    finally:  # which PyTorch comes to by an exception of its own, as soon as it has what it needs
        for module, buffers in own:
            module._buffers.update(buffers)
