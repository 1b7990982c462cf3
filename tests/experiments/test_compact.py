from __future__ import annotations

import json
from pathlib import Path

import pytest

import experiments.compact as compact
from nasvit.experiment.training import FitConfig
from search_spaces.recipe import Recipe
from search_spaces.saved import to_json_value
from search_spaces.schedule import Cosine

TRAININGS = {training.name: training for table in compact.TABLES.values() for training in table}


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_every_training_of_the_comparison_is_legal(training: compact.Training) -> None:
    assert training.config(seed=3).seed == 3
    assert Path(training.config(0).network).is_file()


@pytest.mark.parametrize(
    ("table", "file", "name"),
    [
        ("teachers", "compact_teachers", "{}"),
        ("netaug", "compact_netaug", "{}"),
        ("netaug_few_steps", "compact_netaug_few_steps", "few_steps_{}"),
        ("ghost", "compact_ghost", "{}"),
    ],
)
def test_a_table_trains_what_its_results_were_measured_with(table: str, file: str, name: str) -> None:
    recorded = json.loads(Path(f"experiments/results/{file}.json").read_text(encoding="utf-8"))["configs"]
    assert {name.format(each) for each in recorded} == {training.name for training in compact.TABLES[table]}
    for each, config in recorded.items():
        after_warmup = config.pop("decay_after_warmup")  # the name it had when this was measured
        recipe = Recipe(**config.pop("recipe"), schedule=Cosine(after_warmup=after_warmup))
        asked = to_json_value(TRAININGS[name.format(each)].config(config["seed"]))
        assert asked.pop("recipe") == to_json_value(recipe)
        assert asked["precision"] == "auto"  # float32 on the processor that this was measured on
        config["precision"], data = "auto", config.pop("data")
        data.pop("workers", None)  # changes no result
        if config["teacher"] is not None:
            config["teacher"] = {**config["teacher"], "temperature": 1.0}  # which was the only one then
        assert {key: asked["data"][key] for key in data} == data
        assert {key: asked[key] for key in config} == config


@pytest.mark.parametrize("file", ["cifar", "caltech", "mobilenet", "ghost"])
def test_trainings_that_are_compared_differ_in_their_ingredients_only(file: str) -> None:
    configs = [training.config(0) for name, training in TRAININGS.items() if name.startswith(f"{file}_")]
    equal = {(config.data, config.images, config.recipe.epochs, config.recipe.batch_size) for config in configs}
    assert len(configs) >= 6 and len(equal) == 1


def test_a_name_that_is_no_table_and_no_training_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="'netaugg' is no table and no training; did you mean 'netaug'"):
        _ = compact.Settings(("netaugg",)).trainings


def test_the_table_has_a_row_for_each_file_with_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fit(config: FitConfig, folder: Path) -> dict[str, object]:
        asked.append(folder)
        accuracy = 0.5 + 0.1 * config.seed
        return {
            "deployed": {"accuracy": accuracy, "class_accuracy": accuracy / 2},
            "before_fusing": {"accuracy": accuracy},
            "config": {"network": config.network, "recipe": {"epochs": 3}},
            "macs": 5000,
            **dict.fromkeys(("params", "training_params", "training_images", "test_images", "training_seconds"), 7),
            "versions": {},
        }

    monkeypatch.setattr(compact, "fit", fit)
    names = ("cifar_baseline", "ghost_branches")
    rows = compact.run(compact.Settings(names, folder=tmp_path, json=tmp_path / "table.json"))
    assert [path.relative_to(tmp_path).as_posix() for path in asked] == [
        f"{name}/{seed}" for seed in (0, 1) for name in names
    ]
    assert [row["accuracies"] for row in rows] == [[0.5, 0.6]] * 2
    assert json.loads((tmp_path / "table.json").read_text())["rows"] == rows
    assert "| 5,000 | 55.00 (50.00, 60.00) | 27.50 |" in compact.table(rows)
