from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nasvit.export.switchable import spec_of_widths
from nasvit.layers import BatchNorm2d
from nasvit.models.catalog import mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1, shufflenet_v2
from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.tasks.distillation import SoftTargetCrossEntropy
from nasvit.training.conflict import Sum
from nasvit.training.sampling import Member
from nasvit.training.step import shared_step

INVERTED = Family(
    "inverted",
    "a test",
    StemSpec(16),
    ((BlockSpec("inverted", 16),), (BlockSpec("inverted", 24, 2, expand=3), BlockSpec("inverted", 24, expand=3))),
    HeadSpec(32, fixed=True),
)
BOTTLENECK = Family(
    "bottleneck",
    "a test",
    StemSpec(16, act="relu", pool=3),
    ((BlockSpec("bottleneck", 32, act="relu"), BlockSpec("bottleneck", 32, act="relu")),),
    divisor=0,
)
BASIC = Family("basic", "a test", StemSpec(16, act="relu"), ((BlockSpec("basic", 32, 2, act="relu"),),), divisor=0)
SHUFFLE = Family(
    "shuffle",
    "a test",
    StemSpec(24, act="relu", pool=3, pool_padding=0, groups=3),
    (
        (
            BlockSpec("shuffle", 48, 2, act="relu", groups=3, split_input=False),
            BlockSpec("shuffle", 48, act="relu", groups=3),
        ),
    ),
    divisor=0,
)
SPLIT_SHUFFLE = Family(
    "split_shuffle",
    "a test",
    StemSpec(24, act="relu", pool=3),
    ((BlockSpec("split_shuffle", 48, 2, act="relu"), BlockSpec("split_shuffle", 48, act="relu")),),
    HeadSpec(32, act="relu"),
    divisor=2,
)
FAMILIES = [INVERTED, BOTTLENECK, BASIC, SHUFFLE, SPLIT_SHUFFLE]


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slimmable(family: Family, norm: str = "switchable", seed: int = 0) -> SlimmableNetwork:
    return SlimmableNetwork(family, (0.5, 1.0), 5, norm=norm, seed=seed).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("norm", ["switchable", "universal", "shared"])
