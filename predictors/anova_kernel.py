"""A covariance over integer codes: additive + pairwise + full interactions, and free proxies.

Every part is built from small tables, one per gene, so that a covariance matrix is three matrix products and its
gradient is three more, whatever the number of candidates.

Source: Duvenaud et al., Additive Gaussian Processes (2011), https://arxiv.org/abs/1112.4394 (sums over orders of
interaction by elementary symmetric polynomials); the tables and the proxy part are this project's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
STEP = 1e-4


@dataclass(frozen=True)
class Inputs:
    """What the kernel sees of n candidates.

    Args:
        one_hot: ``(n, sum(cards))`` zeros and ones, in the precision the covariance is wanted in.
        proxies: ``(n, p)`` standardized proxy values; p may be 0.
    """

    one_hot: NDArray[Any]
    proxies: NDArray[Any]


@dataclass(frozen=True)
class Tables:
    """Per-gene tables joined into vectors over the block-diagonal entries (see :class:`AnovaKernel`).

    Args:
        additive: centered similarity times the gene's weight.
        squared: the square of ``additive``.
        distance: (1 - plain similarity) times the gene's relevance.
    """

    additive: Matrix
    squared: Matrix
    distance: Matrix


class AnovaKernel:
    """Covariance of two candidates; all parameters are logarithms with normal priors.

    ``k = a1 * S1 + a2 * (S1^2 - S2) / 2 + a3 * exp(-D) + a4 * rbf(proxies) + a5 * dot(proxies)`` where ``S1`` sums the
    genes' similarities, ``S2`` their squares (so the second term is all pairs of different genes) and ``D`` sums
    dissimilarities. Ordinal genes are similar by distance, categorical genes only when equal.

    Args:
        cards: ``(d,)`` number of values of each gene.
        ordinal: ``(d,)`` whether the values are ordered.
        proxies: number of proxy columns.
    """

    def __init__(self, cards: NDArray[np.int64], ordinal: NDArray[np.bool_], proxies: int) -> None:
        self.cards = np.asarray(cards, dtype=np.int64)
        self.ordinal = np.asarray(ordinal, dtype=bool)
        self.proxies = proxies
        genes = len(self.cards)
        self.amplitude = slice(0, 5)
        self.weight = slice(5, 5 + genes)
        self.relevance = slice(5 + genes, 5 + 2 * genes)
        self.length = slice(5 + 2 * genes, 5 + 3 * genes)
        self.proxy_scale = slice(5 + 3 * genes, 5 + 3 * genes + proxies)
        self.size = 5 + 3 * genes + proxies
        self._last: tuple[bytes, Matrix, Matrix] | None = None

    @cached_property
    def prior(self) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation of every parameter's normal prior."""
        genes = len(self.cards)
        mean, deviation = np.empty(self.size), np.empty(self.size)
        mean[self.amplitude], deviation[self.amplitude] = np.log((1.0, 0.5, 0.3, 0.3, 0.3)), 1.0
        mean[self.weight], deviation[self.weight] = -np.log(genes), 1.0
        mean[self.relevance], deviation[self.relevance] = np.log(2.0 / genes), 1.0
        mean[self.length], deviation[self.length] = np.log(0.6), 0.5
        mean[self.proxy_scale], deviation[self.proxy_scale] = np.log(0.7), 0.7
        return mean, deviation

    @cached_property
    def _blocks(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row, column and gene of every entry of the block-diagonal tables."""
        starts = np.concatenate([[0], np.cumsum(self.cards)[:-1]])
        rows, columns, genes = [], [], []
        for gene, (start, card) in enumerate(zip(starts, self.cards, strict=True)):
            first, second = np.divmod(np.arange(card * card), card)
            rows.append(start + first)
            columns.append(start + second)
            genes.append(np.full(card * card, gene))
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(genes)

    def _base(self, lengths: Matrix) -> tuple[Matrix, Matrix]:
        """Return the centered and the plain similarity entries at ``lengths`` ``(d,)``; the last answer is kept."""
        key = lengths.tobytes()
        if self._last is not None and self._last[0] == key:
            return self._last[1], self._last[2]
        centered, plain = [], []
        for card, ordinal, length in zip(self.cards, self.ordinal, lengths, strict=True):
            table = _similarity(int(card), bool(ordinal), float(length))
            means = table.sum(0) / card
            shifted = table - means - means[:, None] + means.sum() / card
            centered.append((shifted * (card / shifted.trace())).ravel())
            plain.append(table.ravel())
        self._last = key, np.concatenate(centered), np.concatenate(plain)
        return self._last[1], self._last[2]

    def _tables(self, theta: Matrix) -> Tables:
        gene = self._blocks[2]
        centered, plain = self._base(np.exp(theta[self.length]))
        additive = np.exp(theta[self.weight])[gene] * centered
        return Tables(additive, additive**2, np.exp(theta[self.relevance])[gene] * (1.0 - plain))

    def _spread(self, entries: Matrix, dtype: type[np.floating]) -> NDArray[np.floating]:
        """Return the block-diagonal matrix ``(sum(cards), sum(cards))`` of table entries."""
        rows, columns, _ = self._blocks
        size = int(self.cards.sum())
        matrix = np.zeros((size, size), dtype=dtype)
        matrix[rows, columns] = entries
        return matrix

    def _sums(self, tables: Tables, a: Inputs, b: Inputs) -> tuple[Matrix, Matrix, Matrix]:
        """Return S1, S2 and D between all candidates of ``a`` and ``b``."""
        dtype = a.one_hot.dtype.type
        parts = []
        for entries in (tables.additive, tables.squared, tables.distance):
            parts.append(a.one_hot @ (self._spread(entries, dtype) @ b.one_hot.T))
        return parts[0], parts[1], parts[2]

    def _proxy_matrices(self, theta: Matrix, a: Inputs, b: Inputs) -> tuple[Matrix, Matrix]:
        """Return the radial and the linear covariance of the proxies."""
        inverse = np.exp(theta[self.proxy_scale]).astype(a.proxies.dtype)
        left, right = a.proxies * inverse, b.proxies * inverse
        ones = np.ones((1, 1), dtype=left.dtype)
        # -|l - r|^2 / 2 as one product: columns (l, -l^2 / 2, 1) times rows (r, 1, -r^2 / 2).
        wide = np.concatenate([left, -0.5 * (left**2).sum(1, keepdims=True), ones.repeat(len(left), 0)], axis=1)
        tall = np.concatenate([right, ones.repeat(len(right), 0), -0.5 * (right**2).sum(1, keepdims=True)], axis=1)
        radial = wide @ tall.T
        np.exp(radial, out=radial)
        return radial, a.proxies @ (b.proxies.T / max(self.proxies, 1))

    def matrix(self, theta: Matrix, a: Inputs, b: Inputs) -> Matrix:
        """Return the covariance ``(len(a), len(b))``."""
        amplitude = np.exp(theta[self.amplitude]).astype(a.one_hot.dtype)
        first, squares, distance = self._sums(self._tables(theta), a, b)
        # In place throughout: on large populations memory traffic is the cost.
        np.exp(np.negative(distance, out=distance), out=distance)
        total: Matrix = first * first
        total -= squares
        total *= 0.5 * amplitude[1]
        for part, factor in ((first, amplitude[0]), (distance, amplitude[2])):
            part *= factor
            total += part
        if self.proxies:
            for part, factor in zip(self._proxy_matrices(theta, a, b), amplitude[3:], strict=True):
                part *= factor
                total += part
        return total

    def diagonal(self, theta: Matrix, a: Inputs) -> Matrix:
        """Return the variance of every candidate, ``(n,)``."""
        amplitude = np.exp(theta[self.amplitude])
        tables = self._tables(theta)
        rows, columns, _ = self._blocks
        own = rows == columns
        first = a.one_hot @ tables.additive[own].astype(a.one_hot.dtype)
        squares = a.one_hot @ tables.squared[own].astype(a.one_hot.dtype)
        total: Matrix = amplitude[0] * first + 0.5 * amplitude[1] * (first**2 - squares) + amplitude[2]
        if self.proxies:
            total = total + amplitude[3] + amplitude[4] * (a.proxies**2).sum(1) / self.proxies
        return total

    def gradient(self, theta: Matrix, a: Inputs, upstream: Matrix) -> Matrix:
        """Return the gradient of ``(upstream * matrix(theta, a, a)).sum()`` with respect to ``theta``.

        Args:
            theta: parameters ``(size,)``.
            a: the n candidates.
            upstream: symmetric ``(n, n)``.
        """
        amplitude = np.exp(theta[self.amplitude])
        tables = self._tables(theta)
        first, squares, distance = self._sums(tables, a, a)
        product = np.exp(-distance)
        result = np.zeros(self.size)
        result[0] = amplitude[0] * (upstream * first).sum()
        result[1] = 0.5 * amplitude[1] * (upstream * (first**2 - squares)).sum()
        result[2] = amplitude[2] * (upstream * product).sum()
        pulled = (
            self._pull(a, upstream * (amplitude[0] + amplitude[1] * first)),
            -0.5 * amplitude[1] * self._pull(a, upstream),
            -amplitude[2] * self._pull(a, upstream * product),
        )
        self._add_table_gradient(theta, tables, pulled, result)
        if self.proxies:
            self._add_proxy_gradient(theta, a, upstream, result)
        return result

    def _pull(self, a: Inputs, upstream: Matrix) -> Matrix:
        """Return the gradient of every block-diagonal table entry."""
        rows, columns, _ = self._blocks
        full = a.one_hot.T @ (upstream @ a.one_hot)
        entries: Matrix = full[rows, columns]
        return entries

    def _add_table_gradient(
        self, theta: Matrix, tables: Tables, pulled: tuple[Matrix, Matrix, Matrix], result: Matrix
    ) -> None:
        gene, genes = self._blocks[2], len(self.cards)
        on_additive, on_squared, on_distance = pulled
        joint = on_additive + 2.0 * on_squared * tables.additive
        result[self.weight] = np.bincount(gene, joint * tables.additive, genes)
        result[self.relevance] = np.bincount(gene, on_distance * tables.distance, genes)
        up = self._base(np.exp(theta[self.length] + STEP))
        down = self._base(np.exp(theta[self.length] - STEP))
        centered, plain = (up[0] - down[0]) / (2 * STEP), (up[1] - down[1]) / (2 * STEP)
        along = joint * np.exp(theta[self.weight])[gene] * centered
        along -= on_distance * np.exp(theta[self.relevance])[gene] * plain
        result[self.length] = np.bincount(gene, along, genes)

    def _add_proxy_gradient(self, theta: Matrix, a: Inputs, upstream: Matrix, result: Matrix) -> None:
        amplitude = np.exp(theta[self.amplitude])
        radial, linear = self._proxy_matrices(theta, a, a)
        result[3] = amplitude[3] * (upstream * radial).sum()
        result[4] = amplitude[4] * (upstream * linear).sum()
        weighted = amplitude[3] * upstream * radial
        values = a.proxies * np.exp(theta[self.proxy_scale])
        # sum_ij w_ij (p_i - p_j)^2 = 2 (sum_i rowsum_i p_i^2 - p' w p), per proxy
        squared = 2.0 * (weighted.sum(1) @ values**2 - (values * (weighted @ values)).sum(0))
        result[self.proxy_scale] = -squared


def _similarity(card: int, ordinal: bool, length: float) -> Matrix:
    """Return the plain similarity table ``(card, card)`` of one gene."""
    if not ordinal:
        return np.eye(card)
    position = np.arange(card) / max(card - 1, 1)
    return np.exp(-0.5 * ((position[:, None] - position[None]) / length) ** 2)
