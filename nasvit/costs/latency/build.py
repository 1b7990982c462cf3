"""Measure a space on a device: its blocks, and a few whole networks that correct and check the sum of blocks."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nasvit.costs.latency.correction import FEWEST, fit_correction, prediction_error
from nasvit.costs.latency.measure import Measurement, measure_all
from nasvit.costs.latency.plan import MeasurementPlan
from nasvit.costs.latency.timed_modules import TimedModule, network_name
from nasvit.files.records import write_json
from predictors.latency import FORMAT, LatencyTable


def build_table(
    plan: MeasurementPlan, on_measured: Callable[[TimedModule], None] = lambda module: None
) -> LatencyTable:
    """Measure what is not measured yet, fit scale and offset, and write the table with its error on held-out networks.

    After a kill, a second call goes on after the last measurement.

    Args:
        plan: the modules to measure, the way to measure them, and the file to write.
        on_measured: called after every measurement.

    Returns:
        The table that was written.

    Raises:
        ValueError: if a command fails, the timing log was begun under other conditions, or a timing makes no sense.
    """
    if len(plan.architectures) < 2 * FEWEST:
        raise ValueError(
            f"{plan.subject.space.name} has {len(plan.architectures)} subnets, which are too few to fit a table and to "
            f"check it; at least {2 * FEWEST} are needed: let more be decided"
        )
    policy = plan.settings.policy
    measured = measure_all([*plan.blocks, *plan.networks], plan.measure, policy, plan.timing_log(), on_measured)
    write_json(plan.out, _record(plan, measured))
    plan.discard_exported()
    return plan.subject.load(plan.out)


def _record(plan: MeasurementPlan, measured: Mapping[str, Measurement]) -> dict[str, Any]:
    blocks: dict[str, Any] = {module.name: asdict(measured[module.name]) for module in plan.blocks}
    return {
        "latency_table": FORMAT,
        **plan.conditions,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "policy": asdict(plan.settings.policy),
        "noise": _noise(list(measured.values())),
        **_checked(plan, measured),
        **plan.apart.recorded({name: each["milliseconds"] for name, each in blocks.items()}),
        "blocks": blocks,
    }


def _noise(measured: Sequence[Measurement]) -> dict[str, float]:
    return {
        "median_spread": float(np.median([one.spread for one in measured])),
        "noisy": sum(one.noisy for one in measured),
        "measured": len(measured),
    }


def _checked(plan: MeasurementPlan, measured: Mapping[str, Measurement]) -> dict[str, Any]:
    """Fit on the networks of even number (smallest, then every second random one) and the largest; test on the rest."""
    milliseconds = {module.name: measured[module.name].milliseconds for module in plan.blocks}
    sums = plan.apart.table(milliseconds).total(plan.subject.space.encode(plan.architectures))
    whole = np.array([measured[network_name(architecture)].milliseconds for architecture in plan.architectures])
    held_out = np.arange(len(whole)) % 2 == 1
    held_out[:2] = False  # the ends of the space: a line is safer between its points than beyond them
    scale, offset = fit_correction(sums[~held_out], whole[~held_out])
    predicted = scale * sums + offset
    networks = [
        {
            "architecture": architecture.key,
            "held_out": bool(held),
            "predicted": float(guess),
            **asdict(measured[network_name(architecture)]),
        }
        for architecture, held, guess in zip(plan.architectures, held_out, predicted, strict=True)
    ]
    return {
        "correction": {"scale": scale, "offset": offset, "fitted_on": int((~held_out).sum())},
        "error": asdict(prediction_error(predicted[held_out], whole[held_out])),
        "error_of_plain_sum": asdict(prediction_error(sums[held_out], whole[held_out])),
        "networks": networks,
    }
