"""The files at the papers' size can be run: all that they name is there, and fits together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch

from experiments.paper_checks import FILES, is_experiment
from nasvit.compute import ALONE
from nasvit.costs.ends import costs_of_ends
from nasvit.data.known import KNOWN
from nasvit.experiment.config import Experiment
from nasvit.experiment.made_up import MadeUpImages, count_images
from nasvit.experiment.training import FitConfig
from nasvit.registry import create
from nasvit.training.schedule import learning_rate
from search_spaces import load
from search_spaces.recipe import FIELDS
from search_spaces.recipe_space import load_recipes

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / FILES).glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_all_that_a_papers_recipe_names_is_there_and_fits_together(name: str) -> None:
    path = ROOT / FILES / f"{name}.yaml"
    config = (Experiment if is_experiment(path) else FitConfig).load(path)
    counted = count_images(config.data, seed=0, split_seed=0)
    known, classes = KNOWN[config.data.source], len(counted.classes)
    assert counted.train + counted.validation == known.train and classes == known.classes
    assert classes == 1000 or (classes, counted.validation) == (200, 9_993)
    images = MadeUpImages(counted, config.data, seed=0, compute=ALONE, head=None)
    if isinstance(config, FitConfig):
        trainings = [config.training]
        with torch.device("meta"):
            create(config.network, 1000)
        assert config.network == "mcunet" or config.widths or config.netaug or config.branches
    else:
        trainings = [config.train, config.finetune] if config.search.trains_supernet else [config.finetune]
        if config.search.recipes is not None:
            recipes = load_recipes(config.search.recipes)
            recipes.encode([config.finetune.recipe])
        assert config.space is not None
        least, most = costs_of_ends(load(config.space), classes)
        for limit in (limit for budget in config.search.budgets for limit in budget.limits):
            assert least[limit.metric] <= limit.high and limit.low <= most[limit.metric]
    for training in trainings:
        loader = images.training(training.recipe)
        loader.check_training()
        assert learning_rate(training.recipe, len(loader))(1) > 0
        for teacher in () if training.teacher is None else training.teacher.networks:
            assert timm.is_model(teacher.removeprefix("timm:").partition(".")[0])
            assert timm.get_pretrained_cfg(teacher.removeprefix("timm:")).num_classes == 1000


def test_every_line_of_a_papers_recipe_says_where_it_is_from() -> None:
    assert len(NAMES) >= 10
    fields = re.compile(rf"^ +({'|'.join(name for name in FIELDS if name != 'schedule')}):.*", re.MULTILINE)
    for name in NAMES:
        lines = [each.group() for each in fields.finditer((ROOT / FILES / f"{name}.yaml").read_text(encoding="utf-8"))]
        assert len(lines) >= 2
        assert not [
            line for line in lines if not re.search(r"\[(P|C|U|M|A|ours)\]", line) and "conflict" not in line
        ], name