def test_an_extracted_width_computes_what_the_slimmable_network_computes(family: Family, norm: str) -> None:
    network = slimmable(family, norm)
    network.calibrate([images()])
    for width in network.widths:
        extracted = network.extract(width).eval()
        live = network.at(width).eval()(images(2, 1))
        torch.testing.assert_close(live, extracted(images(2, 1)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_gradients_of_all_widths_add_up_in_the_shared_weights(family: Family) -> None:
    network = slimmable(family)
    alone = {}
    for width in network.widths:
        extracted = network.extract(width).train()
        extracted(images()).square().sum().backward()
        alone[width] = {name: p.grad for name, p in extracted.named_parameters()}
    for width in network.widths:
        network.at(width).train()(images()).square().sum().backward()
    weights = dict(network.named_parameters())
    for name in (n for n in weights if n.endswith("conv.weight")):
        expected = torch.zeros_like(weights[name])
        for gradients in alone.values():
            own = gradients[name]
            assert own is not None
            expected[: own.shape[0], : own.shape[1]] += own
        torch.testing.assert_close(weights[name].grad, expected, rtol=1e-9, atol=1e-9)


def test_the_training_step_of_supernets_trains_a_slimmable_network() -> None:
    network = slimmable(INVERTED, "universal")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.guard(optimizer)
    losses = []
    for _ in range(8):
        network.zero_grad()
        step = shared_step(
            network,
            images(),
            torch.arange(4),
            members=[Member(width) for width in (1.0, 0.5, 0.77)],
            criterion=F.cross_entropy,
            distill=SoftTargetCrossEntropy(),
            conflict=Sum(),
        )
        optimizer.step()
        losses.append(float(step.first))
    assert losses[-1] < losses[0]


def test_two_switches_of_equal_channels_keep_separate_batch_norms() -> None:
    network = SlimmableNetwork(INVERTED, (0.49, 0.5), 5)
    assert network.plan(0.49) == network.plan(0.5)
    first, second = (next(m for m in network.at(w).modules() if isinstance(m, BatchNorm2d)) for w in (0.49, 0.5))
    assert first.weight.data_ptr() != second.weight.data_ptr()
    assert first.running_mean is not None
    assert second.running_mean is not None
    assert first.running_mean.data_ptr() != second.running_mean.data_ptr()


def test_training_moves_the_statistics_of_the_trained_switch_alone() -> None:
    network = slimmable(BASIC)
    before = copy.deepcopy(network.state_dict())
    network.at(0.5).train()(images())
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(".switches.0." in name for name in moved)


def test_a_shared_batch_norm_has_one_set_of_statistics_for_all_widths() -> None:
    network = slimmable(BASIC, "shared")
    network.at(0.5).train()(images())
    norms = [m for m in network.at(1.0).modules() if isinstance(m, BatchNorm2d)]
    assert all(m.running_mean is not None and m.running_mean[: m.num_features // 2].any() for m in norms)


def test_a_width_that_is_no_switch_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"width=0.75 is none of this network's switches: 0.5, 1.0"):
        slimmable(BASIC).at(0.75)


def test_a_width_outside_the_range_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"width=1.5 is outside 0.5..1.0"):
        slimmable(INVERTED, "universal").at(1.5)


def test_a_plan_that_changes_channels_across_a_shortcut_is_refused_in_words() -> None:
    network = slimmable(INVERTED, "universal")
    channels = list(network.largest_plan.channels)
    channels[-2] -= 8
    with pytest.raises(ValueError, match="24 channels in and 16 out"):
        network.at(ChannelPlan(tuple(channels)))


def test_a_plan_of_another_length_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="a channel plan has 7 entries, got 2"):
        slimmable(INVERTED, "universal").at(ChannelPlan((8, 8)))


def test_a_width_that_was_never_calibrated_refuses_to_evaluate() -> None:
    network = slimmable(INVERTED, "universal").eval()
    with pytest.raises(RuntimeError, match="calibrate"):
        network.at(0.75)(images())


def test_a_width_calibrated_after_training_is_kept_in_the_state_dict() -> None:
    network = slimmable(INVERTED, "universal")
    network.at(0.61)  # views made before must not outlive the statistics that come
    network.calibrate([images(), images(4, 1)], [0.61])
    other = slimmable(INVERTED, "universal", seed=5)
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.at(0.61).eval()(images(2)), other.at(0.61).eval()(images(2)))


def test_calibrating_one_width_leaves_the_others_as_they_were() -> None:
    network = slimmable(BASIC)
    network.calibrate([images()])
    before = network.at(1.0).eval()(images(2, 3))
    network.calibrate([images(4, 7)], [0.5])
    assert torch.equal(network.at(1.0).eval()(images(2, 3)), before)


def test_calibration_without_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        slimmable(BASIC).calibrate([])


def test_a_list_of_plans_is_a_slimmable_network_of_uneven_widths() -> None:
    largest = INVERTED.plan()
    slim = ChannelPlan((8, 16, 40, 16, 24, 16, 32))
    network = SlimmableNetwork(INVERTED, (slim, largest), 5)
    assert network.at(slim).train()(images().float()).shape == (4, 5)
    widened = [p.shape[0] for n, p in network.extract(slim).named_parameters() if n.endswith("expand.conv.weight")]
    assert widened == [40, 24, 32]


def test_threads_may_run_different_widths_of_one_network() -> None:
    network = slimmable(BOTTLENECK)
    network.calibrate([images()])
    network.eval()
    expected = {width: network.extract(width)(images(2)) for width in network.widths}
    network.forget()  # so that threads meet a network that was never used
    wanted = [network.widths[i % 2] for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda width: network.at(width)(images(2)), wanted))
    for width, result in zip(wanted, results, strict=True):
        torch.testing.assert_close(result, expected[width], rtol=1e-12, atol=1e-12)


def test_replacing_gradients_is_noticed_at_the_next_use() -> None:
    network = slimmable(BASIC)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.at(1.0).train()(images()).sum().backward()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="zero_grad"):
        network.at(1.0)


