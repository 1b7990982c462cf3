"""Runtimes in this process: they run what they are given, and say what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import search_spaces
from nasvit.compute import CPU, find_device
from nasvit.costs.latency import exporting
from nasvit.costs.latency.exporting import RUNTIMES, RuntimeName
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.runtimes import InProcessRuntime, file_loader, make_measure, this_device, torch_loader
from nasvit.costs.latency.timed_modules import TimedModule, timed_blocks, timed_network
from nasvit.costs.latency.timers import timer_on

QUICK = NoisePolicy(warm_up=1, repeats=2, least_ms=0)


class Watched(nn.Module):
    """Notes how it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((tuple(x.shape), torch.is_inference_mode_enabled(), torch.get_num_threads()))
        return x


def test_torch_runs_without_gradients_on_as_many_threads_as_asked_for_and_puts_them_back(tmp_path: Path) -> None:
    before, watched = torch.get_num_threads(), Watched()
    module = TimedModule("watched", (2, 3, 4, 4), lambda: watched)
    timing = make_measure("torch", command=None, threads=2, folder=tmp_path, policy=QUICK, yardstick=module)(module)
    assert set(watched.seen) == {((2, 3, 4, 4), True, 2)}
    assert torch.get_num_threads() == before
    assert timing.milliseconds > 0
    assert timing.yardstick is not None


def test_one_thread_is_timed_by_its_own_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    processor, wall = iter(range(0, 10**9, 1_000_000)), iter(range(0, 10**12, 1_000_000_000))
    monkeypatch.setattr("time.thread_time_ns", lambda: next(processor))
    monkeypatch.setattr("time.perf_counter_ns", lambda: next(wall))
    module = TimedModule("nothing", (1,), nn.Identity)
    load, timers = (lambda _: lambda: None), [timer_on(CPU, threads) for threads in (1, 2)]
    times = [InProcessRuntime(load, module, QUICK, timer)(module) for timer in timers]
    assert [timing.milliseconds for timing in times] == [1.0, 1000.0]


def test_a_missing_package_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(type(exporting.RUNTIMES["onnxruntime"]), "packages", ("no_such_package",))
    message = r"--runtime onnxruntime: format onnx needs no_such_package, .* pip install 'nasvit\[export\]'"
    with pytest.raises(ImportError, match=message):
        file_loader("onnxruntime", tmp_path, 1)


def test_a_file_that_was_exported_in_part_is_exported_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(module: nn.Module, path: Path, *how: Any) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    module = TimedModule("block 1-2", (1, 1, 4, 4), lambda: nn.Conv2d(1, 2, 1))
    with monkeypatch.context() as patch:
        patch.setattr(exporting.RUNTIMES["torch"], "write", broken)
        with pytest.raises(KeyboardInterrupt):
            exporting.exported(module, tmp_path, "torch")
    path = exporting.exported(module, tmp_path, "torch")
    assert path == tmp_path / "block-1-2.pt2"
    torch.export.load(path)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_files_compute_what_the_plain_blocks_compute(runtime: RuntimeName, tmp_path: Path) -> None:
    for package in RUNTIMES[runtime].needs(writing=True):
        pytest.importorskip(package)
    space = search_spaces.load("micro8")
    blocks = timed_blocks(space, 10, 2)
    for module in (blocks[0], blocks[20], blocks[45], blocks[-1]):
        computed = file_loader(runtime, tmp_path, threads=1)(module)()
        expected = module.make()(exporting.example(module.shape)).detach().numpy()
        np.testing.assert_allclose(computed[0], expected, atol=1e-4)  # type: ignore[index]
    assert not list(tmp_path.glob("unfinished*"))


@pytest.mark.parametrize("runtime", [name for name, format in RUNTIMES.items() if format.quantizes_with])
def test_blocks_are_timed_as_integers(runtime: RuntimeName, tmp_path: Path) -> None:
    for package in RUNTIMES[runtime].needs(writing=True, int8=True):
        pytest.importorskip(package)
    block = timed_blocks(search_spaces.load("micro8"), 10, 1)[20]
    measure = make_measure(
        runtime, command=None, threads=1, folder=tmp_path, policy=QUICK, yardstick=block, precision="int8"
    )
    assert measure(block).milliseconds > 0
    computed = file_loader(runtime, tmp_path, 1, "int8")(block)()[0]  # type: ignore[index]
    expected = block.make()(exporting.example(block.shape)).detach().numpy()
    assert 0 < abs(computed - expected).max() < 0.1 * abs(expected).max()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_modules_run_in_the_precision_asked_for(precision: Any) -> None:
    space = search_spaces.load("nasvit")
    blocks = timed_blocks(space, 10, 1)
    transformer = next(block for block in blocks if block.name.startswith("transformer"))
    for block in (blocks[0], transformer, blocks[-1]):
        result = torch_loader(precision=precision)(block)()
        assert isinstance(result, torch.Tensor) and result.dtype == getattr(torch, precision), block.name
        assert torch.isfinite(result).all()


def test_modules_and_images_are_put_on_the_device_in_one_layout() -> None:
    seen: list[tuple[str, bool]] = []

    class Convolution(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for each in (x, self.weight):
                seen.append((each.device.type, each.is_contiguous(memory_format=torch.channels_last)))
            return super().forward(x)

    module = TimedModule("convolution", (2, 3, 4, 4), lambda: Convolution(3, 3, 3))
    torch_loader(torch.device("meta"))(module)()
    assert seen == [("meta", True), ("meta", True)]


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="this machine has no accelerator")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_this_machines_accelerator_is_timed(precision: Any, tmp_path: Path) -> None:
    space = search_spaces.load("micro8")
    measure = make_measure(
        "torch",
        command=None,
        threads=1,
        folder=tmp_path,
        policy=NoisePolicy(),
        yardstick=timed_blocks(space, 10, 1)[0],
        device=find_device("auto"),
        precision=precision,
    )
    timing = measure(timed_network(space, space.smallest, 10, 1))
    assert timing.milliseconds > 0 and timing.yardstick is not None


def test_this_device_has_a_name() -> None:
    assert this_device().strip()
