"""Hard limits on what a network costs: reading them, checking them, and saying what would be feasible."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Floats, Mask
from search_spaces.saved import Saved
from search_spaces.values import shown

UNITS = {"macs": "", "params": "", "memory": " bytes", "int8_size": " bytes", "latency": " ms"}
"""The costs that can be limited and the units they are counted in."""

SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "ms": 1.0, "us": 1e-3, "s": 1e3}
SUFFIXES |= {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "b": 1.0}
SUFFIXES |= {"%": 0.01}
_SHARE = "%"
_LONGEST, _MOST = 100, 1e18  # characters of a limit, and what any network may cost
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*|%)"
_NAME = r"([a-z][a-z0-9_ ]*?)"
_UPPER = re.compile(rf"\s*{_NAME}\s*(<=|>=|==)\s*{_NUMBER}\s*$")
_RANGE = re.compile(rf"\s*{_NUMBER}\s*<=\s*{_NAME}\s*<=\s*{_NUMBER}\s*$")


@dataclass(frozen=True)
class Limit:
    """A range that one cost must lie in, both ends included.

    Args:
        metric: "macs", "params", "memory" (bytes), "int8_size" (bytes; written "int8 size" too) or "latency"
            (milliseconds).
        low: smallest value allowed; ``-inf`` if there is none.
        high: largest value allowed; ``inf`` if there is none.
        share: whether both are shares of the cost of the largest network there is; see :meth:`of`.

    Raises:
        ValueError: for an unknown metric or an empty range.
    """

    metric: str
    low: float = -np.inf
    high: float = np.inf
    share: bool = False

    def __post_init__(self) -> None:
        if self.metric not in UNITS:
            raise ValueError(
                f"unknown cost {_spoken(self.metric)!r} in a limit; legal: {', '.join(map(_spoken, UNITS))} (macs are "
                "multiply-adds, which many call FLOPs)"
            )
        if self.share and 1 < self.high < np.inf:
            raise ValueError(f"the limit {self} is more than the whole network; legal: shares up to 100%")
        if not self.low <= self.high:
            raise ValueError(f"the limit {self} holds for no value: its lower end is above its upper end")

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read ``"macs<=300M"``, ``"latency>=5ms"``, ``"params==4M"``, ``"200M<=macs<=300M"`` or ``"macs<=50%"``.

        Suffixes: K, M, G (thousands), KB, MB, GB, KiB, MiB, GiB (memory, int8 size), us, ms, s (latency), % (of the
        cost of the largest network).

        Raises:
            ValueError: if the text is none of these.
        """
        if len(text) > _LONGEST:
            raise ValueError(f"the limit {shown(text)} has {len(text)} characters; legal: {_LONGEST} at most")
        ranged = _RANGE.match(text)
        if ranged:
            low, low_unit, metric, high, high_unit = ranged.groups()
            metric = "_".join(metric.split())
            if (low_unit == _SHARE) != (high_unit == _SHARE):
                raise ValueError(
                    f"the limit {text!r} has a share at one end only; give both ends as shares, or neither"
                )
            ends = (_number(low, low_unit, metric, text), _number(high, high_unit, metric, text))
            return cls(metric, *ends, share=high_unit == _SHARE)
        single = _UPPER.match(text)
        if single is None:
            raise ValueError(
                f"cannot read the limit {text!r}; legal: 'macs<=300M', 'params>=2M', 'memory<=64MB', "
                "'latency<=20ms', a share like 'macs<=60%', a range like '200M<=macs<=300M', or several such joined by "
                "'and'"
            )
        metric, relation, digits, unit = single.groups()
        metric = "_".join(metric.split())
        value = _number(digits, unit, metric, text)
        low, high = value if relation != "<=" else -np.inf, value if relation != ">=" else np.inf
        return cls(metric, low, high, share=unit == _SHARE)

    def of(self, whole: Mapping[str, float]) -> Limit:
        """Return the limit with shares of the largest network's costs as costs.

        Raises:
            ValueError: if it is a share of a cost that is not known.
        """
        if not self.share:
            return self
        self.require_known(whole)
        return Limit(self.metric, self.low * whole[self.metric], self.high * whole[self.metric])

    def require_known(self, costs: Mapping[str, Any]) -> None:
        """Refuse costs by metric that lack the limited one.

        Raises:
            ValueError: naming the metrics that are known, and how latency would be.
        """
        if self.metric not in costs:
            hint = "; nasvit latency build measures it" if self.metric == "latency" else ""
            known = ", ".join(map(_spoken, costs))
            raise ValueError(f"the limit {self} needs {_spoken(self.metric)}, but only {known} is known{hint}")

    def __str__(self) -> str:
        ends = [f"{100 * end:.6g}%" if self.share else pretty(end, self.metric) for end in (self.low, self.high)]
        low = f"{ends[0]}<=" if np.isfinite(self.low) else ""
        high = f"<={ends[1]}" if np.isfinite(self.high) else ""
        return f"{low}{_spoken(self.metric)}{high}"

    def violation(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return how far outside the range each value is, relative to the end it breaks; 0 inside."""
        if self.share:
            raise ValueError(f"the limit {self} is a share, and it is not known of what; see Limit.of")
        costs = np.asarray(values, dtype=np.float64)
        above = np.maximum(costs - self.high, 0.0) / max(abs(self.high), 1e-12)
        below = np.maximum(self.low - costs, 0.0) / max(abs(self.low), 1e-12)
        return np.where(np.isnan(costs), np.inf, np.nan_to_num(above) + np.nan_to_num(below))


@dataclass(frozen=True)
class Budget(Saved):
    """What a network may cost: limits that all hold. Its value is its text; ``str(budget)`` is that text.

    Args:
        text: limits joined by ``and``, such as ``macs<=6M and params<=300K``; empty: no limit.

    Raises:
        ValueError: as :meth:`Limit.parse`, for the first limit that cannot be read.
    """

    text: str = ""
    limits: tuple[Limit, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        texts = self.text.split(" and ") if self.text else []
        object.__setattr__(self, "limits", tuple(Limit.parse(text) for text in texts))

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget; raises as the constructor does."""
        return cls(text)

    def of(self, whole: Mapping[str, float]) -> Budget:
        """Return the budget, of the same text, with shares of the largest network's costs as costs.

        Raises:
            ValueError: if a limit is a share of a cost that is not known.
        """
        budget = Budget(self.text)
        object.__setattr__(budget, "limits", tuple(limit.of(whole) for limit in self.limits))
        return budget

    @property
    def is_share(self) -> bool:
        """Whether a limit is a share of the largest network's cost."""
        return any(limit.share for limit in self.limits)

    @property
    def name(self) -> str:
        """The budget as a name for folders: ``macs<=2.5M and params<=1M`` is ``macs-2.5M_params-1M``."""
        name = self.text.replace(" and ", "_").replace("<=", "-").replace(">=", "+").replace("==", "=")
        return name.replace(" ", "") or "best"

    def to_json(self) -> str:
        """The text as a JSON string."""
        return json.dumps(self.text)

    @classmethod
    def from_json(cls, text: str) -> Budget:
        """Read what ``to_json`` wrote."""
        return cls(json.loads(text))

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return bool(self.limits)


def parse_limits(texts: Sequence[str]) -> tuple[Limit, ...]:
    """Read several limits; more than one on the same cost all hold."""
    return tuple(Limit.parse(text) for text in texts)


def violation(costs: Mapping[str, NDArray[Any]], limits: Sequence[Limit]) -> NDArray[np.float64]:
    """Return the summed violation of all limits, ``(n,)``; 0 where a candidate is feasible.

    Args:
        costs: metric -> values ``(n,)``.
        limits: all must hold.

    Raises:
        ValueError: if a limited metric is not among ``costs``.
    """
    total = np.zeros(len(next(iter(costs.values()))) if costs else 0)
    for limit in limits:
        limit.require_known(costs)
        total = total + limit.violation(costs[limit.metric])
    return total


def feasible(costs: Mapping[str, NDArray[Any]], limits: Sequence[Limit]) -> Mask:
    """Return which candidates meet every limit, ``(n,)``. Arguments and errors as in :func:`violation`."""
    return np.asarray(violation(costs, limits) <= 0)


def require_feasible(costs: Mapping[str, NDArray[Any]], limits: Sequence[Limit]) -> None:
    """Refuse limits that none of the given candidates meets, with the closest feasible values.

    Args:
        costs: costs of the candidates that come closest (a pool plus the smallest and the largest), ``(n,)`` each.
        limits: all must hold.

    Raises:
        ValueError: naming the limits and the costs of the candidate that comes closest.
    """
    amounts = violation(costs, limits)
    if (amounts <= 0).any():
        return
    closest = int(np.argmin(amounts))
    have = ", ".join(f"{limit.metric} {pretty(float(costs[limit.metric][closest]), limit.metric)}" for limit in limits)
    wanted = " and ".join(str(limit) for limit in limits)
    ends = "; ".join(f"{metric}: {_ends(costs[metric], metric)}" for metric in {limit.metric for limit in limits})
    raise ValueError(
        f"no candidate meets {wanted}; the closest feasible value is {have} (known candidates span {ends})"
    )


def _ends(values: Floats, metric: str) -> str:
    return f"{pretty(float(np.min(values)), metric)} to {pretty(float(np.max(values)), metric)}"


def _number(digits: str, unit: str, metric: str, text: str) -> float:
    if unit.lower() not in SUFFIXES:
        raise ValueError(
            f"unknown suffix {unit!r} in the limit {text!r}; legal: K, M, G, KB, MB, GB, KiB, MiB, ms, s, %"
        )
    of_time, of_bytes = unit.lower() in ("us", "ms", "s"), unit.lower().endswith("b")
    family = ("latency",) if of_time else ("memory", "int8_size") if of_bytes else (metric,)
    if metric not in family:
        belongs = " and ".join(map(_spoken, family))
        raise ValueError(f"the suffix {unit!r} belongs to {belongs}, not to {_spoken(metric)!r}, in the limit {text!r}")
    value = float(digits) * SUFFIXES[unit.lower()]
    if value > _MOST:
        raise ValueError(f"the limit {text!r} is beyond all that networks cost; legal: numbers from 0 to {_MOST:g}")
    return value


def _spoken(metric: str) -> str:
    """Return the name of a cost as it is written in budgets."""
    return metric.replace("_", " ")


def pretty(value: float, metric: str) -> str:
    """Return a cost with a suffix, such as ``1.4M``."""
    if metric == "latency":
        return f"{value:.4g}ms"
    for suffix, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.6g}{suffix}"
    return f"{value:.6g}"
