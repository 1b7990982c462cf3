from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Recipe, RecipeSpace, load, load_recipes, recipe_names
from search_spaces.reading import from_node, read_text
from search_spaces.saved import to_json_value
from search_spaces.schedule import Constant, Cosine, Linear, Step

SPACES = {name: load_recipes(name) for name in recipe_names()}
RECIPE = Recipe("sgd", 0.1, epochs=10, batch_size=32)
KEY = "86a2135da98da423"
HEADER = """\
name: small
source: this test
fields:
  optimizer: [sgd, adamw, lamb]
  epochs: 10
  batch_size: 32
"""

spaces = st.sampled_from(sorted(SPACES)).map(SPACES.__getitem__)


def recipes(text: str) -> RecipeSpace:
    return from_node(RecipeSpace, read_text(HEADER + text, "r.yaml"))


@given(spaces, st.integers(0, 2**32 - 1))
def test_decoding_and_encoding_recipes_are_inverse(space: RecipeSpace, seed: int) -> None:
    population = space.genome.sample(8, np.random.default_rng(seed))
    decoded = space.decode(population)
    np.testing.assert_array_equal(space.encode(decoded), population)
    assert [Recipe.from_json(recipe.to_json()) for recipe in decoded] == decoded


def test_recipe_genes_follow_architecture_genes_in_one_genome() -> None:
    space, recipe_space = load("micro8"), load_recipes("finetune_small")
    both = space.genome + recipe_space.genome
    assert both.recipe.sum() == len(recipe_space.genome)
    assert both.size == space.size * recipe_space.size
    population = both.sample(50, np.random.default_rng(0))
    np.testing.assert_array_equal(space.encode(space.decode(population[:, ~both.recipe])), population[:, ~both.recipe])
    np.testing.assert_array_equal(
        recipe_space.encode(recipe_space.decode(population[:, both.recipe])), population[:, both.recipe]
    )


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("0.1", (0.1,)),
        ("[0.1, 0.2]", (0.1, 0.2)),
        ("{values: [0.1, 0.2]}", (0.1, 0.2)),
        ("{low: 0.1, high: 0.5, steps: 5}", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("{low: 0.1, high: 0.5, step: 0.2}", (0.1, 0.3, 0.5)),
        ("{low: 1e-4, high: 1e-1, steps: 4, scale: log}", (1e-4, 1e-3, 1e-2, 1e-1)),
    ],
)
def test_a_field_is_a_value_a_list_or_a_range(setting: str, values: tuple[float, ...]) -> None:
    space = recipes(f"  learning_rate: {setting}\n")
    assert next(case.values for case in space.cases if case.field == "learning_rate") == values
    assert all(gene.recipe for gene in space.genome.genes)


def test_a_range_of_whole_numbers_holds_whole_numbers() -> None:
    space = recipes("  learning_rate: 0.1\n  randaugment: {low: 1, high: 9, steps: 3, integer: true}\n")
    assert space.genome.genes[-1].values == (1, 5, 9)
    assert [type(value) for value in space.genome.genes[-1].values] == [int, int, int]


def test_names_have_no_order_and_numbers_have_one() -> None:
    genome = recipes("  learning_rate: [0.1, 0.2]\n").genome
    assert dict(zip(genome.names, genome.ordinal.tolist())) == {
        "recipe.optimizer": False,
        "recipe.learning_rate": True,
    }


def test_a_conditional_field_takes_the_branch_of_its_condition() -> None:
    space = recipes(
        "  learning_rate: {values: [0.1, 0.2], when: {optimizer: sgd},\n"
        "    otherwise: {values: [0.01], when: {optimizer: adamw}, otherwise: [0.001, 0.002]}}\n"
        "  mixup: {values: [0.1, 0.2, 0.3], when: {optimizer: [sgd, lamb]}}\n"
    )
    assert space.size == (2 * 3) + 1 + (2 * 3)
    population = space.genome.sample(500, np.random.default_rng(0))
    found = {(r.optimizer, r.learning_rate) for r in space.decode(population)}
    assert found == {("sgd", 0.1), ("sgd", 0.2), ("adamw", 0.01), ("lamb", 0.001), ("lamb", 0.002)}
    assert len({recipe.key for recipe in space.decode(population)}) == space.size
    assert all(recipe.mixup == 0 for recipe in space.decode(population) if recipe.optimizer == "adamw")
    with pytest.raises(ValueError, match="learning_rate is 0.1; recipe space 'small' holds: 0.01"):
        space.check(Recipe("adamw", 0.1, 10, 32))


