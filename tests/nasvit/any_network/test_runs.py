"""Which blocks can be left out, and which kernels cropped."""

from __future__ import annotations

import torch
from torch import nn

from nasvit.any_network.plan import plan_of
from tests.nasvit.any_network.networks import Classifying, Residual, conv


def runs(middle, out=None):
    plan = plan_of(Classifying(middle, out=out).eval(), torch.zeros(1, 3, 8, 8))
    return {run.name: (run.blocks, run.fewest) for run in plan.runs}


def names(*numbers):
    return tuple(f"middle.{number}" for number in numbers)


def test_all_but_the_first_of_residual_blocks_can_be_left_out():
    assert runs(nn.Sequential(*(Residual(8, 6) for _ in range(3)))) == {"middle": (names(0, 1, 2), 1)}


def test_blocks_before_others_are_a_run_of_their_own():
    middle = nn.Sequential(Residual(8, 6), Residual(8, 6), conv(8, 10), Residual(10, 6), Residual(10, 6))
    assert runs(middle, out=10) == {"middle": (names(0, 1), 1), "middle[2]": (names(2, 3, 4), 1)}


def test_what_adds_nothing_to_what_it_takes_stays():
    assert runs(nn.Sequential(conv(8, 8), conv(8, 8))) == {}


class Around(nn.Module):
    """Adds something at its beginning, and holds blocks: it is not one of them."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 8, 1, 1))
        self.blocks = nn.Sequential(Residual(8, 6), Residual(8, 6))
        self.last = nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, x):
        return self.last(self.blocks(x + self.position))


def test_a_module_around_blocks_is_no_block():
    assert list(runs(Around())) == ["middle.blocks"]


class Afterwards(nn.Module):
    """A block that does something to the sum."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, x):
        return self.last(x + self.inner(x))


def test_one_of_many_blocks_may_do_something_to_the_sum():
    assert runs(nn.Sequential(Afterwards(), Afterwards())) == {"middle": (names(0, 1), 1)}


def test_kernels_of_depthwise_convolutions_can_be_cropped():
    middle = nn.Sequential(nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.Conv2d(8, 8, 5, padding=2))
    plan = plan_of(Classifying(middle).eval(), torch.zeros(1, 3, 8, 8))
    assert plan.kernels == {"middle.0": 5}
