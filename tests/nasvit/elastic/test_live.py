"""A live subnet is a plain network to everybody who computes with it, and refuses what would cut it off."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import search_spaces
from nasvit.elastic import SharedParameter, is_live
from nasvit.layers import Network
from nasvit.layers.batch_norm import BatchNorm2d
from nasvit.supernets.supernet import Supernet
from tests.nasvit.filled import filled, images

SPACE = search_spaces.load("micro8")
X = images(SPACE)
FUTURE = {
    "today": lambda _: None,
    "swap": torch.__future__.set_swap_module_params_on_conversion,
    "overwrite": torch.__future__.set_overwrite_module_params_on_conversion,
}


@pytest.fixture(params=FUTURE.values(), ids=FUTURE.keys())
def _conversion(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every way in which PyTorch converts the parameters of modules, now or in a future release."""
    request.param(True)
    yield
    request.param(False)


def supernet() -> Supernet:
    return filled(Supernet(SPACE, 3))


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def check_that_it_trains(network: Supernet, subnet: nn.Module) -> None:
    """Check that a backward pass of ``subnet`` reaches the gradients of ``network``, and a step of them ``subnet``."""
    network.zero_grad()
    subnet(X).sum().backward()
    network.check_views()
    assert network.gradients.norm() > 0
    before, after = weights(subnet), weights(network)
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert not torch.equal(weights(subnet), before)
    assert not torch.equal(weights(network), after)


CONVERTED: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "to a type": (lambda subnet: subnet.to(torch.float64), "replacing the data of"),
    "double": (lambda subnet: subnet.double(), "replacing the data of"),
    "half": (lambda subnet: subnet.half(), "replacing the data of"),
    "type": (lambda subnet: subnet.type(torch.bfloat16), "replacing the data of"),
    "to a device": (lambda subnet: subnet.to("meta"), "moving"),
    "to empty memory": (lambda subnet: subnet.to_empty(device="cpu"), "replacing the data of"),
    "to empty memory elsewhere": (lambda subnet: subnet.to_empty(device="meta"), "moving"),
    "to a layout": (lambda subnet: subnet.to(memory_format=torch.channels_last), "replacing the data of"),
    "inside another": (lambda subnet: nn.Sequential(subnet).double(), "replacing the data of"),
    "a layer": (lambda subnet: subnet.stem.conv.double(), "replacing the data of"),
    "a list of stages": (lambda subnet: subnet.stages.double(), "replacing the data of"),
}
REFUSED: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "pickle": (pickle.dumps, "saving"),
    "pickle inside another": (lambda subnet: pickle.dumps(nn.Sequential(subnet)), "saving"),
    "torch.save": (lambda subnet: torch.save(subnet, io.BytesIO()), "saving"),
    "torch.save of a parameter": (lambda subnet: torch.save(subnet.stem.conv.weight, io.BytesIO()), "saving"),
    "state dict": (lambda subnet: subnet.state_dict(), "saving"),
    "state dict of a layer": (lambda subnet: subnet.stem.conv.state_dict(), "saving"),
    "state dict of another": (lambda subnet: nn.Sequential(subnet).state_dict(), "saving"),
    "freezing": (lambda subnet: subnet.requires_grad_(False), "freezing or unfreezing"),
    "freezing a layer": (lambda subnet: subnet.head.classifier.requires_grad_(False), "freezing or unfreezing"),
    "freezing a stage": (lambda subnet: subnet.stages[0].requires_grad_(False), "freezing or unfreezing"),
    "assigning": (
        lambda subnet: setattr(subnet.head.classifier, "weight", nn.Parameter(torch.zeros(3, 48))),
        "replacing a parameter of",
    ),
}


@pytest.mark.usefixtures("_conversion")
@pytest.mark.parametrize(("deed", "words"), CONVERTED.values(), ids=CONVERTED.keys())
def test_converting_a_live_subnet_is_refused_with_the_way_out(deed: Callable[[nn.Module], object], words: str) -> None:
    check_refused(deed, words)


