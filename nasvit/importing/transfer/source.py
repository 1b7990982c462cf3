"""A source of weights: named tensors in memory, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nasvit.files.whole import sha256_of
from nasvit.importing.checkpoints import read_weights


@dataclass(frozen=True)
class Source:
    """Weights to start from.

    Args:
        title: what messages call it.
        tensors: its tensors by name, in its order.
        classes: names of the classes that its classifier scores; empty: unknown.
        sha256: SHA-256 of the file that holds it; empty if there is no such file.
    """

    title: str
    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def names_classes(self) -> bool:
        """Whether the classes have names, and not just numbers as those of a release."""
        return bool(self.classes) and self.classes != tuple(map(str, range(len(self.classes))))


def read_source(path: Path, known: Sequence[str] = ()) -> Source:
    """Read the weights of a checkpoint file, without executing anything that is in it.

    Wrappers (``state_dict``, ``model``, ``module.``) are looked through, and averaged weights go before others.

    Args:
        path: a file of ``torch.save``, or a ``.safetensors`` file.
        known: names of the tensors to look for.

    Raises:
        ValueError: if the file cannot be read, or holds no state dict.
    """
    weights = read_weights(path, known)
    part = f" (its {weights.part})" if weights.part else ""
    tensors = {name: tensor.load() for name, tensor in weights.tensors.items()}
    return Source(f"{path}{part}", tensors, sha256=sha256_of(path))
