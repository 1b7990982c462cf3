"""NetAug: the tiny network and augmented ones, export, channel sorting, statistics, training step, learning rates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from nasvit.importing import netaug as released
from nasvit.layers import BatchNorm2d, Network
from nasvit.models.plan import ChannelPlan
from nasvit.models.tiny import target
from nasvit.supernets.augmented_family import AugmentedNetwork
from nasvit.supernets.sorting import sort_channels
from nasvit.training.schedule import LearningRate
from tests.parity import compact, streams
from tests.parity.counting import conv_linear_macs
from tests.parity.rows import Comparison, Row

SINGLE_PRECISION = 1e-7  # values that the release computes from float32 targets
ALIASES = {"proxyless": "proxylessnas"}
MODES = {"random": (True, True), "min": (False, False), "min_w": (False, True), "min_e": (True, False)}


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with layouts of a tiny network and of the augmented one."""
    return "aug_layout" in content and "base_layout" in content and "configs" in content


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare everything in the file."""
    case = NetAugCase(content)
    yield case.compare_weights()
    for config in content["configs"]:
        yield case.compare_config(config)
    for name, compare in (
        ("export", case.compare_export),
        ("sort_channels", case.compare_sorting),
        ("reset_bn", case.compare_statistics),
        ("train_step", case.compare_training),
        ("lr_schedule", compare_schedule),
    ):
        if name in content:
            yield compare(content[name])


class NetAugCase:
    """One file: an augmented network with weights by rule.

    Args:
        content: the file.

    Raises:
        ValueError: if the file is of another network than those of the release.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.content, self.model, self.classes = content, content["model"], content["n_classes"]
        self.target = target(ALIASES.get(self.model, self.model))
        widths, expands = content["aug_width_mult_list"], content["aug_expand_list"]
        self.release = released.release(f"netaug_{self.model}", f"NetAug {self.model}", self.target, widths, expands)
        self.base_release = released.base_release(f"tiny_{self.model}", f"exported {self.model}", self.target)
        self.layout = compact.read_layout(content["aug_layout"])
        self.base_layout = compact.read_layout(content["base_layout"])
        self.tensors = compact.weights(content, self.layout)
        self.network = self.fresh()

    def fresh(self, dtype: torch.dtype = torch.float64) -> AugmentedNetwork:
        """Return a new network with the file's weights, in evaluation mode."""
        network = compact.load(self.release, self.tensors, self.classes, dtype)
        assert isinstance(network, AugmentedNetwork)
        return network

    def plan(self, active: dict[str, Any]) -> ChannelPlan:
        """Return the channel plan of the release's active channels."""
        blocks = [channels for block in active["blocks"] for channels in block]
        channels = [active["first_conv"], active["first_block"], *blocks, *active.get("head", [])]
        return ChannelPlan(tuple(channels))

    def compare_weights(self) -> Row:
        """Compare names, shapes, checksum, parameters and MACs."""
        comparison = Comparison("weights and layout", compact.TOLERANCE)
        compact.check_layout(comparison, self.release, self.layout, self.classes)
        compact.check_layout(comparison, self.base_release, self.base_layout, self.classes)
        comparison.exact("weights_sha256", compact.sha256(self.tensors, self.layout), self.content["weights_sha256"])
        comparison.exact("n_keys", len(self.layout), self.content["n_keys"])
        total = sum(parameter.numel() for parameter in self.network.parameters())
        comparison.exact("aug_params_total", total, self.content["aug_params_total"])
        base = self.network.extract()
        counted = sum(parameter.numel() for parameter in base.parameters())
        comparison.exact("base_params", counted, self.content["base_params"])
        comparison.exact("base_params_bn_folded", folded_parameters(base), self.content["base_params_bn_folded"])
        comparison.exact("base_macs", self._macs(base), self.content["base_macs_conv_linear"])
        shortcuts = [bool(block.shortcut) for stage in self.target.stages[1:] for block in stage]
        expected = self.content["stage_block_has_shortcut"]
        comparison.exact("shortcuts", shortcuts[: len(expected)], expected)
        return comparison.row()

    def _macs(self, network: Network) -> int:
        side = self.content["resolution"]
        return conv_linear_macs(network.to("meta").eval(), torch.empty(1, 3, side, side, device="meta"))

    def compare_config(self, config: dict[str, Any]) -> Row:
        """Compare logits and MACs of one configuration, and the channels that its seed draws."""
        comparison = Comparison(f"{config['label']}", compact.TOLERANCE)
        plan = self.plan(config["active"])
        if config["torch_generator_seed"] is not None:
            generator = torch.Generator().manual_seed(config["torch_generator_seed"])
            widths, expands = MODES[config["mode"]]
            drawn = self.network.sample(generator, widths=widths, expands=expands)
            comparison.exact("channels drawn", drawn.channels, plan.channels)
        elif config["mode"] == "min":
            comparison.exact("smallest channels", self.network.base.channels, plan.channels)
        elif config["mode"] == "max":
            comparison.exact("largest channels", self.network.largest_plan.channels, plan.channels)
        self._compare_logits(comparison, self.network.at(plan), config["logits"])
        if "macs_conv_linear" in config:
            comparison.exact("macs", self._macs(self.network.extract(plan)), config["macs_conv_linear"])
        return comparison.row()

    def _compare_logits(self, comparison: Comparison, network: Network, expected: dict[str, Any]) -> None:
        with torch.no_grad():
            output = network.eval()(compact.images(self.content["input"]))
        comparison.summary("logits", output, expected, "row0_first16")

    def compare_export(self, expected: dict[str, Any]) -> Row:
        """Compare the extracted tiny network: logits and the checksum of its tensors."""
        comparison = Comparison("export", compact.TOLERANCE)
        exported = self.network.extract()
        self._compare_logits(comparison, exported, expected["logits"])
        names = compact.released_names(self.base_release, exported)
        state = {names[name]: tensor for name, tensor in exported.state_dict().items()}
        comparison.exact("weights_sha256", compact.sha256(state, self.base_layout), expected["weights_sha256"])
        return comparison.row()

    def compare_sorting(self, expected: dict[str, Any]) -> Row:
        """Compare the tiny network after sorting: its logits, and the checksum of all tensors."""
        comparison = Comparison("sort_channels", compact.TOLERANCE)
        network = self.fresh(torch.float32)  # the release measures importance in float32
        sort_channels(network)
        names = compact.released_names(self.release, network)
        state = {names[name]: tensor for name, tensor in network.state_dict().items()}
        comparison.exact("weights_sha256_after", compact.sha256(state, self.layout), expected["weights_sha256_after"])
        network = network.double()
        self._compare_logits(comparison, network.at(network.base), expected["base_logits_after"])
        images = compact.images(self.content["input"])
        with torch.no_grad():
            before, after = (each.at(each.largest_plan).eval()(images) for each in (self.network, network))
        comparison.values("largest network unchanged", after, before)
        return comparison.row()

    def compare_statistics(self, expected: dict[str, Any]) -> Row:
        """Compare logits of the tiny network after its statistics were taken anew."""
        comparison = Comparison("reset_bn", compact.TOLERANCE)
        network = self.fresh()
        network.calibrate([streams.compact_input(tag, expected["shape"]) for tag in expected["batches"]])
        self._compare_logits(comparison, network.at(network.base), expected["logits"])
        return comparison.row()

    def compare_training(self, expected: dict[str, Any]) -> Row:
        """Compare one step: the tiny network, then an augmented one, gradients added up."""
        comparison = Comparison("train_step", SINGLE_PRECISION)
        network = self.fresh().train()
        network.zero_grad()
        batch = streams.compact_input(expected["input"], expected["shape"])
        labels = torch.tensor(expected["labels"])
        plans = {"base": network.base, "aug": self.plan(expected["aug_active"])}
        for name, norm in (("base", "grad_l2_after_base"), ("aug", "grad_l2_total")):
            loss = F.cross_entropy(network.at(plans[name])(batch), labels, label_smoothing=0.1)
            loss.backward()  # type: ignore[no-untyped-call]
            comparison.values(f"{name}_loss", loss, expected[f"{name}_loss"])
            comparison.values(norm, network.gradients.norm(), expected[norm])
        compact.compare_picks(comparison, compact.gradients(self.release, network), expected["picks"])
        first = next(m for m in network.at(network.largest_plan).modules() if isinstance(m, BatchNorm2d))
        assert first.running_mean is not None
        assert first.running_var is not None
        statistics = expected["first_bn_after"]
        comparison.values("running_mean", first.running_mean.norm(), statistics["running_mean_l2"])
        comparison.values("running_var", first.running_var.sum(), statistics["running_var_sum"])
        comparison.exact("batches", int(first.num_batches_tracked or 0), statistics["nbt"])
        return comparison.row("label smoothing of the release in float32")


def folded_parameters(network: Network) -> int:
    """Return the parameters without those of batch norms, which is what the release counts as folded."""
    total = sum(parameter.numel() for parameter in network.parameters())
    return total - sum(2 * m.num_features for m in network.modules() if isinstance(m, BatchNorm2d))


def compare_schedule(expected: dict[str, Any]) -> Row:
    """Compare learning rates: warm-up from the rate of one process, then a cosine counted from its end."""
    comparison = Comparison("lr_schedule", compact.TOLERANCE)
    base, peak = expected["base_lr"], expected["base_lr"] * expected["world_size"]
    warmup = expected["warmup_epochs"] * expected["iters_per_epoch"]
    steps = expected["n_epochs"] * expected["iters_per_epoch"]
    growing = LearningRate(max(warmup, 1), peak, warmup, base)
    falling = LearningRate(steps, peak)
    for step, rate in expected["lr_at_iter"].items():
        number = int(step)
        ours = growing(number) if number < warmup else falling(number - warmup)
        comparison.values(f"step {step}", ours, rate)
    return comparison.row()
