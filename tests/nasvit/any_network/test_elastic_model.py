"""Subnets of an elastic network share its weights, whether they are slices of them or gathered."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.nasvit.any_network.networks import Attending, Classifying, Grouped, Residual, UNet
from tests.nasvit.any_network.oracle import made_elastic, zeroed

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def elastic():
    return made_elastic(Classifying(UNet()), 3, 8, 8)


def half(elastic):
    return elastic.space.architecture(width={part.name: part.values[0] for part in elastic.space.parts})


def test_a_gathered_subnet_trains_the_channels_it_keeps_and_no_others(elastic):
    small = half(elastic)
    before = copy.deepcopy(elastic.network.state_dict())
    optimizer = torch.optim.SGD(elastic.network.parameters(), lr=0.1)
    elastic.zero_grad()
    elastic.at(small)(X).square().sum().backward()
    optimizer.step()
    lost = {name: torch.ones_like(each, dtype=torch.bool) for name, each in elastic.network.named_parameters()}
    for group in elastic.plan.groups:
        for (name, axis), positions in group.places.items():
            if name in lost:
                left_out = torch.from_numpy(positions[dict(small.width)[group.name] :].reshape(-1))
                lost[name].index_fill_(axis, left_out, False)
    for name, parameter in elastic.network.named_parameters():
        changed = parameter != before[name]
        assert not (changed & ~lost[name]).any(), name
    assert (elastic.network.middle.join[0].weight != before["middle.join.0.weight"]).any()


def test_a_subnet_taken_before_a_step_sees_the_weights_after_it(elastic):
    small = half(elastic)
    subnet = elastic.at(small)
    with torch.no_grad():
        for parameter in elastic.network.parameters():
            parameter.mul_(0.5)
        torch.testing.assert_close(subnet(X), zeroed(elastic, small)(X))


def test_a_subnet_gets_the_gradients_of_the_network_without_the_other_channels(elastic):
    small = half(elastic)
    whole = zeroed(elastic, small)
    elastic.zero_grad()
    elastic.at(small)(X).square().sum().backward()
    whole(X).square().sum().backward()
    expected = dict(whole.named_parameters())
    for name, parameter in elastic.network.named_parameters():
        kept = parameter.grad != 0
        torch.testing.assert_close(parameter.grad[kept], expected[name].grad[kept], rtol=1e-3, atol=1e-4)
    assert elastic.network.middle.join[0].weight.grad.any()


def test_gradients_of_two_subnets_add_up(elastic):
    one, other = half(elastic), elastic.space.largest
    gradients = []
    for chosen in ([one], [other], [one, other]):
        elastic.zero_grad()
        for architecture in chosen:
            elastic.at(architecture)(X).square().sum().backward()
        gradients.append({name: each.grad.clone() for name, each in elastic.network.named_parameters()})
    for name, each in gradients[2].items():
        torch.testing.assert_close(each, gradients[0][name] + gradients[1][name])


def test_extraction_shares_nothing(elastic):
    extracted = elastic.extract(elastic.space.smallest)
    before = copy.deepcopy(elastic.network.state_dict())
    with torch.no_grad():
        for tensor in extracted.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(each, before[name]) for name, each in elastic.network.state_dict().items())


def test_an_extracted_network_says_its_own_sizes():
    elastic = made_elastic(Classifying(Grouped(4)), 3, 8, 8)
    extracted = elastic.extract(elastic.space.smallest)
    convolution = extracted.middle.inside[0]
    assert type(convolution) is nn.Conv2d
    assert (convolution.groups, convolution.in_channels, convolution.out_channels) == (1, 4, 8)
    assert extracted.stem[1].num_features == len(extracted.stem[1].weight) == extracted.stem[0].out_channels


def test_a_copied_elastic_network_is_independent(elastic):
    copied = copy.deepcopy(elastic)
    small = half(elastic)
    elastic.at(small)  # views that must not be shared
    with torch.no_grad():
        output = copied.at(small)(X)
        for parameter in elastic.network.parameters():
            parameter.zero_()
        assert torch.equal(copied.at(small)(X), output)


def test_sorting_changes_no_output_and_puts_large_weights_first():
    elastic = made_elastic(Classifying(Residual(8, 6)), 3, 8, 8)
    with torch.no_grad():
        before = elastic.network(X)
        elastic.network.middle.expand[0].weight[4] *= 100
        changed = elastic.network(X)
        elastic.sort()
        torch.testing.assert_close(elastic.network(X), changed)
    assert not torch.equal(before, changed)
    sizes = elastic.network.middle.expand[0].weight.detach().square().sum((1, 2, 3))
    assert int(sizes.argmax()) == 0


def test_leaving_blocks_out_is_running_the_others():
    elastic = made_elastic(Classifying(nn.Sequential(*(Residual(8, 6) for _ in range(3)))), 3, 8, 8, width=(1.0,))
    shorter = elastic.space.architecture(depth={"middle": 2})
    expected = copy.deepcopy(elastic.network)
    del expected.middle[2]
    with torch.no_grad():
        assert torch.equal(elastic.at(shorter)(X), expected(X))
    assert len(elastic.extract(shorter).middle) == 2


def test_a_cropped_kernel_is_the_middle_of_the_whole():
    middle = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    elastic = made_elastic(Classifying(middle), 3, 8, 8, width=(1.0,))
    small = elastic.space.architecture(kernel_size={"middle": 3})
    extracted = elastic.extract(small)
    assert torch.equal(extracted.middle.weight, elastic.network.middle.weight[..., 1:-1, 1:-1])
    assert (extracted.middle.kernel_size, extracted.middle.padding) == ((3, 3), (1, 1))


def test_a_copy_that_a_single_head_does_not_need_is_known():
    from nasvit.any_network.plan import bare_copy
    from nasvit.costs.programs import Program

    elastic = made_elastic(Classifying(Attending()), 3, 8, 8)
    program = Program.of(bare_copy(elastic.network), elastic.plan, 3, 8)
    assert any(interval.unless for interval in program.intervals)


def test_costs_of_a_population_are_those_of_its_members():
    from nasvit.costs.any_network import ElasticCosts

    elastic = made_elastic(Classifying(UNet()), 3, 8, 8)
    costs = ElasticCosts(elastic.network, elastic.plan, elastic.space)
    population = elastic.space.genome.sample(7, np.random.default_rng(1))
    together = costs.costs(population)
    for row in range(7):
        alone = costs.costs(population[row : row + 1])
        assert {metric: each[row] for metric, each in together.items()} == {m: each[0] for m, each in alone.items()}
