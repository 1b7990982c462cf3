"""Head of a network: from the last map to class scores."""

from __future__ import annotations

from torch import Tensor, nn


class Head(nn.Module):
    """Perhaps widen the map, pool it, perhaps mix the features, classify.

    Source: Howard et al., MobileNetV3 (2019), section 5.1, https://arxiv.org/abs/1905.02244

    Args:
        expand: 1x1 convolution of the map, or None.
        mix: 1x1 convolution of the pooled features, with its activation, or None.
        classifier: ``features -> classes``.

    Shape:
        ``(batch, channels, height, width) -> (batch, classes)``
    """

    def __init__(self, expand: nn.Module | None, mix: nn.Module | None, classifier: nn.Linear) -> None:
        super().__init__()
        self.expand = expand
        self.mix = mix
        self.dropout: nn.Module | None = None
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.expand is None else self.expand(x)
        x = x.mean((2, 3), keepdim=True)
        x = (x if self.mix is None else self.mix(x)).flatten(1)
        scores: Tensor = self.classifier(x if self.dropout is None else self.dropout(x))
        return scores
