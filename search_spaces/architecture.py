"""One architecture of a search space, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from search_spaces.files import from_json
from search_spaces.ranges import Range, checked
from search_spaces.saved import Saved
from search_spaces.values import FieldError, Number, plain_number, shown

ALWAYS = ("depth", "kernel_size", "expand_ratio")
"""The fields of an architecture that hold one entry per stage in every space."""

_KERNELS = ("start_kernel_size", "first_start_kernel_size", "first_kernel_size")
PER_STAGE = (*ALWAYS, "mlp_ratio", "windows", *_KERNELS, "first_expand_ratio")
"""The fields of an architecture that hold one entry per stage, or none where no stage has such a size."""

_MAY_BE_NONE = PER_STAGE[1:]
_MAY_BE_FRACTIONS = ("expand_ratio", "mlp_ratio", "first_expand_ratio")
_MAY_BE_ZERO = ("kernel_size", *_KERNELS)
_LARGEST = 2**14  # of every size
_WHOLE, _FRACTION = Annotated[int, Range(1, _LARGEST)], Annotated[Number, Range(0, _LARGEST, above=True)]


@dataclass(frozen=True)
class Architecture(Saved):
    """The sizes of one subnet: frozen, hashable, without inactive parts, so equal networks are equal values.

    An architecture says nothing about its space; ``Space.check`` tells whether a space holds it.

    Args:
        resolution: side of the input image in pixels.
        width: channels after the stem, after every stage, and in the head.
        depth: blocks of every stage.
        kernel_size: side of the depthwise kernel in the MBConv blocks of every stage.
        expand_ratio: hidden channels over input channels in the MBConv blocks of every stage.
        mlp_ratio: hidden channels over channels in the MLPs of every stage's transformer blocks; None where a
            stage has no such block; empty if the whole space has none.
        windows: attention windows per side of every stage's transformer blocks (1 = global attention), likewise.
        start_kernel_size: side of the first depthwise kernel in the universal bottlenecks of every stage, and 0 where
            they have none, likewise; ``kernel_size`` is that of their second one.
        first_start_kernel_size: the same of the first block of every stage, as below.
        first_kernel_size: side of the kernel in the first block of every stage, where that is sized apart from the
            others, likewise; ``kernel_size`` is that of the others then, and None where there are none.
        first_expand_ratio: expand ratio of the first block of every stage, likewise.

    Raises:
        ValueError: a field of the wrong type or length.
    """

    resolution: int
    width: tuple[int, ...]
    depth: tuple[int, ...]
    kernel_size: tuple[int | None, ...]
    expand_ratio: tuple[Number | None, ...]
    mlp_ratio: tuple[Number | None, ...] = ()
    windows: tuple[int | None, ...] = ()
    start_kernel_size: tuple[int | None, ...] = ()
    first_start_kernel_size: tuple[int | None, ...] = ()
    first_kernel_size: tuple[int | None, ...] = ()
    first_expand_ratio: tuple[Number | None, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", _entry("resolution", (), self.resolution))
        for field in ("width", *PER_STAGE):
            object.__setattr__(self, field, checked_entries(field, getattr(self, field)))
        stages = len(self.depth)
        if len(self.width) != stages + 2:
            raise FieldError(["width"], f"has {len(self.width)} entries; legal: {stages + 2} (stem, stages, head)")
        for field in PER_STAGE:
            length = len(getattr(self, field))
            if length != stages and not (length == 0 and field not in ALWAYS):
                raise FieldError([field], f"has {length} entries; legal: {stages} (one per stage)")

    def to_json(self) -> str:
        """Return the canonical JSON text: fixed order, no spaces, empty fields left out."""
        entries = {field: getattr(self, field) for field in _FIELDS}
        return json.dumps({field: value for field, value in entries.items() if value != ()}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: not JSON, or a field unknown, missing or of the wrong type.
        """
        return cls.from_fields(from_json(text, "an architecture"))

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> Architecture:
        """Return the architecture of a mapping of all fields, as JSON holds them.

        Raises:
            ValueError: a field unknown, missing or of the wrong type.
        """
        check_field_names(given)
        missing = [field for field in _FIELDS[:5] if field not in given]
        if missing:
            raise ValueError(f"an architecture needs the field {missing[0]!r}; it has {', '.join(given) or 'none'}")
        return cls(**given)


_FIELDS = tuple(field.name for field in fields(Architecture))


def check_field_names(given: Any) -> Mapping[str, Any]:
    """Return a value, unless it is not a mapping from the fields of an architecture.

    Raises:
        ValueError: naming the unknown field and the legal ones.
    """
    if not isinstance(given, Mapping):
        raise FieldError([], f"an architecture is a mapping of fields, not {shown(given)}")
    for field in given:
        if field not in _FIELDS:
            raise ValueError(f"an architecture has no field {shown(field)}; legal: {', '.join(_FIELDS)}")
    return given


def checked_entries(field: str, given: Any) -> tuple[Any, ...]:
    """Return the entries of one field as a tuple of plain numbers (and None where the field allows it).

    Raises:
        FieldError: naming the field, the entry and what is legal.
    """
    if not isinstance(given, (tuple, list)):
        raise FieldError([field], f"{shown(given)} is not a list of numbers")
    return tuple(_entry(field, (position,), entry) for position, entry in enumerate(given))


def _entry(field: str, place: tuple[int, ...], given: Any) -> Number | None:
    if type(given) is int and 0 < given <= _LARGEST:  # by far the most frequent case, and decoding is full of it
        return given
    if given is None and field in _MAY_BE_NONE:
        return None
    if type(given) is int and given == 0 and field in _MAY_BE_ZERO:
        return given
    return plain_number(checked(_FRACTION if field in _MAY_BE_FRACTIONS else _WHOLE, given, (field, *place)))
