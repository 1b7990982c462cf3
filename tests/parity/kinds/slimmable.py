"""Slimmable, universally slimmable and AutoSlim networks at every switch: logits, costs, training, calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.importing import slimmable as released
from nasvit.importing.releases import Release
from nasvit.layers import BatchNorm2d, Network
from nasvit.layers.calibration import track_statistics
from nasvit.models.catalog import mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1
from nasvit.models.family import Family
from nasvit.supernets.slimmable import SlimmableNetwork, Width
from nasvit.tasks.distillation import SoftTargetCrossEntropy
from nasvit.training.conflict import Sum
from nasvit.training.sampling import Member
from nasvit.training.step import shared_step
from tests.parity import compact
from tests.parity.counting import conv_linear_macs
from tests.parity.rows import Comparison, Row

MODULES = ("models.s_", "models.us_", "models.autoslim_")


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases that name a module of the release and list switches."""
    return "switches" in content and str(content.get("module", "")).startswith(MODULES)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare everything in the file."""
    case = SlimmableCase(content)
    yield case.compare_weights()
    for number, switch in enumerate(content["switches"]):
        yield case.compare_switch(number, switch)
    for name, compare in (
        ("train_step", case.compare_training),
        ("us_train_step", case.compare_training),
        ("bn_calibration", case.compare_calibration),
        ("us_bn_calibration", case.compare_universal_calibration),
    ):
        if name in content:
            yield compare(name, content[name])


def network_family(name: str, flags: dict[str, Any]) -> Family:
    """Return the family of a module of the release, such as ``mobilenet_v2``.

    Raises:
        ValueError: if there is none, or a flag asks for something else.
    """
    if flags.get("width_compress", 4) != 4:
        raise ValueError(f"width_compress={flags['width_compress']}; ShuffleNet v1 here has 4")
    if max(flags.get("width_mult_range", [1.0])) != 1.0:
        raise ValueError("a width range that does not end at 1: the release computes no such network")
    families: dict[str, Callable[[], Family]] = {
        "mobilenet_v1": mobilenet_v1,
        "mobilenet_v2": mobilenet_v2,
        "mnasnet": mnasnet,
        "shufflenet": lambda: shufflenet_v1(flags.get("groups", 3)),
    }
    if name.startswith("resnet"):
        return resnet(flags.get("depth", 50))
    if name not in families:
        raise ValueError(f"module {name!r} is unknown; known: {', '.join(families)}, resnet")
    return families[name]()


def release(module: str, flags: dict[str, Any]) -> tuple[Release, dict[Any, Width]]:
    """Return the importer's release of a module, and our width for each width of its list."""
    kind, _, name = module.removeprefix("models.").partition("_")
    networks = network_family(name, flags)
    listed = flags["width_mult_list"]
    widths: dict[Any, Width] = {width: width for width in listed}
    if kind == "autoslim":
        plans = [released.released_plan(networks, numbers) for numbers in flags["channel_num_list"]]
        widths = dict(zip(listed, plans, strict=True))
    norm = "universal" if kind == "us" else "switchable"
    head_norm = "switchable" if kind == "autoslim" else None

    def build(classes: int) -> SlimmableNetwork:
        return SlimmableNetwork(networks, list(widths.values()), classes, norm=norm, head_norm=head_norm)  # type: ignore[arg-type]

    return released.release(f"{kind}_{name}", f"the released {module}", build), widths


