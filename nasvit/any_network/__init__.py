"""Any network made elastic: what can be decided in it is found, and it becomes a supernet like every other.

elastic = nasvit.elasticize(model, torch.zeros(1, 3, 224, 224))
small = elastic.extract(elastic.space.sample(rng))      # a network of the model's own classes
many = slimmable(model, torch.zeros(1, 3, 224, 224), [0.25, 0.5, 1.0])      # one set of weights at three widths
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nasvit.any_network.choices import Elastic, space_around, space_of
from nasvit.any_network.model import ElasticModel
from nasvit.any_network.plan import Plan, plan_of
from nasvit.any_network.widths import AnyWidth, SlimmableModel
from nasvit.elastic.norms import NormKind
from nasvit.layers.network import Resize, Resized
from search_spaces.elastic import ElasticArchitecture


def elasticize(network: nn.Module, image: Tensor, elastic: Elastic | None = None, *, name: str = "") -> ElasticModel:
    """Make any network elastic.

    Args:
        network: a network that takes one image tensor; it is not copied, its weights become the shared ones.
        image: an image of the size it is for, shape ``(channels, height, width)``, or a batch; only its shape counts.
        elastic: what is decided, and in which steps; everything that can be if left out.
        name: name of its space; that of its class if left out.

    Returns:
        A supernet whose largest subnet is the network, bit for bit.

    Raises:
        ValueError: if the network does not run with such an image, or nothing in it can be decided.
    """
    plan = plan_of(network, image)
    shape = tuple(image.shape[-3:])
    space = space_of(plan, elastic or Elastic(), name or type(network).__name__, shape)
    return ElasticModel(network, plan, space, shape)


def slimmable(
    network: nn.Module, image: Tensor, widths: Sequence[AnyWidth], norm: NormKind = "switchable"
) -> SlimmableModel:
    """Let any network run at several widths with one set of weights.

    Args:
        network: a network that takes one image tensor; it is taken over, its weights become the shared ones.
        image: an image of the size it is for, shape ``(channels, height, width)``, or a batch; only its shape counts.
        widths: shares of its channels, up to 1.
        norm: "switchable": every width has its own batch norms; "universal": any width up to the largest can run.

    Raises:
        ValueError: if the network does not run with such an image, or cannot have a width.
    """
    return SlimmableModel(network, plan_of(network, image), tuple(image.shape[-3:]), widths, norm=norm)


def cut_out(network: nn.Module, plan: Plan, architecture: ElasticArchitecture, *, resize: bool = False) -> nn.Module:
    """Return a subnet of a network as an independent network, whatever space it is from.

    Args:
        network: the network.
        plan: what can be decided in it.
        architecture: sizes of the subnet.
        resize: bring images to its resolution first.

    Raises:
        ValueError: if the network cannot have these sizes.
    """
    space = space_around(plan, architecture)
    subnet = ElasticModel(network, plan, space, ()).extract(architecture)
    return Resized(Resize(architecture.resolution), subnet) if resize else subnet


__all__ = ["Elastic", "ElasticModel", "SlimmableModel", "cut_out", "elasticize", "slimmable"]
