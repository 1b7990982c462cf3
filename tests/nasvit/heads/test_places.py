"""The places of a detector's outputs are kept from call to call, and every call can use them."""

from __future__ import annotations

import torch

from nasvit.heads.places import centers

STRIDES = (8, 16, 32)


class Places(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        points, strides = centers((24, 40), STRIDES, images.device)
        return images.mean() + points * strides[:, None]


def test_places_that_an_export_made_are_none_of_later_calls() -> None:
    torch.export.export(Places(), (torch.rand(1, 3, 24, 40),), strict=False)
    points, _ = centers((24, 40), STRIDES, torch.device("cpu"))
    assert type(points) is torch.Tensor
    assert points[:6].tolist() == [[0, 0], [8, 0], [16, 0], [24, 0], [32, 0], [0, 8]]


def test_places_that_an_evaluation_made_can_be_trained_with() -> None:
    with torch.inference_mode():
        centers((40, 24), STRIDES, torch.device("cpu"))
    points, strides = centers((40, 24), STRIDES, torch.device("cpu"))
    edges = torch.ones(len(points), 2, requires_grad=True)
    (edges * strides[:, None]).sum().backward()
    assert edges.grad is not None
    assert torch.equal(edges.grad[:, 0], strides)
