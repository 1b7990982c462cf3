"""How well a subnet keeps what a network knows: the agreement of their features, without any training or labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.any_network.followed import RETURNED
from nasvit.any_network.model import ElasticModel
from nasvit.any_network.plan import Plan
from nasvit.layers.calibration import calibrate
from nasvit.layers.network import Resized
from search_spaces.elastic import ElasticArchitecture


def feature_agreement(elastic: ElasticModel, batches: Sequence[Tensor]) -> Callable[[ElasticArchitecture], float]:
    """Return what scores subnets by how similar the features of images are to those in the whole network.

    Features are what the classifier gets; where no classifier is found, what the network returns. Their similarity is
    the linear centered kernel alignment: 1 where images lie to each other as they do in the network, up to a rotation
    and a scale, 0 where nothing is left of it. So it tells how much a subnet keeps of pretrained weights, before any
    training and before the new classifier means anything. It is estimated without the bias that few images and many
    features bring, which is larger than what subnets differ by.

    Source: Kornblith et al., Similarity of Neural Network Representations Revisited (2019), section 3,
    https://arxiv.org/abs/1905.00414; Nguyen et al., Do Wide and Deep Networks Learn the Same Things? (2021),
    section 3, https://arxiv.org/abs/2010.15327, for the estimate; Song et al., Feature Selection via Dependence
    Maximization (2012), section 3, for its terms.

    Args:
        elastic: the network, with the weights that it starts from, its channels sorted.
        batches: images, at least 4; the more, the smaller differences are seen.

    Returns:
        Architecture -> agreement: 1 at most, and about 0 (or a little below) where nothing is left.
    """

    def likeness(architecture: ElasticArchitecture) -> Tensor:
        return _without_bias(_products(features_of(elastic.at(architecture), elastic.plan, batches)))

    wanted = likeness(elastic.space.largest)
    return lambda architecture: _cosine(likeness(architecture), wanted)


def agreement(found: Tensor, wanted: Tensor, *, biased: bool = False) -> float:
    """Return the agreement of the features of the same images in two networks.

    Args:
        found: of the one, shape ``(images, features)``.
        wanted: of the other, shape ``(images, other features)``.
        biased: as the alignment is usually computed, which for few images and many features is close to 1.
    """
    centered = _centered if biased else _without_bias
    return _cosine(centered(_products(found)), centered(_products(wanted)))


@torch.no_grad()
def features_of(network: nn.Module, plan: Plan, batches: Sequence[Tensor]) -> Tensor:
    """Return the features of images, shape ``(images, features)``.

    Batch norms normalize by each batch's own statistics, so that subnets, which have none, need no second pass over
    images to get them; they are left with the average over the batches.

    Args:
        network: a subnet, or the whole network.
        plan: what was found out about the network.
        batches: the images.
    """
    with _noting(network, _classifier(plan)) as noted:
        calibrate(network, batches)
        for images in batches[len(noted) :]:  # without batch norms, one batch is enough to calibrate
            network(images)
    return torch.cat(noted)


def _cosine(found: Tensor, wanted: Tensor) -> float:
    similar = (found * wanted).sum() / (found.norm() * wanted.norm()).clamp_min(1e-30)
    return float(torch.nan_to_num(similar))


def _products(features: Tensor) -> Tensor:
    return features @ features.T


def _classifier(plan: Plan) -> str:
    """Return the path of the layer whose output the network returns; empty: there is none, or several."""
    found = [fixed.name for fixed in plan.fixed if fixed.reason == RETURNED]
    return found[0] if len(found) == 1 else ""


@contextmanager
def _noting(network: nn.Module, path: str) -> Iterator[list[Tensor]]:
    """Note for every call what the classifier gets, shape (images, features); without one, what is returned."""
    noted: list[Tensor] = []
    given: list[Tensor] = []

    def take(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given.extend(each for each in (*inputs, *named.values()) if isinstance(each, Tensor))

    def note(module: nn.Module, inputs: tuple[Any, ...], returned: Tensor) -> None:
        noted.append((given[0] if given else returned).flatten(1).double())
        given.clear()

    inner = network.network if isinstance(network, Resized) else network
    hooks: list[Any] = [network.register_forward_hook(note)]
    if path:
        hooks.append(inner.get_submodule(path).register_forward_pre_hook(take, with_kwargs=True))
    try:
        yield noted
    finally:
        for hook in hooks:
            hook.remove()


def _without_bias(gram: Tensor) -> Tensor:
    """Return products of features, shape (images, images), so centered that sums of their products have no bias."""
    count = len(gram)
    gram = gram.clone().fill_diagonal_(0)
    rows = gram.sum(0) / (count - 2)
    gram = gram - rows - rows[:, None] + rows.sum() / (count - 1)
    return gram.fill_diagonal_(0)


def _centered(gram: Tensor) -> Tensor:
    rows = gram.mean(0)
    return gram - rows - rows[:, None] + rows.mean()
