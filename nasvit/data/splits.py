"""A held-out part of a data set: drawn by seed, every class in proportion, and recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nasvit.data.class_names import few
from nasvit.data.config import TENTH
from nasvit.data.images import ImageSet
from nasvit.data.randomness import generator
from nasvit.data.targets import Masks
from search_spaces.paths import expanded

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitRecord:
    """Record that identifies a split: written beside the results, compared when a run goes on.

    Args:
        source: name of the data set that was split.
        seed: seed of the split.
        train: number of images kept for training.
        held_out: number of images held out.
        held_out_per_class: number of held-out images of every class; of boxes their number; empty for masks.
        train_sha256: hash of the sorted training indices (little-endian int64).
        held_out_sha256: hash of the sorted held-out indices.
    """

    source: str
    seed: int
    train: int
    held_out: int
    held_out_per_class: tuple[int, ...]
    train_sha256: str
    held_out_sha256: str

    def to_json(self) -> dict[str, object]:
        """Return the record as plain JSON values."""
        return {**asdict(self), "held_out_per_class": list(self.held_out_per_class)}

    def check(self, written: Mapping[str, object]) -> None:
        """Compare with the record of an earlier run.

        Raises:
            ValueError: naming the fields that differ.
        """
        now = self.to_json()
        before = dict(written) | {
            "source": expanded(str(written.get("source")))
        }  # once it was recorded as it is written
        different = [
            f"{name}: was {before.get(name)!r}, is {now[name]!r}" for name in now if before.get(name) != now[name]
        ]
        if different:
            raise ValueError(
                "the held-out split is not the one this run began with; "
                + "; ".join(different)
                + ". Start a new run folder, or give the data set and seed of the old one."
            )


@dataclass(frozen=True, eq=False)
class SearchData:
    """The images that training and search may see; the test split is not among them.

    Args:
        train: images that the weights are trained on.
        validation: held-out images that candidates are compared on.
        record: record of the split.
        whole: both together in their original order, for trainings after which nothing is decided any more.
    """

    train: ImageSet
    validation: ImageSet
    record: SplitRecord
    whole: ImageSet


_ENOUGH, _MOST = 250, 0.25


def automatic_share(targets: Any) -> float:
    """Return the share of training images to hold out: a tenth, and more of few images.

    The fewer images judge, the worse the choice: of eight good subnets of ``micro8``, the one chosen on 57 images was
    1.0 points below the best on average, on 142 images 0.8, on 300 images 0.6 (a random one 2.0). So some 250 images
    are held out where that takes no more than a quarter of them, and one of each class at least.

    Args:
        targets: int64 (N,), class indices; or boxes or masks, of which no class is looked for.
    """
    count, classes = len(targets), len(targets.unique()) if isinstance(targets, Tensor) else 1
    if count >= _ENOUGH / TENTH:
        return max(TENTH, classes / count)
    return max(min(_ENOUGH, _MOST * count), classes) / count


def held_out_indices(
    targets: Any, *, fraction: float, seed: int, classes: Sequence[str] = (), name: str = "these images"
) -> tuple[Indices, Indices]:
    """Split indices in two, every class in proportion; at random where images have no class.

    Args:
        targets: int64 (N,), class indices; or boxes or masks.
        fraction: share of the images to hold out, between 0 and 1.
        seed: equal seeds give equal splits.
        classes: names of the classes, for messages.
        name: what to call the images before a user.

    Returns:
        The kept and the held-out indices, both sorted.

    Raises:
        ValueError: if the fraction is not between 0 and 1, a class has one image only, or there are fewer images to
            hold out (or to keep) than classes.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction {fraction} to hold out: must lie between 0 and 1")
    if not isinstance(targets, Tensor):
        return _at_random(len(targets), fraction, seed)
    labels = targets.numpy()
    present, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        alone = present[counts < 2].tolist()
        named = few([classes[each] if classes else str(each) for each in alone])
        raise ValueError(
            f"{name}: one image only of the classes {named}: a class needs two, to be on both sides of a split; add "
            "images, or leave them out"
        )
    held = round(fraction * len(labels))
    if min(held, len(labels) - held) < len(present):
        raise ValueError(
            f"{name}: fraction {fraction} of {len(labels)} images holds out {held}: both sides need at least one image "
            f"of each of {len(present)} classes"
        )
    from sklearn.model_selection import train_test_split  # takes long

    keep, out = train_test_split(np.arange(len(labels)), test_size=held, random_state=seed, stratify=labels)
    return np.sort(keep).astype(np.int64), np.sort(out).astype(np.int64)


def _at_random(count: int, fraction: float, seed: int) -> tuple[Indices, Indices]:
    held = round(fraction * count)
    if not 0 < held < count:
        raise ValueError(f"fraction {fraction} of {count} images holds out {held}: both sides need at least one image")
    order = generator(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def hold_out(images: ImageSet, *, fraction: float | None = None, seed: int = 0) -> SearchData:
    """Hold a validation split out of the training images.

    Args:
        images: the training split of a source.
        fraction: share of it to hold out, between 0 and 1; None: the images that the source itself sets apart, or
            where it does not, see :func:`automatic_share`.
        seed: equal seeds give equal splits.
    """
    if fraction is None and images.validation is not None and 0 < len(images.validation) < len(images):
        out = images.validation
        keep = np.setdiff1d(np.arange(len(images)), out)
    else:
        fraction = automatic_share(images.targets) if fraction is None else fraction
        named = {"classes": images.classes, "name": images.name}
        keep, out = held_out_indices(images.targets, fraction=fraction, seed=seed, **named)  # type: ignore[arg-type]
    validation = images.subset(out)
    record = SplitRecord(
        source=images.name,
        seed=seed,
        train=len(keep),
        held_out=len(out),
        held_out_per_class=_per_class(validation),
        train_sha256=_hash(keep),
        held_out_sha256=_hash(out),
    )
    return SearchData(train=images.subset(keep), validation=validation, record=record, whole=images)


def _per_class(images: ImageSet) -> tuple[int, ...]:
    if isinstance(images.targets, Masks):
        return ()
    labels = images.targets if isinstance(images.targets, Tensor) else images.targets.labels
    return tuple(np.bincount(labels.numpy(), minlength=len(images.classes)).tolist())


def _hash(indices: Indices) -> str:
    return hashlib.sha256(np.ascontiguousarray(indices, dtype="<i8").tobytes()).hexdigest()
