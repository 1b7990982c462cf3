"""Training recipes: label smoothing, distillation losses, LAMB, cosine learning rate, moving average."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.tasks.distillation import KLDivergence, SoftTargetCrossEntropy
from nasvit.tasks.losses import SmoothedCrossEntropy
from nasvit.training.ema import MovingAverage
from nasvit.training.optimizers import build_optimizer
from nasvit.training.schedule import LearningRate
from tests.parity.rows import Comparison, Row
from tests.parity.streams import uniform

TOLERANCE = 1e-9
SINGLE_PRECISION = 1e-7  # values that the release computes from float32 targets
LAMB_SCALE = 0.5
LAMB_SHAPES = {"w": (6, 5), "b": (6,)}


@dataclass(frozen=True)
class LambRecipe:
    """What the optimizer is built from."""

    learning_rate: float
    weight_decay: float
    optimizer: str = "lamb"


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with losses and an optimizer's steps."""
    return {"losses", "lamb", "cosine", "ema", "label_smoothing_eps"} <= content.keys()


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every part of the recipe."""
    yield compare_losses(content)
    yield compare_lamb(content["tag"], content["lamb"])
    yield compare_cosine(content["cosine"])
    yield compare_average(content["ema"])


def noise(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
    """Return a tensor of the recipe cases, in float64."""
    count = torch.Size(shape).numel()
    return torch.from_numpy(scale * (2 * uniform(name, count) - 1)).reshape(shape)


def compare_losses(content: dict[str, Any]) -> Row:
    """Compare the losses of one batch of logits."""
    comparison = Comparison("losses", TOLERANCE)
    inputs, expected, smoothing = content["inputs"], content["losses"], content["label_smoothing_eps"]
    shape = tuple(inputs["shape"])
    scale = float(inputs["rule"].rpartition("scale=")[2])
    student, teacher = (noise(inputs[name], shape, scale) for name in ("student", "teacher"))
    labels = torch.tensor(inputs["labels"])
    smoothed = F.cross_entropy(student, labels, label_smoothing=smoothing)
    soft = SoftTargetCrossEntropy()(student, teacher)
    comparison.values("ce", F.cross_entropy(student, labels), expected["ce"])
    for name in ("ls_timm", "ls_torch", "ls_netaug"):
        comparison.values(name, smoothed, expected[name], SINGLE_PRECISION if name == "ls_netaug" else None)
    comparison.values("ls_slimmable", SmoothedCrossEntropy(smoothing)(student, labels), expected["ls_slimmable"])
    for name in ("soft_ce_slimmable", "kd_ghostnetv3_train_py"):
        comparison.values(name, soft, expected[name])
    for temperature, loss in expected["kl_tau"].items():
        ours = KLDivergence(float(temperature))(student, teacher) / float(temperature) ** 2
        comparison.values(f"kl at temperature {temperature}", ours, loss)
    return comparison.row("float32 targets of the release in ls_netaug")


def compare_lamb(tag: str, expected: dict[str, Any]) -> Row:
    """Compare norms and sums of two parameters after every step of LAMB."""
    comparison = Comparison("LAMB", TOLERANCE)
    layer = nn.Module()
    for name, shape in LAMB_SHAPES.items():
        setattr(layer, name, nn.Parameter(noise(f"recipe:{tag}:lamb_{name}", shape, LAMB_SCALE)))
    parameters = dict(layer.named_parameters())
    named = [("w", parameters["w"]), ("norm.b", parameters["b"])]  # vectors are a group of their own
    optimizer = build_optimizer(named, LambRecipe(expected["lr"], expected["wd_w"]))
    optimizer.param_groups[1]["weight_decay"] = expected["wd_b"]
    # A training step of ours clips gradients; here LAMB itself does it, as in the release.
    optimizer.defaults["max_grad_norm"] = expected["defaults"]["max_grad_norm"]
    for number, after in enumerate(expected["after_step"]):
        for name, parameter in parameters.items():
            parameter.grad = noise(f"recipe:{tag}:lamb_g{name}{number}", LAMB_SHAPES[name], 1.0)
        optimizer.step()
        for name, parameter in parameters.items():
            comparison.values(f"step {number} {name} l2", parameter.norm(), after[f"{name}_l2"])
            comparison.total(f"step {number} {name} sum", parameter.sum(), after[f"{name}_sum"], after[f"{name}_l2"])
    return comparison.row()


def compare_cosine(expected: dict[str, Any]) -> Row:
    """Compare learning rates; the settings stand in the file's description."""
    comparison = Comparison("cosine", TOLERANCE)
    settings = dict(word.split("=") for word in expected["impl"].replace("(", " ").split() if "=" in word)
    rate = LearningRate(
        int(settings["t_initial"]),
        float(settings["lr"]),
        int(settings["warmup_t"]),
        float(settings["warmup_lr_init"]),
        float(settings["lr_min"]),
    )
    for epoch, wanted in expected["lr_at_epoch"].items():
        comparison.values(f"epoch {epoch}", rate(int(epoch)), wanted)
    return comparison.row()


def compare_average(expected: dict[str, Any]) -> Row:
    """Compare a moving average after some updates."""
    comparison = Comparison("moving average", TOLERANCE)
    shape = (len(expected["result"]),)
    layer = nn.Module()
    layer.weight = nn.Parameter(noise(expected["start"], shape, 1.0))
    average = MovingAverage(layer, expected["decay"], warmup=False)
    for name in expected["updates"]:
        with torch.no_grad():
            layer.weight.copy_(noise(name, shape, 1.0))
        average.update(layer)
    weight = average.model.weight
    assert isinstance(weight, Tensor)
    comparison.values("average", weight, expected["result"])
    return comparison.row()
