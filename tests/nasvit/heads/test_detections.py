"""Objects are chosen as torchvision chooses them, to the bit, in a form that can be exported."""

from __future__ import annotations

import torch
from torchvision.ops import batched_nms

from nasvit.heads.detections import EVALUATION, SHOWN, Objects


def test_objects_are_those_that_torchvision_chooses_among_the_boxes_above_the_threshold() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = []
    for choice in (EVALUATION, SHOWN):
        for count in (0, 1, 40, 1000):
            corners = torch.rand(count, 2, generator=generator) * 300
            boxes = torch.cat([corners, corners + 1 + torch.rand(count, 2, generator=generator) * 200], 1)
            scores = torch.rand(count, generator=generator).sort(descending=True).values * 0.6
            labels = torch.randint(0, 3, (count,), generator=generator)
            scores[:1] = float("nan")  # of a network that diverged: it is no object, and hides none
            boxes[1:2], labels[1:2] = boxes[:1], labels[:1]
            above = scores > choice.threshold
            kept = batched_nms(boxes[above], scores[above], labels[above], choice.overlap)[: choice.objects]
            found = choice.among_one(Objects(boxes, scores, labels))
            for one, each in zip(found, (boxes, scores, labels), strict=True):
                assert torch.equal(one, each[above][kept])
            counts.append(len(kept))
    assert 0 in counts
    assert 100 in counts
