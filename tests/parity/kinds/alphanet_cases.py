"""Whole AlphaNet and AttentiveNAS subnets: logits in every mode of batch norm, costs.

``mparams_static_hook_counter`` is not compared: it counts shortcut convolutions that are never run. The exact count
beside it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from nasvit.costs.counting import count
from nasvit.layers import BatchNorm2d, Network
from nasvit.layers.calibration import calibrate
from search_spaces import Architecture
from tests.parity.released import Release, check_weights, logits, release
from tests.parity.rows import Comparison, Row, attempt
from tests.parity.streams import alphanet_input

TOLERANCE = 1e-8
BATCH = 2
CALIBRATION = (("calib0", (4, 3, 160, 160)), ("calib1", (4, 3, 160, 160)))
_STATISTICS = r"dynamic_trainmode_batchstats|static_eval_runningstats|static_eval_after_bn_calibration"
_MODE = re.compile(rf"({_STATISTICS})_(native|from\d+)")


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with a configuration and at least one mode of the dynamic or the static network."""
    cases = content.get("cases")
    return isinstance(cases, list) and all("config" in case and any(map(_MODE.fullmatch, case)) for case in cases)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every mode of every case, and its costs."""
    weights = check_weights(path.parent, "alphanet")
    if weights is not None:
        yield weights
    given = release("alphanet", path.parent)
    for case in content["cases"]:
        yield from attempt(case["name"], compare_case(case, given))


def compare_case(case: dict[str, Any], given: Release) -> Iterator[Row]:
    """Compare one case."""
    architecture = given.architecture(case["config"])
    for mode in filter(_MODE.fullmatch, case):
        yield compare_mode(case, mode, given, architecture)
    yield from compare_cost(case, given, architecture)


def compare_mode(case: dict[str, Any], mode: str, given: Release, architecture: Architecture) -> Row:
    """Run one mode of one case."""
    comparison = Comparison(f"{case['name']} {mode}", TOLERANCE)
    if mode.startswith("dynamic"):
        network = given.train(architecture)
    else:
        network = given.eval(architecture)
    if "calibration" in mode:
        calibrate(network, [alphanet_input(tag, shape) for tag, shape in CALIBRATION])
        _compare_statistics(comparison, network, case.get("calibrated_bn", {}))
    output = logits(network, _images(mode, architecture))
    comparison.summary("logits", output, case[mode], first="first16_sample0")
    return comparison.row()


def _images(mode: str, architecture: Architecture) -> Tensor:
    origin = mode.rpartition("_")[2]
    side = architecture.resolution if origin == "native" else int(origin.removeprefix("from"))
    return alphanet_input("golden", (BATCH, 3, side, side))


def _compare_statistics(comparison: Comparison, network: Network, expected: dict[str, float]) -> None:
    norms = [module for module in network.modules() if isinstance(module, BatchNorm2d)]
    for name, wanted in expected.items():
        norm = norms[0] if name.startswith("first_conv") else norms[-1]
        values = norm.running_mean if "running_mean" in name else norm.running_var
        assert values is not None
        comparison.total(name, values.sum(), wanted, float(values.norm()))


def compare_cost(case: dict[str, Any], given: Release, architecture: Architecture) -> Iterator[Row]:
    """Compare multiply-adds with the release's analytic counter to the MAC, and parameters exactly."""
    cost = count(given.supernet.extract(architecture), 3, architecture.resolution, architecture.resolution)
    comparison = Comparison(f"{case['name']} cost", TOLERANCE)
    if "mflops_compute_active_subnet_flops" in case:
        comparison.exact("MACs", cost.macs, round(case["mflops_compute_active_subnet_flops"] * 1e6))
    if "mflops_static_hook_counter" in case:  # summed in float32
        comparison.absolute("MACs/1e6 of the hooks", cost.macs / 1e6, case["mflops_static_hook_counter"], 1e-3)
    if "params_static_used" in case:
        comparison.exact("parameters", cost.params, case["params_static_used"])
    if comparison.compared:
        yield comparison.row()