def test_a_branch_that_no_recipe_reaches_is_no_gene() -> None:
    space = recipes(
        "  learning_rate: 0.1\n  mixup: {values: [0.1, 0.2], when: {optimizer: [sgd, adamw, lamb]}, otherwise: [1, 2]}\n"
    )
    assert space.genome.names == ("recipe.optimizer", "recipe.mixup")
    assert space.genome.genes[1].when is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  learning_rat: 1\n", r"r\.yaml:7: fields\.learning_rat: unknown field .*did you mean 'learning_rate'"),
        ("  mixup: 0\n", r"r\.yaml:4: fields\.learning_rate: is missing and has no default"),
        ("  learning_rate: 0\n", r"r\.yaml:7: fields\.learning_rate: 0 is illegal; legal: numbers above 0"),
        ("  learning_rate: fast\n", r"r\.yaml:7: fields\.learning_rate: 'fast' is illegal; legal: numbers above 0 to 1000"),
        ("  learning_rate: true\n", r"r\.yaml:7: fields\.learning_rate: is True; legal:"),
        ("  learning_rate: [0.2, 0.1]\n", r"not ascending; write \[0\.1, 0\.2\]"),
        ("  learning_rate: [0.1, 0.1]\n", r"holds a value twice"),
        ("  learning_rate: {low: 1}\n", r"r\.yaml:7: fields\.learning_rate: needs both low and high"),
        ("  learning_rate: {steps: 2}\n", r"needs either values, or low and high"),
        ("  learning_rate: {low: 2, high: 1, steps: 2}\n", r"learning_rate\.high: 1 is not above low 2"),
        ("  learning_rate: {low: 1, high: 2}\n", r"needs either steps .* or step"),
        ("  learning_rate: {low: 1, high: 2, steps: 1}\n", r"steps: 1 is illegal; legal: whole numbers from 2 to 256"),
        ("  learning_rate: {low: 1, high: 2, step: 0.3}\n", r"step: 0\.3 does not lead from 1 to 2"),
        ("  learning_rate: {low: 0, high: 2, steps: 3, scale: log}\n", r"scale: log needs low above 0"),
        ("  learning_rate: {low: 1, high: 2, steps: 300}\n", r"steps: 300 is illegal; legal: whole numbers from 2 to 256"),
        ("  learning_rate: {values: 1, otherwise: 2}\n", r'otherwise: needs a "when"'),
        ("  learning_rate: {values: 1, when: {optimizer: sgd}}\n", r'has no default, so its "when" needs'),
        ("  learning_rate: {values: 1, when: {optimizer: sgdd}, otherwise: 2}\n", r"when\.optimizer: optimizer is never"),
        ("  learning_rate: {values: 1, when: {mixup: 1}, otherwise: 2}\n", r"when: 'mixup' cannot be a condition here"),
        ("  learning_rate: {values: 1, when: {epochs: 1, optimizer: sgd}}\n", r"when: names 2 fields; legal: one"),
        ("  learning_rate: 1\n  warmup_epochs: 11\n", r"r\.yaml:8: .*11 is more than the fewest epochs, 10"),
        ("  learning_rate: 1\n  randaugment: 2.5\n", r"randaugment: 2\.5 is illegal; legal: whole numbers from 0 to 10"),
        ("  learning_rate: 1\n  dropout: 1\n", r"dropout: 1 is illegal; legal: numbers from 0 to below 1"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_space_is_refused_with_line_and_legal_values(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipes(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adam"}, r"optimizer: 'adam' is unknown; did you mean 'adamw'\?"),
        ({"epochs": 2.5}, r"epochs: 2.5 is illegal; legal: whole numbers from 1"),
        ({"warmup_epochs": 11}, r"warmup_epochs: 11 is more than epochs 10"),
        ({"clip_value": -1}, r"clip_value: -1 is illegal; legal: numbers from 0"),
        ({"ema_decay": 1}, r"ema_decay: 1 is illegal; legal: numbers from 0 to below 1"),
        ({"color": 1}, r"color: unknown field of a recipe"),
    ],
)
def test_an_impossible_recipe_is_refused_in_words(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.from_json(json.dumps({**json.loads(RECIPE.to_json()), **change}))


def test_equal_recipes_are_equal_values_with_one_key(tmp_path: Path) -> None:
    other = Recipe("sgd", 0.1, 10, 32, mixup=0, weight_decay=0.0)
    assert other == RECIPE
    assert other.key == RECIPE.key
    RECIPE.save(tmp_path / "r.json")
    assert Recipe.load(tmp_path / "r.json") == RECIPE


def test_recipes_without_later_fields_keep_the_texts_and_keys_they_had_before_there_were_such() -> None:
    text = (
        '{"optimizer":"sgd","learning_rate":0.1,"epochs":10,"batch_size":32,"warmup_epochs":0,"weight_decay":0.0,'
        '"clip_norm":0.0,"label_smoothing":0.0,"mixup":0.0,"cutmix":0.0,"randaugment":0,"random_erasing":0.0,'
        '"dropout":0.0,"drop_path_rate":0.0,"ema_decay":0.0}'
    )
    assert RECIPE.to_json() == text and RECIPE.key == KEY
    assert replace(RECIPE, schedule=Cosine()).key == KEY != replace(RECIPE, schedule=Cosine(after_warmup=True)).key
    assert replace(RECIPE, clip_value=0).key == KEY != replace(RECIPE, clip_value=1).key
    assert to_json_value(RECIPE) == json.loads(text)


def test_clipping_of_values_is_asked_for_by_a_number_and_kept_in_json() -> None:
    text = "{optimizer: sgd, learning_rate: 0.1, epochs: 10, batch_size: 32, clip_value: 1}"
    recipe = from_node(Recipe, read_text(text, "r.yaml"))
    assert recipe == replace(RECIPE, clip_value=1.0)
    assert '"clip_norm":0.0,"clip_value":1.0,"label_smoothing":0.0,' in recipe.to_json()
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("given", "schedule", "written"),
    [
        ("linear", Linear(), {"kind": "linear"}),
        ("step", Step(), {"kind": "step"}),
        ("{kind: constant, warmup_start: 0}", Constant(), {"kind": "constant"}),
        (
            "{kind: cosine, minimum: 1e-5, warmup_start: 1e-6}",
            Cosine(minimum=1e-5, warmup_start=1e-6),
            {"kind": "cosine", "minimum": 1e-5, "warmup_start": 1e-6},
        ),
        ("{kind: cosine, after_warmup: true}", Cosine(after_warmup=True), {"kind": "cosine", "after_warmup": True}),
        (
            "{kind: step, milestones: [0.5, 1], factor: 0.5, minimum: 1e-3}",
            Step(milestones=(0.5, 1.0), factor=0.5, minimum=1e-3),
            {"kind": "step", "milestones": [0.5, 1.0], "factor": 0.5, "minimum": 1e-3},
        ),
    ],
)
def test_a_schedule_is_asked_for_by_its_kind_and_kept_in_json(given: str, schedule: Any, written: Any) -> None:
    text = f"{{optimizer: sgd, learning_rate: 0.1, epochs: 10, batch_size: 32, schedule: {given}}}"
    recipe = from_node(Recipe, read_text(text, "r.yaml"))
    assert recipe == replace(RECIPE, schedule=schedule)
    assert json.loads(recipe.to_json())["schedule"] == written or schedule == Cosine()
    assert Recipe.from_json(recipe.to_json()) == Recipe(**json.loads(recipe.to_json())) == recipe


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            "steps",
            r"schedule: 'steps' is no kind of schedule; did you mean 'step'\? legal: cosine, linear, step, exponential, constant",
        ),
        ({"kind": ["step"]}, r"schedule: \['step'\] is no kind of schedule"),
        (
            {"kind": "linear", "factor": 1},
            r"schedule\.factor: unknown field of a linear schedule; legal: kind, minimum",
        ),
        ({"kind": "step", "factor": 0}, r"schedule\.factor: 0 is illegal; legal: numbers above 0 to 1"),
        ({"kind": "step", "milestones": [0.6, 0.3]}, r"schedule\.milestones: \[0\.6, 0\.3\]; legal: ascending shares"),
        ({"kind": "cosine", "minimum": -1}, r"schedule\.minimum: -1 is illegal; legal: numbers from 0"),
        ({"kind": "cosine", "minimum": 1}, r"schedule\.minimum: 1\.0 is more than learning_rate 0\.1"),
        ({"kind": "cosine", "warmup_start": "x"}, r"schedule\.warmup_start: 'x' is illegal; legal: numbers from 0"),
        ({"kind": "cosine", "after_warmup": 1}, r"schedule\.after_warmup: is 1; legal: true or false"),
    ],
)
def test_an_impossible_schedule_is_refused_in_words(schedule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, schedule=schedule)


