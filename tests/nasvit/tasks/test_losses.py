from __future__ import annotations

import pytest
import torch

from nasvit.tasks.losses import SmoothedCrossEntropy


def test_smoothing_leaves_the_true_class_its_share() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = logits.log_softmax(1)[0]
    expected = -(0.7 * log_p[0] + 0.15 * log_p[1] + 0.15 * log_p[2])
    assert float(SmoothedCrossEntropy(0.3)(logits, torch.tensor([0]))) == pytest.approx(float(expected), rel=1e-6)
