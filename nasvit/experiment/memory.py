"""The memory that a training will take, said before it begins; what cannot fit is refused."""

from __future__ import annotations

from contextlib import suppress

from nasvit.experiment.made_up import batch_of_noise
from nasvit.training.memory import StepMemory, step_memory
from nasvit.training.trainer import Trainer

_TOLERANCE = 1.1  # times what is free: what is foreseen is not exact
_OF_PIXEL = 20_000  # bytes that a training keeps of a pixel of its images: several times what measured ones keep
_LITTLE = 0.25  # of what is free: of a step that cannot take more nothing is said, as foreseeing takes about a second


def require_memory(trainer: Trainer) -> None:
    """Say what a step of a training takes, and refuse a training that does not fit into what is free.

    All processes call this together; each of them takes as much. Nothing is said where it cannot be foreseen, and of
    small images and batches, whose steps fit in any case.

    Args:
        trainer: a trainer that has made no step.

    Raises:
        ValueError: naming what is needed, what is free, and the ways out.
    """
    compute = trainer.compute
    free = min((each for each in compute.gather(compute.free_memory()) if each is not None), default=None)
    if free is not None and _at_most(trainer) < _LITTLE * free:
        return
    needed = compute.from_first(lambda: _foreseen(trainer))
    if needed is None:
        return
    if compute.shows and compute.is_first:
        print(f"{trainer.name}: a step takes about {_told(trainer, needed)}", flush=True)
    if free is not None and needed.missing > _TOLERANCE * free:
        raise ValueError(
            f"{trainer.name}: a step takes about {_told(trainer, needed)}, and {in_gigabytes(free)} are free on "
            f"{compute.device}; {_ways_out(trainer, needed, free)}"
        )


def _at_most(trainer: Trainer) -> int:
    """Return bytes that a step does not exceed, without looking at its network's layers."""
    height, width = trainer.loader.size
    return len(trainer.loader.places) * height * width * _OF_PIXEL


def _foreseen(trainer: Trainer) -> StepMemory | None:
    """Return what a step takes; None of networks that ask for numbers, which these tensors do not have."""
    with suppress(Exception):  # whatever users' own code does without numbers: a training does not need this one
        return step_memory(trainer, batch_of_noise(trainer.loader, 1))
    return None


def _told(trainer: Trainer, needed: StepMemory) -> str:
    batch, at_once = trainer.recipe.batch_size, needed.at_once
    images = f"batch {batch}" if at_once == batch else f"batch {batch}, {at_once} images at once"
    each = ", in each process" if trainer.compute.count > 1 else ""
    return f"{in_gigabytes(needed.whole)} ({images}; {in_gigabytes(needed.activations)} of it activations){each}"


def _ways_out(trainer: Trainer, needed: StepMemory, free: int) -> str:
    running, room = trainer.execution.running, free - (needed.missing - needed.activations)
    fits = int(needed.at_once * room / needed.activations)
    if fits < 1:
        return "a single image takes more; take a smaller network or image_size, or another device"
    parts = -(-len(trainer.loader.places) // fits)
    ways = [f"accumulate: {parts}", "a smaller batch_size or image_size"]
    if not (running.recompute or running.compile):
        ways.insert(1, "recompute: true")
    return f"give {', '.join(ways[:-1])}, or {ways[-1]}"


def in_gigabytes(count: int) -> str:
    """Return bytes as text: gigabytes, or megabytes where these are few."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
