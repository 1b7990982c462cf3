from __future__ import annotations

import json
from pathlib import Path

import pytest

import experiments.compact as compact
from nasvit.experiment.fit_config import FitConfig

FOLDER = Path(compact.__file__).parent / "compact"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if "network:" in path.read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_the_comparison_is_legal(file: Path) -> None:
    FitConfig.load(file)


@pytest.mark.parametrize("group", ["cifar", "caltech", "mobilenet", "ghost"])
def test_trainings_that_are_compared_differ_in_their_ingredients_only(group: str) -> None:
    configs = [FitConfig.load(file) for file in FILES if file.stem.startswith(f"{group}_")]
    equal = {(config.data, config.images, config.recipe.epochs, config.recipe.batch_size) for config in configs}
    assert len(configs) >= 6 and len(equal) == 1


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
    files = tuple(FILES[:2])
    rows = compact.run(compact.Settings(files, folder=tmp_path, json=tmp_path / "table.json"))
    assert [path.relative_to(tmp_path).as_posix() for path in asked] == [
        f"{file.stem}/{seed}" for seed in (0, 1) for file in files
    ]
    assert [row["accuracies"] for row in rows] == [[0.5, 0.6]] * 2
    assert json.loads((tmp_path / "table.json").read_text())["rows"] == rows
    assert "| 5,000 | 55.00 (50.00, 60.00) | 27.50 |" in compact.table(rows)
