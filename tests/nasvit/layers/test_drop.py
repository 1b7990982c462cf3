"""DropBlock: how much of a map is dropped, in which shape, and what is left scaled to."""

from __future__ import annotations

import torch

from nasvit.layers import MBConv
from nasvit.layers.drop import Drop, DropBlock
from nasvit.layers.transformer import ResidualBranch
from nasvit.supernets.supernet import build_subnet
from nasvit.training.regularization import regularize
from search_spaces import load


def test_squares_of_maps_are_dropped_as_often_as_asked_and_the_mean_is_kept() -> None:
    torch.manual_seed(0)
    ones = torch.ones(64, 8, 28, 28)
    for share in (0.02, 0.3):
        dropped = DropBlock(share)(ones)
        left = dropped > 0
        often = share / 7**2 * 28**2 / 22**2  # the formula of the paper
        corners = torch.zeros(28, 28)  # how many squares can cover each pixel
        for row in range(22):
            for column in range(22):
                corners[row : row + 7, column : column + 7] += 1
        wanted = ((1 - often) ** corners).mean()  # a pixel is left if none of them is there
        torch.testing.assert_close(left.float().mean(), wanted, rtol=0.01, atol=0)
        torch.testing.assert_close(dropped.mean(), torch.tensor(1.0))
        assert torch.equal(dropped[left].unique(), (left.numel() / left.sum())[None])
    assert abs(1 - DropBlock(0.02)(ones).gt(0).float().mean() - 0.02) < 0.002  # few squares overlap
    assert not torch.equal(left[0, 0], left[0, 1]) and not torch.equal(left[0, 0], left[1, 0])


def test_a_single_corner_drops_a_whole_square_and_small_maps_a_smaller_one() -> None:
    torch.manual_seed(1)
    kept = DropBlock(0.01)(torch.ones(200, 1, 12, 9)).gt(0)[:, 0]
    shapes = set()
    for gone in ~kept:
        rows, columns = gone.any(1).nonzero(), gone.any(0).nonzero()
        if len(rows):
            shapes.add((len(rows), len(columns), int(gone.sum())))
    assert (7, 7, 49) in shapes and all(rows >= 7 and columns >= 7 for rows, columns, _ in shapes)
    small = DropBlock(0.5)(torch.ones(400, 1, 3, 4)).gt(0)[:, 0]
    assert all(bool((each.any(0) == each.all(0)).all()) for each in small)  # whole columns: squares of 3
    drop = DropBlock(0.5)
    assert torch.equal(drop.eval()(small.float()[:, None]), small.float()[:, None])


def test_it_stands_where_stochastic_depth_does_in_blocks_that_have_maps_and_is_taken_out_again() -> None:
    space = load("micro32")
    network = build_subnet(space, space.largest, 10)
    blocks = [each for each in network.modules() if isinstance(each, MBConv)]
    branches = [each for each in network.modules() if isinstance(each, ResidualBranch)]
    regularize(network, dropblock=0.1)
    assert blocks and branches and all(isinstance(each.drop_path, DropBlock) for each in blocks)
    assert all(each.drop_path is None for each in branches)
    regularize(network, dropblock=0.1, drop_path_rate=0.2)
    assert [type(each) for each in blocks[-1].drop_path] == [DropBlock, Drop]  # type: ignore[arg-type]
    assert all(type(each.drop_path) is Drop for each in branches)
    network.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    regularize(network)
    assert all(each.drop_path is None for each in (*blocks, *branches))


class _Half:
    """One of two processes, whose images are a half of the batch."""

    count = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def take_part(self, joined: torch.Tensor) -> torch.Tensor:
        return joined.chunk(2)[self.rank]


def test_two_processes_drop_what_one_does() -> None:
    images, found = torch.randn(6, 3, 9, 9), []
    for compute, part in ((None, images), (_Half(0), images[:3]), (_Half(1), images[3:])):
        torch.manual_seed(3)
        drop = DropBlock(0.3) if compute is None else DropBlock(0.3, compute=compute)  # type: ignore[arg-type]
        found.append(drop(part))
    assert torch.equal(found[0], torch.cat(found[1:]))
