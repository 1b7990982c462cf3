"""Batches that are not augmented: the same every time, so decoded once where they fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nasvit.data.finishing import Finishing
from nasvit.data.preparation import Preparation, Prepared
from nasvit.data.targets import map_tensors
from nasvit.data.workers import Stream

CACHE_LIMIT = 2**30
"""Decoded bytes up to which batches that are not augmented are kept on the host, for each loader."""

Rows = Sequence[npt.NDArray[np.int64]] | Sequence[range]


class PlainBatches:
    """Batches of given rows of an image set, in their order.

    Where all of them fit into ``CACHE_LIMIT`` their pixels are kept after the first time, as bytes on the host.
    Others are decoded anew each time, by workers that stay.

    Args:
        preparation: prepares batches.
        rows: positions of the images of every batch.
        workers: processes that decode ahead.
        pin: keep pixels where copies to a device can be queued from.
    """

    def __init__(self, preparation: Preparation, rows: Rows, *, workers: int, pin: bool) -> None:
        self._preparation, self._rows = preparation, rows
        self._pin = pin
        self._workers = 0 if preparation.copies else workers
        height, width = preparation.size
        decoded = sum(map(len, rows)) * height * width * preparation.images.channels
        self._keeps = not preparation.copies and decoded <= CACHE_LIMIT
        self._kept: dict[int, Prepared] = {}
        self._idle: dict[range, Stream[Prepared]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Prepared:
        """Return one batch; what is not kept is prepared in this process."""
        kept = self._kept.get(place)
        return self._keep(place, _prepare(self._preparation, self._rows, place)) if kept is None else kept

    def at(self, places: range) -> Iterator[Prepared]:
        """Yield the batches of some places, in their order."""
        missing = [place for place in places if place not in self._kept]
        if not missing:
            yield from (self._kept[place] for place in places)
            return
        # Two iterations at once need workers of their own: a stream is taken while it is in use.
        stream = self._idle.pop(places, None) or self._stream(missing)
        fresh, absent = iter(stream), set(missing)
        for place in places:
            yield self._keep(place, next(fresh)) if place in absent else self._kept[place]
        next(fresh, None)  # ends the iteration, so that its workers wait for the next one
        if not self._keeps:
            self._idle[places] = stream

    def _stream(self, places: Sequence[int]) -> Stream[Prepared]:
        prepare = partial(_prepare, self._preparation, self._rows)
        stays = not self._keeps
        return Stream(prepare, places, workers=self._workers, pin=self._pin, persistent=stays, prefetch=1)

    def _keep(self, place: int, prepared: Prepared) -> Prepared:
        if self._keeps:
            # What workers send lies in shared memory, of which machines have little.
            shared = prepared.pixels.is_shared() and not self._pin
            self._kept[place] = Prepared(*map_tensors(Tensor.clone, prepared[:2])) if shared else prepared
        return prepared


def _prepare(preparation: Preparation, rows: Rows, place: int) -> Prepared:
    return preparation.plain(np.asarray(rows[place]))


class CalibrationBatches(Sequence[Tensor]):
    """Normalized images float32 (B, C, H, W) on the device, finished from bytes on the host whenever they are used.

    Args:
        plain: the batches.
        finishing: finishes them.
        places: which of the batches, in which order.
    """

    def __init__(self, plain: PlainBatches, finishing: Finishing, places: range) -> None:
        self._plain, self._finishing, self._places = plain, finishing, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> CalibrationBatches: ...
    def __getitem__(self, index: int | slice) -> Tensor | CalibrationBatches:
        if isinstance(index, slice):
            return CalibrationBatches(self._plain, self._finishing, self._places[index])
        return self._finishing.images(self._plain[self._places[index]])

    def __iter__(self) -> Iterator[Tensor]:
        return (self._finishing.images(prepared) for prepared in self._plain.at(self._places))
