"""From the last map to class scores, with or without a convolution before."""

from __future__ import annotations

from torch import Tensor, nn


class PooledHead(nn.Module):
    """Perhaps a convolution, average pooling over the map, perhaps another convolution, a classifier.

    Args:
        expand: 1x1 convolution of the map, or None.
        mix: 1x1 convolution of the pooled features with its activation, or None.
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
