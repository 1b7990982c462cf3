"""What the images of a source are: told in little, so that results know it and a changed data set is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasvit.data.encoded_masks import EncodedMasks
from nasvit.data.listed import Listed
from nasvit.data.stores import OF_FILES, Indices
from nasvit.data.targets import Boxes, Masks, content_of
from nasvit.files.held import is_used
from nasvit.files.records import read_json, write_record

LEAST_SAMPLED, MOST_SAMPLED, SAMPLED_BYTES = 64, 1024, 2**25
"""Images whose content is looked at: as many as have so many bytes together, between the two numbers."""

_MOST_NAMED = 5
_DIGITS = 16
_WAY_OUT = "Put the images of before back, or give another output folder"

Told = dict[str, Any]
"""An identity as plain JSON values: ``classes``, ``images`` (by group: number, bytes, digest of names and sizes),
``order`` (a digest of the images' groups in their order), ``annotations`` (a digest), ``sample`` (digests by name)."""


class ChangedImagesError(ValueError):
    """The images are not those that results rest on."""


@dataclass(frozen=True, eq=False)
class Identity:
    """What all images of one split of a source are, as they were listed.

    Args:
        classes: names of the classes.
        images: by class, or under an empty name for all of them: their number, their bytes, and a digest of their names
            and sizes.
        order: digest of the classes of all images in their order.
        annotations: digest of boxes or masks; empty for class labels.
        names: what to call the image at each of some places.
        digests: reads these images and returns a digest of each.
    """

    classes: tuple[str, ...]
    images: Mapping[str, tuple[int, int, str]]
    order: str
    annotations: str
    names: Sequence[str]
    digests: Callable[[], list[str]]

    @classmethod
    def of_listed(cls, listed: Listed) -> Identity:
        """Return the identity of what was listed; no image is read before its digest is asked for."""
        labels = listed.targets if isinstance(listed.targets, np.ndarray) else np.zeros(len(listed.store), np.int64)
        groups = listed.classes if isinstance(listed.targets, np.ndarray) else ("",)
        lengths = np.full(len(labels), -1) if listed.lengths is None else listed.lengths
        places = sampled(lengths)
        return cls(
            listed.classes,
            _grouped(listed, labels, groups, lengths),
            _digest(np.ascontiguousarray(labels, dtype="<i8").tobytes()),
            _of_annotations(listed),
            [listed.relative(place) for place in places],
            partial(_read, listed, places),
        )

    @classmethod
    def of_pixels(cls, classes: Sequence[str], labels: Indices, content: Callable[[int], bytes]) -> Identity:
        """Return the identity of images that are no files.

        Args:
            classes: names of the classes.
            labels: int64 (N,), class index of every image.
            content: returns the pixels of one image.
        """
        places = sampled(np.full(len(labels), -1))
        counts = np.bincount(labels, minlength=len(classes)).tolist()
        return cls(
            tuple(classes),
            {name: (count, -1, "") for name, count in zip(classes, counts)},
            _digest(np.ascontiguousarray(labels, dtype="<i8").tobytes()),
            "",
            [f"image {place}" for place in places],
            partial(list, [_digest(content(place)) for place in places]),
        )

    def told(self) -> Told:
        """Return it as plain JSON values; reads the sampled images."""
        return {
            "classes": list(self.classes),
            "images": {name: list(group) for name, group in self.images.items()},
            "order": self.order,
            "annotations": self.annotations,
            "sample": dict(zip(self.names, self.digests(), strict=True)),
        }


class Known:
    """What the images of each split are that the results in a folder rest on, in a file.

    Args:
        record: the file.
        begun: whether there are such results; if not, what the file says is replaced.
    """

    def __init__(self, record: Path, *, begun: bool) -> None:
        self._record = record
        self._told: dict[str, Told] = read_json(record) if begun and record.exists() else {}
        self._written = set(self._told)

    def require_same(self, split: str, source: str, identity: Identity) -> None:
        """Refuse images that are not those of before; what is not known yet is from now on.

        Args:
            split: name of the split.
            source: what to call the source before a user.
            identity: the images of now.

        Raises:
            ChangedImagesError: naming what changed, and the way out.
        """
        now = identity.told()
        found = differences(self._told.setdefault(split, now), now)
        if found:
            raise ChangedImagesError(
                f"{source}: its {split} images are not those that the results in {self._record.parent} rest on: "
                f"{'; '.join(found)}. {_WAY_OUT}"
            )
        if is_used(self._record.parent):  # a mistake that shows later leaves no folder
            self.write()

    def write(self) -> None:
        """Write the file, if there is something new to write."""
        if self._written != {*self._told}:
            write_record(self._record, self._told)
            self._written = set(self._told)


def differences(before: Told, now: Told) -> list[str]:
    """Return in words what differs between two identities, the most telling first; nothing if they are the same."""
    found = _of_classes(before, now) + _of_groups(before["images"], now["images"])
    if before["annotations"] != now["annotations"]:
        found.append("its boxes or masks changed")
    if not found and before["order"] != now["order"]:
        found.append("its images come in another order")
    return found or _of_contents(before["sample"], now["sample"])


def sampled(lengths: npt.NDArray[np.int64]) -> list[int]:
    """Return the places of images whose content is looked at, spread evenly.

    Args:
        lengths: int64 (N,), bytes of every image; below 0: not known.
    """
    known = lengths[lengths > 0]
    mean = float(known.mean()) if len(known) else SAMPLED_BYTES / 256
    count = int(np.clip(SAMPLED_BYTES / mean, LEAST_SAMPLED, MOST_SAMPLED))
    return sorted({*np.linspace(0, len(lengths) - 1, min(count, len(lengths))).astype(int).tolist()})


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]


