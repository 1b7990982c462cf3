"""Reading tables over many small decisions at once, for whole populations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes

Item = TypeVar("Item")
Gene = tuple[int, int]  # column and number of values
Digit = list[Gene]  # genes whose combinations a byte can number


class Scratch:
    """Arrays that are written again for every part, so that nothing is allocated in the loop over chunks."""

    def __init__(self, rows: int) -> None:
        self.byte = np.empty(rows, dtype=np.uint8)
        self.word = np.empty(rows, dtype=np.uint16)
        self.next_word = np.empty(rows, dtype=np.uint16)
        self.flat = np.empty(rows, dtype=np.intp)
        self.cost = np.empty(rows, dtype=np.int64)


class Lookup:
    """Flat tables, and the arithmetic that numbers combinations of genes: in bytes first, then in 16 bits.

    Narrow integers are what makes this fast: a processor multiplies 32 or 64 bytes at a time.

    Args:
        columns: population columns of the genes.
        sizes: number of values of each.
        tables: name -> one number for every combination, one axis a gene.
    """

    def __init__(self, columns: Sequence[int], sizes: Sequence[int], tables: dict[str, NDArray[np.int64]]) -> None:
        self.tables = {name: np.ascontiguousarray(table).ravel() for name, table in tables.items()}
        digits = _runs(list(zip(columns, sizes, strict=True)), lambda gene: gene[1], 256)
        self.words = _runs(digits, _size, 65_536)

    def index(self, columns: Codes, scratch: Scratch) -> NDArray[np.intp]:
        """Return the flat position in the tables of every column of ``(genes, n)``."""
        flat = scratch.flat
        if not self.words:
            flat.fill(0)
        for number, word in enumerate(self.words):
            packed = self._word(word, columns, scratch)
            if number == 0:
                np.copyto(flat, packed)
            else:
                flat *= math.prod(_size(digit) for digit in word)
                flat += packed
        return flat

    def _word(self, word: list[Digit], columns: Codes, scratch: Scratch) -> NDArray[np.uint16]:
        for number, digit in enumerate(word):
            if number == 0:
                np.copyto(scratch.word, self._digit(digit, columns, scratch))
            else:
                np.copyto(scratch.next_word, self._digit(digit, columns, scratch))
                scratch.word *= np.uint16(_size(digit))
                scratch.word += scratch.next_word
        return scratch.word

    def _digit(self, digit: Digit, columns: Codes, scratch: Scratch) -> NDArray[np.uint8]:
        number: NDArray[np.uint8] = columns[digit[0][0]]
        for column, size in digit[1:]:
            number = np.multiply(number, np.uint8(size), out=scratch.byte)
            number += columns[column]
        return number


def _size(digit: Digit) -> int:
    return math.prod(size for _, size in digit)


def _runs(items: list[Item], size: Callable[[Item], int], most: int) -> list[list[Item]]:
    """Cut ``items`` into runs whose sizes multiply to at most ``most``; a run has at least one item."""
    runs: list[list[Item]] = []
    product = most + 1
    for item in items:
        product *= size(item)
        if product > most:
            runs.append([])
            product = size(item)
        runs[-1].append(item)
    return runs
