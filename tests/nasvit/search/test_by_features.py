"""Subnets of a pretrained network, compared by their features before any training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasvit.any_network import ElasticModel, elasticize
from nasvit.any_network.features import agreement, feature_agreement, features_of
from nasvit.costs.any_network import ElasticCosts
from nasvit.search.by_features import best_by_features
from nasvit.search.candidates import Candidates
from predictors.limits import Budget
from tests.nasvit.experiment.small_network import Residual


@pytest.fixture
def elastic() -> ElasticModel:
    torch.manual_seed(0)
    return elasticize(Residual(10), torch.zeros(1, 8, 8)).eval()


IMAGES = [torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(number)) for number in range(2)]


def test_the_whole_network_agrees_with_itself_and_others_less(elastic: ElasticModel) -> None:
    score = feature_agreement(elastic, IMAGES)
    assert score(elastic.space.largest) == pytest.approx(1)
    assert 0 <= score(elastic.space.smallest) < 0.999


def test_few_images_and_many_features_do_not_look_alike() -> None:
    drawn = [torch.randn(16, 500, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in range(2)]
    assert agreement(*drawn, biased=True) > 0.8
    assert abs(agreement(*drawn)) < 0.3
    assert agreement(drawn[0], 3 * drawn[0].flip(1) + 1) == pytest.approx(1)


def test_the_classifier_means_nothing(elastic: ElasticModel) -> None:
    subnet = elastic.space.scaled(0.5)
    before = feature_agreement(elastic, IMAGES)(subnet)
    torch.nn.init.normal_(elastic.network.head.weight)
    assert feature_agreement(elastic, IMAGES)(subnet) == pytest.approx(before, abs=1e-9)


def test_what_is_found_keeps_the_limit_and_more_of_the_features_than_a_uniform_subnet(elastic: ElasticModel) -> None:
    table = ElasticCosts(elastic.network, elastic.plan, elastic.space)
    candidates = Candidates(elastic.space, lambda codes: dict(table.costs(codes)))
    whole = int(table.costs(elastic.space.encode([elastic.space.largest]))["macs"][0])
    limit = Budget("macs<=40%").of({"macs": whole}).limits
    best, agreement = best_by_features(elastic, candidates, limit, IMAGES, 60, np.random.default_rng(0))
    assert table.costs(elastic.space.encode([best]))["macs"][0] <= 0.4 * whole
    score = feature_agreement(elastic, IMAGES)
    assert agreement == pytest.approx(score(best))
    uniform = max(
        (elastic.space.scaled(share) for share in np.linspace(0.1, 1, 50)),
        key=lambda each: (
            table.costs(elastic.space.encode([each]))["macs"][0] <= 0.4 * whole,
            sum(dict(each.width).values()),
        ),
    )
    assert agreement >= score(uniform)
    again = best_by_features(elastic, candidates, limit, IMAGES, 60, np.random.default_rng(0))
    assert again == (best, agreement)


def test_weights_stay_as_they_are(elastic: ElasticModel) -> None:
    before = {name: tensor.clone() for name, tensor in elastic.state_dict().items()}
    feature_agreement(elastic, IMAGES)(elastic.space.smallest)
    assert all(torch.equal(tensor, before[name]) for name, tensor in elastic.state_dict().items())


class ByHand(nn.Module):
    """Uses its classifier's weights, or hands over what it gets by name."""

    def __init__(self, *, named: bool) -> None:
        super().__init__()
        self.inside, self.named = Residual(16), named
        self.classifier = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.inside(images)
        if self.named:
            return self.classifier(input=features)
        return nn.functional.linear(features, self.classifier.weight, self.classifier.bias)


@pytest.mark.parametrize("named", [False, True])
def test_features_are_found_however_the_classifier_is_used(named: bool) -> None:
    torch.manual_seed(0)
    elastic = elasticize(ByHand(named=named), torch.zeros(1, 8, 8)).eval()
    score = feature_agreement(elastic, IMAGES)
    assert score(elastic.space.largest) == pytest.approx(1)
    assert score(elastic.space.smallest) < 0.999


def test_without_batch_norms_the_features_are_those_of_all_images() -> None:
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    elastic = elasticize(nn.Sequential(*layers), torch.zeros(3, 12, 12))
    batches = list(torch.rand(6, 3, 12, 12).split(2))
    found = features_of(elastic.at(elastic.space.largest), elastic.plan, batches)
    with torch.no_grad():
        wanted = nn.Sequential(*layers[:-1])(torch.cat(batches))
    torch.testing.assert_close(found, wanted.double(), atol=1e-6, rtol=1e-5)