def test_copies_and_pickles_are_networks_of_their_own() -> None:
    network = slimmable(BASIC)
    network.at(1.0)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        with torch.no_grad():
            next(other.parameters()).zero_()
        assert next(network.parameters()).any()
        other.at(1.0).train()(images()).sum().backward()
        assert other.gradients.norm() > 0
    assert network.gradients.norm() == 0


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        (mobilenet_v1(), {1.0: 4231976, 0.75: 2585560, 0.5: 1331592, 0.25: 470072}),
        (mobilenet_v2(), {1.0: 3504872, 0.75: 2636424, 0.5: 1968680, 0.35: 1677128}),
        (shufflenet_v1(), {2.0: 5450776, 1.0: 1865728, 0.5: 718324}),
        (resnet(50), {1.0: 25557032, 0.75: 14771992, 0.5: 6917640, 0.25: 1993976}),
    ],
    ids=lambda value: value.name if isinstance(value, Family) else "",
)
def test_published_widths_have_the_published_parameters(family: Family, parameters: dict[float, int]) -> None:
    with torch.device("meta"):
        network = SlimmableNetwork(family, list(parameters), 1000)
    for width, expected in parameters.items():
        assert sum(p.numel() for p in network.at(width).parameters()) == expected


@pytest.mark.parametrize("norm", ["switchable", "universal"])
def test_every_width_of_mobilenet_v2_has_the_head_of_the_widest_as_released(norm: str) -> None:
    with torch.device("meta"):
        network = SlimmableNetwork(mobilenet_v2(), [0.35, 1.0, 1.3], 1000, norm=norm)  # type: ignore[arg-type]
        few = spec_of_widths(network, [0.35, 1.0]).build(1000)
    assert [network.plan(width).channels[-1] for width in network.widths] == [1664] * 3
    assert [few.plan(width) for width in few.widths] == [network.plan(width) for width in few.widths]
    assert network.plan(1.0).channels[:-1] == mobilenet_v2().plan().channels[:-1]
    assert network.head_norm == ("shared" if norm == "switchable" else norm)


@pytest.mark.parametrize(
    "family",
    [mobilenet_v1(), mobilenet_v2(), mnasnet(), resnet(18), resnet(50), shufflenet_v1(), shufflenet_v2()],
    ids=lambda family: family.name,
)
def test_the_form_for_small_images_keeps_maps_that_are_not_too_small(family: Family) -> None:
    widths = (1.0, 2.0) if family.name.startswith("shufflenet") else (0.5, 1.0)
    network = SlimmableNetwork(family.for_small_images(), widths, 10).train()
    with torch.no_grad():
        maps = network.at(widths[0]).forward_intermediates(torch.randn(2, 3, 32, 32))
    assert maps[-1].shape[-1] == 4


def test_subnets_without_statistics_share_the_views_of_each_size() -> None:
    network = slimmable(INVERTED, "universal")
    first, second = (network.at(width).stem.conv.norm.weight for width in (0.99, 1.0))  # both of 16 channels
    assert first is second


def test_naive_shared_batch_norm_does_not_evaluate_what_a_width_trained_on_and_switchable_does() -> None:
    assert _drift("switchable") < 0.2
    assert _drift("shared") > 0.5


@torch.no_grad()
def _drift(norm: str) -> float:
    """How far the narrow width's scores by stored statistics are from those it trained with, relative to these."""
    network = SlimmableNetwork(BOTTLENECK, (0.25, 1.0), 5, norm=norm).double()  # type: ignore[arg-type]
    for _ in range(60):
        for width in network.widths:
            network.at(width).train()(images())
    subnet = network.extract(0.25)
    stored, trained = subnet.eval()(images()), subnet.train()(images())
    return float((stored - trained).norm() / trained.norm())


def test_a_subnet_is_made_of_plain_layers_only() -> None:
    network = SlimmableNetwork(SHUFFLE, (0.5, 1.0), 5)
    assert all(not type(m).__name__.startswith("Elastic") for m in network.extract(0.5).modules())
    assert isinstance(network.extract(0.5), nn.Module)
