"""What is known of the subnets of a space before anything is trained: measurements of them on other data sets.

Which architectures are good for their cost carries over between data sets to a large part. The measurements stand in
``predictors/priors/SPACE.jsonl``: one real training a line, made by ``python -m experiments.priors``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from predictors.arrays import Codes, Floats, Proxies, as_codes
from predictors.base import CodePredictor
from predictors.ensemble import make_predictor
from search_spaces import Architecture, Space, load
from search_spaces.files import read_file
from search_spaces.inclusion import Inclusion

KIND = "ridge"
"""The predictor fitted on the measurements."""

FEWEST = 8
"""Measurements on one data set below which they are left out: what is learned is how subnets differ on one."""

_FOLDER = Path(__file__).parent / "priors"


@dataclass(frozen=True)
class Measurement:
    """One subnet, trained plainly from random weights and tested.

    Args:
        data: name of the data set.
        architecture: the subnet.
        score: accuracy on test images, from 0 to 1.
        loss: cross-entropy on test images.
    """

    data: str
    architecture: Architecture
    score: float
    loss: float

    @classmethod
    def of(cls, space: Space, row: dict[str, Any]) -> Measurement:
        """Return the measurement that a line of a file holds."""
        return cls(str(row["data"]), space.architecture(row["architecture"]), float(row["score"]), float(row["loss"]))


def has_prior(space: str) -> bool:
    """Return whether measurements are shipped with a space of the catalog."""
    return _shipped(space).exists()


def read_measurements(space: Space, name: str | Path) -> list[Measurement]:
    """Read measurements of the subnets of a space.

    Args:
        space: the space of the catalog that was measured.
        name: its name, for the shipped measurements, or a file that ``experiments.priors`` wrote.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: naming the line that is no measurement, or one of another space.
    """
    path = Path(name) if str(name).endswith(".jsonl") else _shipped(str(name))
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file of measurements; python -m experiments.priors makes one")
    return [_measurement(space, line, path, number) for number, line in enumerate(_lines(path), 1)]


def _lines(path: Path) -> list[str]:
    return [line for line in read_file(path).splitlines() if line.strip()]


def _measurement(space: Space, line: str, path: Path, number: int) -> Measurement:
    try:
        return Measurement.of(space, json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}, line {number} is no measurement of space {space.name!r}: {error}") from error


class Prior:
    """How good subnets are expected to be on a data set that nobody has measured them on.

    On every data set the scores are standardized, so that what is learned is how subnets differ on it, in units of the
    standard deviation among the measured ones, not how hard it is.

    Args:
        space: the space of the catalog that was measured.
        measurements: measurements on one or more data sets.
        proxies: what is known of subnets for free, such as logarithms of costs; codes of ``space`` -> ``(n, p)``.

    Raises:
        ValueError: if no data set has enough measurements.
    """

    def __init__(self, space: Space, measurements: Iterable[Measurement], proxies: Proxies) -> None:
        self.space, self._proxies = space, proxies
        self._sets: dict[str, list[Measurement]] = {}
        for each in measurements:
            self._sets.setdefault(each.data, []).append(each)
        self._sets = {name: found for name, found in self._sets.items() if len(found) >= FEWEST}
        if not self._sets:
            raise ValueError(f"a prior of space {space.name!r} needs {FEWEST} measurements on one data set at least")
        self._predictor = self._fit([*self._sets])

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the data sets that were measured."""
        return tuple(self._sets)

    @property
    def measured(self) -> int:
        """Number of measurements."""
        return sum(map(len, self._sets.values()))

    @cached_property
    def points(self) -> float:
        """The unit of predictions in score: the mean over data sets of the deviation among measured subnets."""
        return float(np.mean([np.std([each.score for each in found]) for found in self._sets.values()]))

    def predict(self, codes: Codes) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the standardized score of rows of :attr:`space`, ``(n,)`` each."""
        return self._predictor.predict(codes)

    def within(self, space: Space) -> PriorWithin:
        """Return the same for rows of a space that was cut from this one, or of this one."""
        return PriorWithin(self, Inclusion(space, self.space))

    def left_out(self) -> dict[str, tuple[Floats, Floats]]:
        """Return for every data set what the others predict of its subnets, and what they scored, standardized.

        Empty if there is only one.
        """
        found: dict[str, tuple[Floats, Floats]] = {}
        for name, held_out in self._sets.items() if len(self._sets) > 1 else ():
            predictor = self._fit([other for other in self._sets if other != name])
            found[name] = predictor.predict(self._codes(held_out))[0], _standardized(held_out)
        return found

    def _fit(self, names: Sequence[str]) -> CodePredictor:
        codes = np.concatenate([self._codes(self._sets[name]) for name in names])
        outcomes = np.concatenate([_standardized(self._sets[name]) for name in names])
        predictor = make_predictor(KIND, self.space.genome, self._proxies, target="identity")
        return predictor.fit(codes, outcomes)

    def _codes(self, measured: Sequence[Measurement]) -> Codes:
        return self.space.encode([each.architecture for each in measured])


@dataclass(frozen=True)
class PriorWithin:
    """A prior that reads rows of a smaller space, such as one that was cut to what limits admit.

    Args:
        prior: the prior.
        inclusion: rows of the smaller space -> rows of the prior's.
    """

    prior: Prior
    inclusion: Inclusion

    def predict(self, codes: ArrayLike) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the standardized score, ``(n,)`` each."""
        return self.prior.predict(self.inclusion(as_codes(codes)))


def find_prior(name: str, proxies: Proxies, without: Sequence[str] = ()) -> Prior | None:
    """Return the prior that is shipped with a space of the catalog; None if there is none.

    Args:
        name: name of the space.
        proxies: see :class:`Prior`.
        without: data sets whose measurements are left out, to see how well the others carry over to one of them.
    """
    if not has_prior(name):
        return None
    space = load(name)
    return Prior(space, [each for each in read_measurements(space, name) if each.data not in without], proxies)


def _shipped(name: str) -> Path:
    return _FOLDER / f"{name}.jsonl"


def _standardized(measured: Sequence[Measurement]) -> NDArray[np.float64]:
    scores = np.array([each.score for each in measured])
    return (scores - scores.mean()) / (scores.std() or 1.0)
