"""Whole NASViT subnets: logits in three modes of batch norm, maps of every stage, traces of every block, costs.

``params_M_upstream_profiler`` is not compared: it counts transformer blocks in full size and convolutions that are
never run, and leaves tables and scales out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.costs.counting import count
from nasvit.layers import BatchNorm2d, Network, ResidualBranch, TransformerBlock
from nasvit.layers.calibration import calibrate
from search_spaces import Architecture
from tests.parity.counting import conv_linear_macs
from tests.parity.released import Release, logits, release
from tests.parity.rows import Comparison, Row, attempt
from tests.parity.streams import nasvit_input

TOLERANCE = 1e-9
MODES = ("train_bn", "eval_bn", "calibrated_eval")


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with a configuration and at least one of the three modes."""
    cases = content.get("cases")
    return isinstance(cases, list) and all("config" in case and any(mode in case for mode in MODES) for case in cases)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every mode of every case, and its costs."""
    given = release("nasvit", path.parent)
    for case in content["cases"]:
        yield from attempt(case["name"], compare_case(case, given))


def compare_case(case: dict[str, Any], given: Release) -> Iterator[Row]:
    """Compare one case."""
    architecture = given.architecture(case["config"])
    images = nasvit_input(case["input"]["key"], case["input"]["shape"])
    for mode in MODES:
        if mode in case:
            yield compare_mode(case, mode, given, architecture, images)
    yield from compare_cost(case, given, architecture, images)


def compare_mode(case: dict[str, Any], mode: str, given: Release, architecture: Architecture, images: Tensor) -> Row:
    """Run one mode of one case."""
    expected, trace = case[mode], case.get(f"trace_{mode}", [])
    comparison = Comparison(f"{case['name']} {mode}" + (" and trace" if trace else ""), TOLERANCE)
    network = _network(mode, expected, given, architecture)
    recorded = record(network, given, images)
    comparison.summary("logits", recorded["classifier"], expected)
    for number, stage in enumerate(last_blocks(network, given)):
        output = recorded[stage]
        if "stage_shape" in expected:
            comparison.exact(f"stage {number} shape", list(output.shape), expected["stage_shape"][number])
        if "stage_sum" in expected:
            norm = expected["stage_l2"][number]
            comparison.total(f"stage {number} sum", output.sum(), expected["stage_sum"][number], norm)
        if "stage_l2" in expected:
            comparison.values(f"stage {number} l2", output.norm(), expected["stage_l2"][number])
    if mode == "calibrated_eval":
        _compare_statistics(comparison, network, expected)
    _compare_trace(comparison, recorded, trace)
    return comparison.row()


def _network(mode: str, expected: dict[str, Any], given: Release, architecture: Architecture) -> Network:
    if mode == "train_bn":
        return given.train(architecture)
    network = given.eval(architecture)
    if mode == "calibrated_eval":
        batches = (nasvit_input(each["key"], each["shape"]) for each in expected["calibration_inputs"])
        calibrate(network, batches)
    return network


def _compare_statistics(comparison: Comparison, network: Network, expected: dict[str, Any]) -> None:
    norm = next(module for module in network.stem.modules() if isinstance(module, BatchNorm2d))
    for name in ("running_mean", "running_var"):
        if f"first_conv_{name}_sum" in expected:
            values = getattr(norm, name)
            wanted = expected[f"first_conv_{name}_sum"]
            comparison.total(f"first_conv {name} sum", values.sum(), wanted, float(values.norm()))


def _compare_trace(comparison: Comparison, recorded: dict[str, Tensor], trace: list[dict[str, Any]]) -> None:
    for entry in trace:
        name = entry["at"]
        if name not in recorded:
            comparison.exact(f"{name} is not computed by ours", name, None)
            continue
        output = recorded[name]
        comparison.exact(f"{name} shape", list(output.shape), entry["shape"])
        comparison.values(f"{name} first", output.flatten()[: len(entry["first4"])], entry["first4"])
        comparison.total(f"{name} sum", output.sum(), entry["sum"], entry["l2"])
        comparison.values(f"{name} l2", output.norm(), entry["l2"])


def record(network: Network, given: Release, images: Tensor) -> dict[str, Tensor]:
    """Run ``network`` and return what its parts put out, under the release's names."""
    recorded: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            tokens = isinstance(output, Tensor) and name.rpartition(".")[2] in ("attn", "mlp1", "mlp2")
            recorded[name] = output.flatten(1, 2) if tokens else output

        return hook

    def keep_pool(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        recorded["last_conv.pool"] = inputs[0]

    hooks = [module.register_forward_hook(keep(name)) for name, module in released_parts(network, given)]
    hooks.append(network.head.mix.register_forward_pre_hook(keep_pool))  # type: ignore[union-attr]
    recorded["classifier"] = logits(network, images)
    for hook in hooks:
        hook.remove()
    return recorded


def released_parts(network: Network, given: Release) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of a subnet with the names that the release gives them."""
    yield "first_conv", network.stem
    for number, stage in enumerate(network.stages):
        for position, block in enumerate(stage.children()):
            name = f"blocks.{first_block(given, number) + position}"
            yield name, block
            if isinstance(block, TransformerBlock):
                for branch, ours in (("attn", "attention"), ("mlp1", "mlp1"), ("mlp2", "mlp2")):
                    residual = block.branches[ours]
                    assert isinstance(residual, ResidualBranch)
                    yield f"{name}.{branch}", residual.body
    yield "last_conv.final_expand_layer", network.head.expand  # type: ignore[misc]
    yield "last_conv.feature_mix_layer", network.head.mix  # type: ignore[misc]


def last_blocks(network: Network, given: Release) -> list[str]:
    """Return the released name of the last active block of every stage."""
    depths = [len(list(stage.children())) for stage in network.stages]
    return [f"blocks.{first_block(given, number) + depth - 1}" for number, depth in enumerate(depths)]


def first_block(given: Release, stage: int) -> int:
    """Return the release's number of a stage's first block: it counts the deepest form of every stage."""
    return sum(max(each.depth) for each in given.space.stages[:stage])


def compare_cost(case: dict[str, Any], given: Release, architecture: Architecture, images: Tensor) -> Iterator[Row]:
    """Compare multiply-adds (the release rounds to some ten MACs) and parameters (exactly)."""
    network = given.eval(architecture)
    cost = count(given.supernet.extract(architecture), 3, architecture.resolution, architecture.resolution)
    comparison = Comparison(f"{case['name']} cost", TOLERANCE)
    if "flops_M_upstream" in case:
        comparison.absolute("MACs/1e6", cost.macs / 1e6, case["flops_M_upstream"], 1e-3)
    if "flops_M_profiler_only" in case:
        side = torch.zeros(1, images.shape[1], architecture.resolution, architecture.resolution, dtype=images.dtype)
        outside = conv_linear_macs(network, side, outside=TransformerBlock)
        comparison.absolute("MACs/1e6 outside transformer blocks", outside / 1e6, case["flops_M_profiler_only"], 1e-3)
    if "params_exact" in case:
        comparison.exact("parameters", cost.params, sum(case["params_exact"].values()))
    if comparison.compared:
        yield comparison.row()
