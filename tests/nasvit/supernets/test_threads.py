"""Threads that choose, calibrate and run subnets of one network at once get what each would get alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import timm
import torch

import nasvit
import search_spaces


@pytest.fixture(autouse=True)
def hurried() -> Iterator[None]:
    """Let threads take over from each other as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def of_timm() -> nasvit.ElasticModel:
    return nasvit.elasticize(timm.create_model("test_resnet", num_classes=3), torch.zeros(3, 32, 32))


NETWORKS: dict[str, Callable[[], Any]] = {
    "a space": lambda: nasvit.Supernet(search_spaces.load("micro8"), 3),
    "any network": of_timm,
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_subnets_in_threads_are_those_of_one_thread(make: Callable[[], Any]) -> None:
    network, rng = make(), np.random.default_rng(0)
    architectures = [network.space.sample(rng) for _ in range(4)]
    side = network.space.largest.resolution
    images = torch.rand(4, 1 if side == 8 else 3, side, side)

    def scores(architecture: Any) -> torch.Tensor:
        subnet = nasvit.calibrate(network.at(architecture), [images]).eval()
        with torch.no_grad():
            found: torch.Tensor = subnet(images)
        return found

    alone = list(map(scores, architectures))
    for _ in range(2):
        network.forget()  # so that the first use of the views is in threads, too
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(scores, architectures * 2))
        assert all(torch.equal(*pair) for pair in zip(alone * 2, together, strict=True))


def test_another_number_of_threads_within_an_operation_changes_scores_by_rounding_alone() -> None:
    network = of_timm()
    subnet = network.at(network.space.largest).eval()
    images, before = torch.rand(8, 3, 64, 64), torch.get_num_threads()
    scores = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with torch.no_grad():
                scores.append(subnet(images))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-5)
