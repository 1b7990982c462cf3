"""The loading benchmark compares like with like."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.benchmarks import loading
from experiments.benchmarks.loading import Settings

SMALL = Settings(photos="digits", count=64, batch_size=16, batches=3, workers=(0,), turns=1)


def test_both_loaders_serve_the_same_photos_in_the_same_range(tmp_path: Path) -> None:
    torch.manual_seed(0)
    loading.write_photos(tmp_path, SMALL)
    ours = list(loading.ours(tmp_path, SMALL, 0).batches(0))
    timm = list(loading.theirs(tmp_path, SMALL, 0))
    assert len(ours) == len(timm) == 4
    images = [torch.cat([pixels for pixels, _ in batches]) for batches in (ours, timm)]
    assert images[0].shape == images[1].shape == (64, 3, 224, 224)
    assert abs(images[0].mean() - images[1].mean()) < 0.3 and abs(images[0].std() / images[1].std() - 1) < 0.2
    labels = [torch.cat([targets for _, targets in batches]).sort().values for batches in (ours, timm)]
    assert torch.equal(*labels)


def test_memory_is_watched_from_listing_to_the_last_batch(tmp_path: Path) -> None:
    loading.write_small(tmp_path, 2000)
    found = loading.watch(Settings(only=tmp_path, batches=3, workers=(1,)))
    assert found["peak_mb"] > 50 and found["worker_peak_mb"] > 50 and found["list_seconds"] > 0


def test_a_rate_leaves_the_first_batch_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("experiments.benchmarks.loading.time.perf_counter", lambda: next(clock))
    batch = torch.zeros(5, 3), torch.zeros(5)
    assert loading.rate([batch] * 4) == 15 / 2