class SlimmableCase:
    """One file: a network with weights by rule.

    Args:
        content: the file.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.classes = content["num_classes"]
        self.release, self.widths = release(content["module"], content["flags"])
        self.layout = compact.read_layout(content["layout"])
        self.tensors = compact.weights(content, self.layout)
        self.network = self.fresh()

    def fresh(self) -> SlimmableNetwork:
        """Return a new network in float64 with the file's weights, in evaluation mode."""
        network = compact.load(self.release, self.tensors, self.classes)
        assert isinstance(network, SlimmableNetwork)
        return network

    def width(self, width: Any) -> Width:
        """Return our width for one of the file: that of its list, or any other."""
        return self.widths[width] if width in self.widths else float(width)

    def compare_weights(self) -> Row:
        """Compare names, shapes, checksum and number of parameters."""
        comparison = Comparison("weights and layout", compact.TOLERANCE)
        compact.check_layout(comparison, self.release, self.layout, self.classes)
        comparison.exact("weights_sha256", compact.sha256(self.tensors, self.layout), self.content["weights_sha256"])
        comparison.exact("n_keys", len(self.layout), self.content["n_keys"])
        total = sum(parameter.numel() for parameter in self.network.parameters())
        comparison.exact("params_total", total, self.content["params_total"])
        return comparison.row()

    def compare_switch(self, number: int, expected: dict[str, Any]) -> Row:
        """Compare logits and costs of one switch."""
        comparison = Comparison(f"switch {expected['width']}", compact.TOLERANCE)
        width = self.width(expected["width"])
        subnet = self.network.at(width)
        self._compare_logits(comparison, self.network, expected["width"], expected["logits"])
        macs, pooled = count(self.network.extract(width), 224)
        if "conv_linear_macs_224" in expected:
            comparison.exact("conv_linear_macs_224", macs, expected["conv_linear_macs_224"])
        comparison.exact("profiler_macs_224", macs + pooled, expected["profiler_macs_224"])
        active = sum(parameter.numel() for parameter in subnet.parameters())
        comparison.exact("active_params", active, expected["active_params"])
        everything = sum(p.numel() for n, p in self.network.named_parameters() if ".norm." not in n)
        comparison.exact("profiler_params", everything, expected["profiler_params"])
        return comparison.row()

    def _compare_logits(
        self, comparison: Comparison, network: SlimmableNetwork, width: Any, expected: dict[str, Any]
    ) -> None:
        with torch.no_grad():
            output = network.at(self.width(width)).eval()(compact.images(self.content["input"]))
        comparison.summary(f"{width}", output, expected, "row0_first16")

    def compare_training(self, name: str, expected: dict[str, Any]) -> Row:
        """Compare one training step: losses, gradients, statistics, and the logits after the optimizer's step."""
        comparison = Comparison(name, compact.TOLERANCE)
        network = self.fresh().train()
        network.zero_grad()
        batch = compact.images(expected["input"])
        losses = train(network, batch, torch.tensor(expected["labels"]), self._plan_of_losses(expected), name)
        comparison.values("losses", losses, [loss for _, loss in expected["losses"]])
        self._compare_gradients(comparison, network, expected["grads"])
        for statistics in expected.get("first_bn_after", []):
            self._compare_statistics(comparison, network, statistics)
        if "optimizer" in expected:
            optimizer(network, expected["optimizer"]).step()
        for width, logits in expected.get("post_step_eval_logits", []):
            self._compare_logits(comparison, network, width, logits)
        return comparison.row()

    def _plan_of_losses(self, expected: dict[str, Any]) -> list[Width]:
        return [self.width(width) for width, _ in expected["losses"]]

    def _compare_gradients(self, comparison: Comparison, network: SlimmableNetwork, expected: dict[str, Any]) -> None:
        found = compact.gradients(self.release, network)
        compact.compare_picks(comparison, found, expected["picks"])
        comparison.values("total_l2", network.gradients.norm(), expected["total_l2"])
        comparison.exact("params_with_grad", sum(bool(g.any()) for g in found.values()), expected["params_with_grad"])

    def _compare_statistics(self, comparison: Comparison, network: SlimmableNetwork, expected: dict[str, Any]) -> None:
        subnet = network.at(network.widths[expected["idx"]])
        norm = next(module for module in subnet.modules() if isinstance(module, BatchNorm2d))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        comparison.values("running_mean", norm.running_mean.norm(), expected["running_mean_l2"])
        comparison.values("running_var", norm.running_var.sum(), expected["running_var_sum"])
        comparison.exact("batches", int(norm.num_batches_tracked or 0), expected["nbt"])

    def compare_calibration(self, name: str, expected: dict[str, Any]) -> Row:
        """Compare logits after statistics were taken anew."""
        comparison = Comparison(name, compact.TOLERANCE)
        network = self.fresh()
        widths = [self.width(width) for width, _ in expected["logits"]]
        network.calibrate([compact.images(batch) for batch in expected["batches"]], widths)
        for width, logits in expected["logits"]:
            self._compare_logits(comparison, network, width, logits)
        return comparison.row()

    def compare_universal_calibration(self, name: str, expected: dict[str, Any]) -> Row:
        """Compare logits after statistics were taken of one batch, also at widths never listed."""
        return self.compare_calibration(name, {"batches": [expected["batch"]], "logits": expected["logits"]})


def train(network: SlimmableNetwork, images: Tensor, labels: Tensor, widths: list[Width], name: str) -> list[Tensor]:
    """Add the gradients of one step, by the training step of our supernets, and return the losses.

    All widths learn from the labels, or, in a universally slimmable network, all but the first from its scores.
    """

    def hard(scores: Tensor, _: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels)

    distill = SoftTargetCrossEntropy() if name.startswith("us_") else hard
    members = [Member(width) for width in widths]
    step = shared_step(
        network, images, labels, members=members, criterion=F.cross_entropy, distill=distill, conflict=Sum()
    )
    return [step.first, *step.others]


def optimizer(network: SlimmableNetwork, given: dict[str, Any]) -> torch.optim.Optimizer:
    """Return the optimizer of a case; vectors and depthwise convolutions do not decay."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in network.parameters():
        plain = parameter.dim() == 1 or (parameter.dim() == 4 and parameter.shape[1] == 1)
        (kept if plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": given["wd"]}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=given["lr"], momentum=given["momentum"], nesterov=given["nesterov"])


def count(network: Network, side: int) -> tuple[int, int]:
    """Return the multiply-adds of convolutions and linear layers, and the numbers that average pooling reads.

    The release's profiler adds the latter.

    Args:
        network: an independent network.
        side: side of the images, in pixels.
    """
    track_statistics(network)
    network = network.to("meta").eval()
    pooled = 0

    def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal pooled
        pooled += inputs[0].numel()

    hooks = [m.register_forward_pre_hook(read) for m in network.modules() if isinstance(m, nn.AvgPool2d)]
    last = network.head.expand
    if isinstance(last, nn.Module):
        hooks.append(last.register_forward_hook(lambda m, i, output: read(m, (output,))))
    else:
        hooks.append(network.head.register_forward_pre_hook(read))
    macs = conv_linear_macs(network, torch.empty(1, 3, side, side, device="meta"))
    for hook in hooks:
        hook.remove()
    return macs, pooled