def test_schedules_are_searched_by_their_kinds() -> None:
    space = recipes(
        "  schedule: [cosine, {kind: step, factor: 0.5}, linear]\n"
        "  learning_rate: {values: [0.1, 0.2], when: {schedule: [cosine, linear]}, otherwise: 1}\n"
    )
    decoded = space.decode(space.genome.sample(200, np.random.default_rng(0)))
    assert {(recipe.schedule, recipe.learning_rate) for recipe in decoded} == {
        *((schedule, rate) for schedule in (Cosine(), Linear()) for rate in (0.1, 0.2)),
        (Step(factor=0.5), 1.0),
    }
    assert space.decode(space.encode(decoded)) == decoded
    with pytest.raises(
        ValueError, match=r"r\.yaml:8: fields\.schedule: minimum 0\.5 is more than the smallest learning"
    ):
        recipes("  learning_rate: [0.1, 1]\n  schedule: {kind: linear, minimum: 0.5}\n")


def test_load_recipes_takes_a_name_or_a_path() -> None:
    assert set(recipe_names()) >= {"fbnetv3", "finetune_small"}
    for name, space in SPACES.items():
        assert space.name == name
    with pytest.raises(ValueError, match="no recipe space is called 'fbnet'; did you mean 'fbnetv3'"):
        load_recipes("fbnet")
