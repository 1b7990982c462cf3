"""What was loaded trains slower than what was made anew, or stays as it is for some epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasvit.training.conflict import Project, Sum
from nasvit.training.learner import Learner
from nasvit.training.loaded import Freezing
from nasvit.training.optimizers import build_optimizer, set_learning_rate
from nasvit.training.trainer import Trainer
from search_spaces.recipe import OPTIMIZERS, Recipe
from tests.nasvit.training.short import RECIPE, learner_of, state_of, trainer_of

FROZEN = replace(RECIPE, frozen_epochs=1, weight_decay=0.05)
KINDS = ("network", "supernet", "project", "switches")
EPOCH = 4  # steps


def is_loaded(name: str) -> bool:
    return "classifier" not in name


def trainer(kind: str, folder: Path, recipe: Recipe = FROZEN, loaded: Callable[[str], bool] = is_loaded) -> Trainer:
    plain = learner_of(kind, replace(recipe, loaded_rate=1.0, frozen_epochs=0))
    learner = Learner(
        plain.model,
        recipe,
        sampling=plain.sampling,
        distill=plain.distill,
        conflict=plain.conflict,
        is_loaded=loaded,
    )
    return trainer_of(learner, folder, recipe)


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[bool]:
    """Whether parameters moved, by whether they count as loaded: of the loaded ones and of the others."""
    return {
        is_loaded(name)
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter.view(torch.int32), before[name].view(torch.int32))
    }


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        *(("network", each) for each in OPTIMIZERS),
        ("project", "adamw"),
        ("supernet", "lamb"),
        ("switches", "rmsprop_tf"),
    ],
)
def test_frozen_weights_keep_every_bit_while_the_others_train(kind: str, optimizer: str, tmp_path: Path) -> None:
    training = trainer(kind, tmp_path, replace(FROZEN, optimizer=optimizer))
    assert training.steps_per_epoch == EPOCH
    model, before = training.learner.model, state_of(training.learner.model)
    training.run(until=EPOCH)
    assert changed(model, before) == {False}
    assert training.average is not None
    assert changed(training.average.model, before) == {False}
    training.run()
    assert changed(model, before) == {True, False}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_weights_have_no_moments_until_they_train(optimizer: str, tmp_path: Path) -> None:
    training = trainer("network", tmp_path, replace(FROZEN, optimizer=optimizer))
    training.run(until=EPOCH)
    for name, parameter in training.learner.model.named_parameters():
        moments = [each for each in training.optimizer.state[parameter].values() if isinstance(each, Tensor)]
        assert any(bool(each.any()) for each in moments) != is_loaded(name), name


@pytest.mark.parametrize(
    ("kind", "stop"),
    [*(("network", stop) for stop in (2, EPOCH, 6)), ("project", EPOCH), ("supernet", 2), ("switches", 6)],
)
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(kind: str, stop: int, tmp_path: Path) -> None:
    recipe = replace(FROZEN, loaded_rate=0.3)
    trainer(kind, tmp_path / "parts", recipe).run(until=stop)
    whole, parts = (state_of(trainer(kind, tmp_path / name, recipe).run()) for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("kind", ["network", "project"])
def test_gradients_of_frozen_weights_do_not_count_where_gradients_are_clipped(kind: str, tmp_path: Path) -> None:
    training = trainer(kind, tmp_path, replace(FROZEN, dropout=0.0, drop_path_rate=0.0))
    norms: list[float] = []
    take = training.take_step
    training.take_step = lambda sound: (  # type: ignore[assignment,method-assign]
        norms.append(float(_norm(training))),
        take(sound),
    )
    training.run(until=EPOCH + 1)
    frozen, (free,) = norms[:EPOCH], norms[EPOCH:]
    assert frozen == [0.0] * EPOCH and free > 0


def _norm(training: Trainer) -> Tensor:
    pairs = zip(training.learner.model.named_parameters(), training.learner.gradients.views, strict=True)
    return torch.stack([gradient.norm() for (name, _), gradient in pairs if is_loaded(name)]).norm()


def test_a_backward_pass_ends_where_nothing_trains(tmp_path: Path) -> None:
    training = trainer("network", tmp_path)
    needs = [parameter for name, parameter in training.learner.model.named_parameters() if is_loaded(name)]
    training.run(until=1)
    assert not any(parameter.requires_grad for parameter in needs)
    training.run(until=EPOCH + 1)
    assert all(parameter.requires_grad for parameter in needs)


def rates(recipe: Recipe, loaded: list[nn.Parameter], model: nn.Module) -> dict[str, float]:
    optimizer = build_optimizer(model.named_parameters(), recipe, loaded=loaded, loaded_rate=recipe.loaded_rate)
    set_learning_rate(optimizer, 0.5)
    of = {id(each): group["lr"] for group in optimizer.param_groups for each in group["params"]}
    return {name: of[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_learning_rate_of_what_was_loaded_is_a_share_of_that_of_the_others(optimizer: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    recipe = replace(RECIPE, optimizer=optimizer, loaded_rate=0.1)
    found = rates(recipe, [*model[0].parameters(), *model[1].parameters()], model)
    assert found == {name: 0.5 if name.startswith("2.") else 0.05 for name in found}


def test_a_share_of_the_rate_moves_the_first_step_of_plain_gradient_descent_by_that_share(tmp_path: Path) -> None:
    bare = Recipe(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=32)
    moved: list[dict[str, Tensor]] = []
    for number, rate in enumerate((1.0, 0.25)):
        training = trainer("network", tmp_path / str(number), replace(bare, loaded_rate=rate))
        before = state_of(training.learner.model)
        training.run(until=1)
        moved.append({name: each - before[name] for name, each in training.learner.model.named_parameters()})
    for name, whole in moved[0].items():
        share = 0.25 if is_loaded(name) else 1.0
        torch.testing.assert_close(moved[1][name], share * whole, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_recipes_that_say_nothing_of_it_train_to_the_last_bit_as_before(kind: str, tmp_path: Path) -> None:
    plain = trainer_of(learner_of(kind, RECIPE), tmp_path / "plain")
    told = trainer(kind, tmp_path / "told", RECIPE)
    assert [set(group) for group in plain.optimizer.param_groups] == [
        set(group) for group in told.optimizer.param_groups
    ]
    first, second = (state_of(each.run(until=5)) for each in (plain, told))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


REFUSED: dict[str, tuple[dict[str, Any], Any, str]] = {
    "nothing was loaded": ({"loaded_rate": 0.1}, None, "this network starts from random ones"),
    "nothing to freeze": ({"frozen_epochs": 1}, None, "this network starts from random ones"),
    "nothing to train": ({"frozen_epochs": 1}, lambda name: True, "everything was loaded and nothing made anew"),
}


@pytest.mark.parametrize(("recipe", "loaded", "words"), REFUSED.values(), ids=REFUSED)
def test_what_a_recipe_says_of_loaded_weights_needs_some(recipe: dict[str, Any], loaded: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Learner(learner_of("network", RECIPE).model, replace(RECIPE, **recipe), is_loaded=loaded)


def test_a_policy_around_others_hands_on_what_they_find() -> None:
    learner = learner_of("project", RECIPE)
    assert isinstance(learner.conflict, Project)
    assert isinstance(Learner(learner.model, RECIPE, is_loaded=is_loaded).conflict, Sum)
    frozen = Learner(learner.model, FROZEN, conflict=learner.conflict, is_loaded=is_loaded).conflict
    assert isinstance(frozen, Freezing) and frozen.policy is learner.conflict
