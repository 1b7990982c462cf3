"""Networks with their decoder inside: what they return is what a user wants to know, with nothing left to choose."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar, Literal

from torch import Tensor, nn

from nasvit.heads.detections import SHOWN, Detections, Objects
from nasvit.heads.head import Size

DecoderPlace = Literal["outside", "inside"]
"""Whether a file leaves choosing among what the network says to whoever runs it, or does it itself."""


class Decoded(nn.Module):
    """A network and its decoder.

    Args:
        network: a detector or segmenter, in evaluation mode.
        size: of the images.
    """

    names: ClassVar[tuple[str, ...]]
    """Names of what it returns."""

    batch: ClassVar[int | None]
    """Images that it takes at once; None: any number."""

    def __init__(self, network: nn.Module, size: Size) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.eval()

    def told(self) -> dict[str, str]:
        """Return what a file with it tells, where a format has room for that."""
        return {"decoder": "inside", "images_at_once": "any" if self.batch is None else str(self.batch)}


class DecodedObjects(Decoded):
    """A detector that returns objects, best first, as :data:`SHOWN` chooses them.

    Shape:
        ``(1, channels, height, width)`` -> boxes ``(objects, 4)`` in pixels, scores and labels ``(objects,)``; images
        have different numbers of objects, so it takes one at a time
    """

    names, batch = ("boxes", "scores", "labels"), 1

    def told(self) -> dict[str, str]:
        return super().told() | {name: str(value) for name, value in asdict(SHOWN).items()}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        candidates = SHOWN.candidates_of(Detections(*self.network(images)), self.size)
        boxes, scores, labels = SHOWN.among_one(Objects(*(each[0] for each in candidates)))
        return boxes, scores, labels


class DecodedClasses(Decoded):
    """A segmenter that returns the class of every pixel.

    Shape:
        ``(batch, channels, height, width)`` -> int64 ``(batch, height, width)``
    """

    names, batch = ("classes",), None

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).argmax(1)  # type: ignore[no-any-return]


DECODED: dict[str, type[Decoded]] = {"detection": DecodedObjects, "segmentation": DecodedClasses}
"""What adds the decoder to networks of a task."""
