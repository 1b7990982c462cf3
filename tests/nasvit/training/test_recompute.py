"""Blocks that are computed again in the backward pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nasvit.layers.alive import AliveTensors
from nasvit.layers.calibration import track_statistics
from nasvit.layers.fake_quantize import fake_quantize
from nasvit.specs import TimmSpec
from nasvit.supernets.supernet import build_subnet
from nasvit.training.execution import PLAIN, Execution, Running
from nasvit.training.learner import Learner
from nasvit.training.recompute import Recomputed, blocks_of
from search_spaces.recipe import Recipe
from tests.nasvit.training.jointly import DROPPED, KINDS, Kind
from tests.nasvit.training.short import SHALLOW, loader_of, state_of

AGAIN = replace(PLAIN, recompute=True)


def rounding(recipe: Recipe) -> Learner:
    """A network that rounds its weights and activations, whose ranges follow its maps."""
    network = build_subnet(SHALLOW, SHALLOW.largest, 10)
    track_statistics(network)
    return Learner(fake_quantize(network), recipe)


TRIED = {name: KINDS[name] for name in ("dropped_subnets", "dropped_network", "netaug", "timm")}
TRIED["rounding"] = Kind(rounding, DROPPED)


@pytest.mark.parametrize("kind", TRIED)
def test_gradients_statistics_and_masks_are_those_of_a_step_that_keeps_everything_and_less_is_alive(kind: str) -> None:
    found, most = [], []
    for running in (PLAIN, AGAIN):
        learner = TRIED[kind].learner(TRIED[kind].recipe)
        images, targets = loader_of(TRIED[kind].recipe).batch(0, 0)
        images = images.to(next(learner.model.parameters()).dtype)
        alive = AliveTensors()
        alive.ignore([*learner.model.parameters(), *learner.model.buffers(), learner.gradients.rows])
        for step in range(2):
            torch.manual_seed(step)
            with alive:
                learner.add_gradients(images, targets, np.random.default_rng(0), Execution(running))
        found.append(state_of(learner.model) | {"gradients": learner.gradients.rows})
        most.append(alive.peak)
    assert found[0]["gradients"].abs().max() > 0
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())
    assert most[1] < 0.6 * most[0]  # with all that a block has while it is computed again: what is kept is under a half


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet10t", 5), ("efficientnet_lite0", 19), ("vit_tiny_patch16_224", 13), ("convnext_atto", 13)],
)
def test_the_blocks_of_any_network_are_found_inside_its_stages(name: str, count: int) -> None:
    with torch.device("meta"):
        network = TimmSpec(name, 3).build(10)
    assert len(blocks_of(network)) == count


def test_a_network_is_what_it_was_after_a_call_and_computes_once_where_nothing_is_learned() -> None:
    network = build_subnet(SHALLOW, SHALLOW.largest, 10).eval()
    track_statistics(network)
    again, images = Recomputed(network.eval()), torch.randn(2, 1, 8, 8)
    again.blocks[0].forward = own = again.blocks[0].forward  # type: ignore[method-assign]
    assert torch.equal(again(images), network(images))
    with torch.no_grad():
        assert torch.equal(again(images), network(images))
    assert again.blocks[0].__dict__["forward"] is own
    assert not any("forward" in block.__dict__ for block in again.blocks[1:])


def test_what_cannot_be_computed_again_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="recompute: Linear has no blocks.*; leave recompute out, or split batches"):
        Recomputed(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="recompute: what is compiled decides by itself"):
        Running(compile=True, recompute=True)
