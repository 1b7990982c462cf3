"""From the last map to class scores."""

from __future__ import annotations

from torch import Tensor, nn


class Head(nn.Module):
    """Widen the map, pool it, mix the features, classify.

    Source: Howard et al., MobileNetV3 (2019), section 5.1, https://arxiv.org/abs/1905.02244

    Args:
        expand: 1x1 convolution of the map.
        mix: 1x1 convolution of the pooled features, with its activation.
        classifier: ``features -> classes``.

    Shape:
        ``(batch, channels, height, width) -> (batch, classes)``
    """

    def __init__(self, expand: nn.Module, mix: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.expand = expand
        self.mix = mix
        self.dropout: nn.Module | None = None
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.mix(self.expand(x).mean((2, 3), keepdim=True)).flatten(1)
        if self.dropout is not None:
            features = self.dropout(features)
        return self.classifier(features)