def _grouped(
    listed: Listed, labels: Indices, groups: Sequence[str], lengths: Indices
) -> dict[str, tuple[int, int, str]]:
    """Return number, bytes, and digest of names and sizes of the images of every group.

    Of the names the group's own is left out, so that a renamed folder is known by what is in it. Images of one group
    mostly lie side by side: each such run is hashed at once.
    """
    counts = np.bincount(labels, minlength=len(groups)).tolist()
    totals = np.bincount(labels, weights=np.maximum(lengths, 0), minlength=len(groups)).tolist()
    digests = [hashlib.sha256() for _ in groups]
    starts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    encoded, own = np.ascontiguousarray(lengths, dtype="<i8"), [os.fsencode(f"{name}/") for name in groups]
    for first, last in zip(starts, starts[1:]):
        group = int(labels[first])
        if listed.names is not None:
            digests[group].update(listed.names.text(first, last).replace(own[group], b""))
        digests[group].update(encoded[first:last].tobytes())
    return {
        name: (count, int(total), digest.hexdigest()[:_DIGITS])
        for name, count, total, digest in zip(groups, counts, totals, digests)
    }


def _of_annotations(listed: Listed) -> str:
    if isinstance(listed.targets, Boxes):
        return _digest(content_of(listed.targets))
    return listed.beside[:_DIGITS]


def _read(listed: Listed, places: Sequence[int]) -> list[str]:
    stores = [listed.store]
    if isinstance(listed.targets, Masks) and isinstance(listed.targets.stored, EncodedMasks):
        stores.append(listed.targets.stored.store)
    return [_digest(*(_content(store, place) for store in stores)) for place in places]


def _content(store: Any, place: int) -> bytes:
    try:
        content: bytes = store.read(place)
    except OSError as error:
        if error.errno not in OF_FILES:
            raise
        return b""  # a bad image, which is said where images are judged
    return content


def _of_classes(before: Told, now: Told) -> list[str]:
    """Return in words which classes are others, and which of them only have another name."""
    old, new = before["classes"], now["classes"]
    gone, added = [name for name in old if name not in new], [name for name in new if name not in old]
    renamed = {name: other for name in gone if (other := _same(before["images"], name, now["images"], added))}
    found = [f"class {name!r} is called {other!r} now" for name, other in renamed.items()]
    found += [f"class {name!r} is gone" for name in gone if name not in renamed]
    found += [f"class {name!r} is new" for name in added if name not in renamed.values()]
    if not found and old != new:
        found.append(f"the order of the classes was {', '.join(old[:_MOST_NAMED])}, ...")
    return _few(found)


def _of_groups(before: Mapping[str, Sequence[Any]], now: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return in words which classes that stayed have other images."""
    changed = [name for name in before if name in now and list(before[name]) != list(now[name])]
    return _few([_of_group(name, before, now, changed) for name in changed])


def _of_group(
    name: str, before: Mapping[str, Sequence[Any]], now: Mapping[str, Sequence[Any]], changed: Sequence[str]
) -> str:
    what = f"class {name!r}" if name else "the source"
    other = _same(now, name, before, [each for each in changed if each != name])
    if other:
        return f"{what} has the images that class {other!r} had"
    if before[name][0] != now[name][0]:
        return f"{what} has {now[name][0]} images, before {before[name][0]}"
    return f"{what} has images of other names or sizes"


def _same(
    images: Mapping[str, Sequence[Any]], name: str, others: Mapping[str, Sequence[Any]], among: Sequence[str]
) -> str:
    """Return which of some groups has the same images; empty: none, or there are none to tell by."""
    mine = list(images.get(name, ()))
    return next((each for each in among if mine and mine[0] and mine[2] and list(others.get(each, ())) == mine), "")


def _of_contents(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [name for name in before if name in now and before[name] != now[name]]
    if not changed:
        return []
    named = ", ".join(changed[:_MOST_NAMED]) + (", ..." if len(changed) > _MOST_NAMED else "")
    return [f"{len(changed)} of {len(now)} files looked at have another content, or none: {named}"]


def _few(found: list[str]) -> list[str]:
    more = [f"and {len(found) - _MOST_NAMED} more such changes"] if len(found) > _MOST_NAMED else []
    return found[:_MOST_NAMED] + more
