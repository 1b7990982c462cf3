"""What a detector says of the places of one picture, made into objects; model cards show this code as it is."""

import numpy as np


def objects_of(
    boxes: np.ndarray,
    scores: np.ndarray,
    height: int,
    width: int,
    threshold: float = 0.3,
    overlap: float = 0.5,
    most: int = 100,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes, scores and classes of the objects in one picture, best first.

    boxes (places, 4) and scores (places, classes) are what the network returned for it.
    """
    order = np.argsort(-scores, axis=None, kind="stable")[:1000]
    places, classes = np.unravel_index(order, scores.shape)
    best = scores[places, classes]
    places, classes, best = (each[best > threshold] for each in (places, classes, best))
    found = boxes[places].clip(0, [width, height, width, height])
    areas = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    kept: list[int] = []
    for each in range(len(found)):
        others = found[kept]
        corner = np.minimum(found[each, 2:], others[:, 2:]) - np.maximum(found[each, :2], others[:, :2])
        shared = corner.clip(0).prod(1)
        union = np.maximum(areas[each] + areas[kept] - shared, 1e-9)
        if not np.any((shared / union > overlap) & (classes[kept] == classes[each])):
            kept.append(each)
    kept = kept[:most]
    return found[kept], best[kept], classes[kept]