@pytest.mark.parametrize(("deed", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_cut_a_live_subnet_off_is_refused_with_the_way_out(
    deed: Callable[[nn.Module], object], words: str
) -> None:
    check_refused(deed, words)


def check_refused(deed: Callable[[nn.Module], object], words: str) -> None:
    network = supernet()
    subnet, before = network.at(SPACE.smallest), weights(network)
    with pytest.raises(
        RuntimeError, match=rf"{words} a live subnet would cut it off .*extract it first: supernet\.extract"
    ):
        deed(subnet)
    assert torch.equal(weights(network), before)
    check_that_it_trains(network, subnet)
    deed(copy.deepcopy(subnet))


@pytest.mark.parametrize("assign", [False, True])
def test_loading_into_a_live_subnet_is_refused_and_the_supernet_keeps_its_weights(assign: bool) -> None:
    network = supernet()
    subnet, before = network.at(SPACE.smallest), weights(network)
    other = filled(Supernet(SPACE, 3), seed=5).extract(SPACE.smallest)
    with pytest.raises(
        RuntimeError, match=r"loading into a live subnet would overwrite its supernet's weights; extract"
    ):
        subnet.load_state_dict(other.state_dict(), assign=assign)
    assert torch.equal(weights(network), before)
    check_that_it_trains(network, subnet)
    copied = copy.deepcopy(subnet)
    copied.load_state_dict(other.state_dict(), assign=assign)
    assert torch.equal(weights(copied), weights(other))


@pytest.mark.usefixtures("_conversion")
@pytest.mark.parametrize(
    "deed",
    [lambda net: net.float(), lambda net: net.to("cpu"), lambda net: net.cpu(), lambda net: net.requires_grad_(True)],
    ids=["float", "to", "cpu", "requires_grad_"],
)
def test_a_conversion_that_changes_nothing_is_none(deed: Callable[[nn.Module], nn.Module]) -> None:
    network = supernet()
    subnet = network.at(SPACE.smallest)
    own = nn.Linear(4, 4).double()
    subnet.note = own
    assert deed(subnet) is subnet
    check_that_it_trains(network, subnet)
    assert own.weight.dtype == (torch.float32 if "float" in deed.__code__.co_names else torch.float64)


def test_nothing_of_a_subnet_is_converted_before_it_is_refused() -> None:
    subnet = supernet().at(SPACE.smallest)
    subnet.resize = nn.Linear(4, 4)  # comes before all that is shared
    with pytest.raises(RuntimeError, match="replacing the data of"):
        subnet.double()
    assert subnet.resize.weight.dtype == torch.float32


@pytest.mark.parametrize("parametrize", [parametrizations.spectral_norm, parametrizations.orthogonal])
def test_parametrizing_a_live_layer_is_refused(parametrize: Callable[[nn.Module], nn.Module]) -> None:
    network = supernet()
    with pytest.raises(RuntimeError, match="parametrizing a live subnet would cut it off"):
        parametrize(network.at(SPACE.smallest).head.classifier)
    network.forget()  # orthogonal writes to the parameter before it parametrizes the layer
    parametrize(network.extract(SPACE.smallest).head.classifier)


# What reaches the tensors past the modules is noticed.


def frozen_one_by_one(subnet: nn.Module) -> None:
    for parameter in subnet.parameters():
        parameter.requires_grad = False


def replaced(subnet: nn.Module) -> None:
    subnet.head.classifier.weight.data = torch.zeros(3, 48)


def set_from_outside(subnet: nn.Module) -> None:
    with torch.no_grad():
        subnet.head.classifier.weight.set_(torch.zeros(3, 48))


def written_from_a_vector(subnet: nn.Module) -> None:
    head = list(subnet.head.parameters())
    nn.utils.vector_to_parameters(torch.zeros(sum(each.numel() for each in head)), head)


NOTICED = {
    "frozen one by one": (frozen_one_by_one, r"freezing or unfreezing .*undo it, freeze the supernet, or extract"),
    "data": (replaced, r"replacing the data of .*take it anew after supernet\.forget\(\)"),
    "set_": (set_from_outside, r"replacing the data of .*take it anew after supernet\.forget\(\)"),
    "a vector": (written_from_a_vector, r"replacing the data of .*take it anew after supernet\.forget\(\)"),
}


@pytest.mark.parametrize(("deed", "words"), NOTICED.values(), ids=NOTICED.keys())
def test_what_reaches_the_tensors_of_a_live_subnet_is_noticed_by_the_next_one_and_by_a_guarded_step(
    deed: Callable[[nn.Module], None], words: str
) -> None:
    network = supernet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.guard(optimizer)
    network.zero_grad()
    deed(network.at(SPACE.smallest))
    with pytest.raises(RuntimeError, match=words):
        network.at(SPACE.smallest)
    with pytest.raises(RuntimeError, match=words):
        optimizer.step()
    network.forget()
    check_that_it_trains(network, network.at(SPACE.smallest))


def test_setting_the_gradients_of_a_live_subnet_to_zero_keeps_them_those_of_the_supernet() -> None:
    network = supernet()
    subnet = network.at(SPACE.smallest)
    subnet(X).sum().backward()
    subnet.zero_grad()
    assert not network.gradients.rows.any()
    check_that_it_trains(network, subnet)
    with pytest.raises(ValueError, match="set_to_none=True would cut the subnets off"):
        subnet.zero_grad(set_to_none=True)


def test_clipping_and_scaling_the_gradients_of_a_live_subnet_are_those_of_the_supernet() -> None:
    network = supernet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.guard(optimizer)
    network.zero_grad()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    subnet = network.at(SPACE.smallest)
    scaler.scale(subnet(X).sum()).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(subnet.parameters(), 0.5)
    torch.testing.assert_close(network.gradients.norm(), torch.tensor(0.5), rtol=1e-4, atol=0)
    scaler.step(optimizer)


def test_an_optimizer_of_a_live_subnet_trains_the_supernet() -> None:
    network = supernet()
    subnet = network.at(SPACE.smallest)
    optimizer = torch.optim.SGD(subnet.parameters(), lr=0.1)
    before = network.head.classifier.weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()  # sets the gradients of the views to None, so they no longer are the supernet's
        F.cross_entropy(subnet(X), torch.arange(4) % 3).backward()
        optimizer.step()
    assert not torch.equal(network.head.classifier.weight[:, :48], before[:, :48])
    assert torch.equal(network.head.classifier.weight[:, 48:], before[:, 48:])


# To everybody else it is a plain network.


def test_a_live_subnet_prints_and_counts_as_the_plain_network_and_is_one() -> None:
    network = supernet()
    live, plain = network.at(SPACE.smallest), network.extract(SPACE.smallest)
    assert is_live(live)
    assert repr(live) == repr(plain)
    assert [name for name, _ in live.named_modules()] == [name for name, _ in plain.named_modules()]
    assert [name for name, _ in live.named_parameters()] == [name for name, _ in plain.named_parameters()]
    for mine, extracted in zip(live.modules(), plain.modules(), strict=True):
        assert isinstance(mine, type(extracted))
        assert (type(mine).__name__, type(mine).__module__) == (type(extracted).__name__, type(extracted).__module__)


def test_layers_of_one_class_are_of_one_live_class() -> None:
    network = supernet()
    live, plain = network.at(SPACE.largest), network.extract(SPACE.largest)
    assert len({type(module) for module in live.modules()}) == len({type(module) for module in plain.modules()})


def test_a_copy_of_a_live_subnet_holds_plain_modules_and_parameters_and_can_be_saved() -> None:
    network = filled(Supernet(SPACE, 3, stored_statistics=True))
    live = network.at(SPACE.smallest)
    copied = copy.deepcopy(live)
    assert type(copied) is Network
    assert type(copied.stages) is nn.ModuleList
    assert type(copied.stem.conv) is nn.Conv2d
    assert {type(parameter) for parameter in copied.parameters()} == {nn.Parameter}
    for tensor in (*copied.parameters(), *copied.buffers()):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    file = io.BytesIO()
    torch.save(copied, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded.eval()(X), live.eval()(X))


def test_a_copy_of_a_live_subnet_keeps_what_was_put_into_it() -> None:
    live = supernet().at(SPACE.smallest)
    live.head.dropout = nn.Dropout(0.25)
    live.stem.conv.register_forward_hook(lambda *_: torch.zeros(4, 8, 4, 4))
    copied = copy.deepcopy(live)
    assert copied.head.dropout.p == 0.25
    assert torch.equal(copied.stem.conv(X), torch.zeros(4, 8, 4, 4))


def test_modules_that_a_live_subnet_holds_twice_are_one_in_its_copy() -> None:
    live = supernet().at(SPACE.smallest)
    live.again = live.head
    copied = copy.deepcopy(nn.ModuleList([live, live]))
    assert copied[0] is copied[1]
    assert copied[0].again is copied[0].head


def test_a_shallow_copy_of_a_live_layer_is_live() -> None:
    network = supernet()
    layer = network.at(SPACE.smallest).head.classifier
    shallow = copy.copy(layer)
    assert shallow is not layer
    assert shallow.weight is layer.weight
    with pytest.raises(RuntimeError, match="replacing the data of"):
        shallow.double()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def test_tracing_a_live_block_gives_the_graph_of_the_plain_one_and_its_copy_is_plain() -> None:
    network = supernet()
    block, plain = network.at(SPACE.smallest).stem, network.extract(SPACE.smallest).stem
    graph, expected = _Tracer().trace(block), _Tracer().trace(plain)
    assert [node.target for node in graph.nodes] == [node.target for node in expected.nodes]
    traced = fx.GraphModule(block, graph)
    assert torch.equal(traced(X), block(X))
    assert type(copy.deepcopy(traced).conv) is nn.Conv2d


def test_function_transforms_take_the_gradients_that_backward_adds() -> None:
    network = supernet()
    subnet = network.at(SPACE.smallest)

    def total(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(subnet, parameters, (X,)).sum()

    gradients = torch.func.grad(total)(dict(subnet.named_parameters()))
    network.zero_grad()
    subnet(X).sum().backward()
    for name, parameter in subnet.named_parameters():
        assert isinstance(parameter, SharedParameter)
        torch.testing.assert_close(gradients[name], parameter.grad)
