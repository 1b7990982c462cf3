"""Networks in segments: everything is in one, and each runs alone as it runs in the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasvit.costs.latency.exporting import RUNTIMES, example, exported
from nasvit.costs.latency.recording import record
from nasvit.costs.latency.runtimes import file_loader, torch_loader
from nasvit.costs.latency.segments import Segment, segments_of
from tests.nasvit.any_network import networks
from tests.nasvit.any_network.networks import Classifying, Residual, conv

SHAPE = (2, 3, 8, 8)


def segments(network: nn.Module, *blocks: str) -> list[Segment]:
    return [*segments_of(record(network.eval(), SHAPE, frozenset(blocks)))]


def functions(segment: Segment) -> str:
    return segment.timed.name.partition(" of ")[0]


def test_a_segment_is_a_layer_with_what_follows_it() -> None:
    found = segments(Classifying(conv(8, 6), out=6))
    assert [(each.place, functions(each)) for each in found] == [
        ("stem.0", "conv2d batch_norm relu"),
        ("middle.0", "conv2d batch_norm relu mean"),
        ("head", "linear"),
    ]
    assert [each.timed.shape for each in found] == [(2, 3, 8, 8), (2, 8, 8, 8), (2, 6)]


def test_blocks_begin_and_end_segments() -> None:
    middle = nn.Sequential(Residual(8, 6), Residual(8, 4))
    found = segments(Classifying(middle), "middle.0", "middle.1")
    assert [each.block for each in found] == ["", "middle.0", "middle.0", "middle.1", "middle.1", "", ""]
    assert functions(found[4]) == "conv2d add"
    assert functions(found[5]) == "mean"
    assert functions(segments(Classifying(middle))[4]) == "conv2d add mean"


def test_a_segment_computes_what_the_layers_in_it_compute() -> None:
    network = Classifying(conv(8, 6), out=6).eval()
    part = segments(network)[1].timed.make()
    layers: nn.Sequential = network.middle  # type: ignore[assignment]
    state = layers.state_dict()
    held = ["0.weight", "0.bias", "1.running_mean", "1.running_var", "1.weight", "1.bias"]  # in the order of use
    numbers = dict(zip((name for name, _ in _held(part)), held, strict=True))
    part.load_state_dict({name: state[key] for name, key in numbers.items()})
    image = torch.randn(2, 8, 8, 8)
    assert torch.equal(part(image)[0], layers(image).mean((2, 3)))


def _held(part: nn.Module) -> list[tuple[str, Tensor]]:
    return sorted(part.state_dict().items(), key=lambda each: int(each[0].removeprefix("tensor")))


def test_equal_layers_are_one_segment_wherever_they_are_and_different_ones_are_not() -> None:
    names = [each.timed.name for each in segments(Classifying(nn.Sequential(conv(8, 8), conv(8, 8), conv(8, 8, 1))))]
    assert names[1] == names[2]
    assert names[2] != names[3]
    assert len({*names}) == 4
    wider = [each.timed.name for each in segments(Classifying(nn.Sequential(conv(8, 16), conv(16, 8))))]
    assert not {*names[1:3]} & {*wider[1:3]}


def test_maps_lie_in_memory_as_the_runtime_has_them() -> None:
    seen: list[bool] = []
    found = segments(Classifying(conv(8, 6), out=6))[1].timed
    module = found.make()
    module.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    load = torch_loader()
    load(type(found)(found.name, found.shape, lambda: module, found.stride))()
    assert seen == [True]


def test_recording_leaves_the_network_as_it_was() -> None:
    network = Classifying(networks.Looked()).eval()
    image = torch.randn(SHAPE)
    before, kept = network(image), {name: tensor.clone() for name, tensor in network.state_dict().items()}
    segments(network)
    assert torch.equal(network(image), before)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())


MIDDLES: dict[str, Callable[[], nn.Module]] = {
    "shuffle": lambda: Classifying(networks.Shuffle(), out=6),
    "halves": lambda: Classifying(networks.Halves()),
    "written through a view": lambda: Classifying(networks.Written()),
    "filled slice by slice": lambda: Classifying(networks.Filled()),
    "grouped": lambda: Classifying(networks.Grouped()),
    "u-net": lambda: Classifying(networks.UNet()),
    "gated": lambda: Classifying(networks.Gated()),
    "einsum": lambda: Classifying(networks.Einsum()),
    "twice": lambda: Classifying(networks.Twice()),
    "recurrent": lambda: Classifying(networks.Recurrent()),
    "looked up": lambda: Classifying(networks.Looked()),
    "attention": lambda: Classifying(networks.Attending()),
    "a gradient of its own": lambda: Classifying(networks.OwnGradient()),
    "checkpointed": lambda: Classifying(networks.Checkpointed()),
    "a dictionary": networks.Returning,
    "of pytorch": lambda: Classifying(OfPytorch()),
}


class OfPytorch(nn.Module):
    """PyTorch's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).transpose(1, 2)
        return self.attention(rows, rows, rows)[0].transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("name", MIDDLES)
@torch.inference_mode()
def test_every_segment_runs_alone(name: str) -> None:
    found = segments(MIDDLES[name]())
    assert len({each.place for each in found}) == len(found)
    for each in found:
        result = torch_loader()(each.timed)()
        assert all(tensor.isfinite().all() for tensor in torch.utils._pytree.tree_leaves(result))


def test_a_segment_can_be_exported_with_all_that_it_computes(tmp_path: Path) -> None:
    timed = segments(Classifying(nn.Sequential(Residual(8, 6))))[2].timed
    program = torch.export.load(exported(timed, tmp_path, "torch")).module()
    module, image = timed.make(), torch.randn(timed.shape)
    for one, other in zip(program(image), module(image), strict=True):
        torch.testing.assert_close(one, other)
    assert len(module(image)) == 1


def test_code_that_needs_numbers_is_refused_in_words() -> None:
    class Looking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum().item() > 0 else -x

    with pytest.raises(ValueError, match="Looking cannot be taken apart, as its code does not run on tensors without"):
        segments(Looking())


@pytest.mark.parametrize("name", ["attention", "u-net"])
def test_onnx_runtime_computes_what_segments_compute(name: str, tmp_path: Path) -> None:
    for package in RUNTIMES["onnxruntime"].needs(writing=True):
        pytest.importorskip(package)
    for each in segments(MIDDLES[name]()):
        computed = file_loader("onnxruntime", tmp_path, threads=1)(each.timed)()
        with torch.no_grad():
            expected = each.timed.make()(example(each.timed.shape))
        for one, other in zip(computed, expected, strict=True):  # type: ignore[call-overload]
            assert abs(one - other.numpy()).max() < 1e-4
