"""Every number of every file has a range of its own, which is checked where the value is made."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from nasvit.experiment.config import Experiment
from nasvit.experiment.training import FitConfig
from nasvit.options import take_overrides
from search_spaces import RecipeSpace, Space
from search_spaces.hints import field_types, settable
from search_spaces.ranges import Checked, Range
from tests.nasvit.experiment.tiny import write_experiment


def bare_numbers(hint: Any, classes: dict[Any, None]) -> Iterator[Any]:
    """The numbers without a range in a type; the dataclasses in it are collected."""
    if typing.get_origin(hint) is Annotated and isinstance(typing.get_args(hint)[1], Range):
        return
    if hint in (int, float):
        yield hint
    if isinstance(hint, type) and is_dataclass(hint) and hint not in classes:
        classes[hint] = None
    for each in typing.get_args(hint):
        yield from bare_numbers(each, classes)


def test_every_number_that_a_file_may_hold_has_a_range() -> None:
    classes: dict[Any, None] = dict.fromkeys((Experiment, FitConfig, Space, RecipeSpace))
    without, seen, checked = [], 0, set()
    while seen < len(classes):
        cls, seen = list(classes)[seen], seen + 1
        for name in settable(cls):
            hint = field_types(cls)[name]
            without += [f"{cls.__name__}.{name}" for _ in bare_numbers(hint, classes)]
            checked |= {cls} if "Range" in str(hint) else set()
    assert seen > 25
    of_recipes = {"RecipeSpace.fields", *(f"RecipeChoice.{name}" for name in ("values", "when", "otherwise"))}
    assert set(without) == of_recipes  # values of the fields of a recipe, whose ranges are theirs
    assert [cls.__name__ for cls in checked if not issubclass(cls, Checked)] == []


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--data.padding 100000", "100000 is illegal; legal: whole numbers from 0 to 1024"),
        ("--data.image_size 20000", "20000 is illegal; legal: whole numbers from 1 to 4096"),
        ("--threads 100000", "100000 is illegal; legal: whole numbers from 0 to 256"),
        ("--search.images -5", "-5 is illegal; legal: whole numbers from 0 to 1000000000"),
        ("--search.seed -1", "-1 is illegal; legal: whole numbers from 0 to 2147483647"),
        ("--search.calibration_batch_size 0", "0 is illegal; legal: whole numbers from 1 to 131072"),
        ("--search.budgets macs<=1e400", "beyond all that networks cost"),
        ("--train.evaluate_every -1", "-1 is illegal; legal: whole numbers from 0"),
        ("--train.random_subnets 1000000000", "1000000000 is illegal; legal: whole numbers from 0 to 64"),
        ("--finetune.batch_size 2147483648", "2147483648 is illegal; legal: whole numbers from 1 to 131072"),
        ('--finetune.clip_norm "1e59"', "is '1e59'; legal: a number from 0 to 1000000"),
        ("--finetune.clip_norm 1e59", "1e+59 is illegal; legal: numbers from 0 to 1000000"),
        ("--finetune.clip_norm 1e999", "is '1e999'; legal: a number from 0 to 1000000"),
        ("--finetune.clip_norm .nan", "is '.nan'; legal: a number from 0 to 1000000"),
        (f"--finetune.epochs {'7' * 400}", "legal: a whole number from 1 to 100000"),
        (f"--finetune.epochs {'7' * 90}", "a number of more than 80 digits is illegal; legal: whole numbers from 1"),
        ("--compare.learning_rate -1", "-1.0 is illegal; legal: numbers above 0 to 1000"),
        ("--hours 1e308", "1e+308 is illegal; legal: numbers above 0 to 100000"),
    ],
)
def test_nonsense_is_refused_by_its_name_in_one_line(option: str, words: str, tmp_path: Path) -> None:
    _, fields = take_overrides(option.split())
    with pytest.raises(ValueError, match="^--") as refused:
        Experiment.load(write_experiment(tmp_path), fields)
    assert words in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 250
