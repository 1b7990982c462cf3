from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from search_spaces.reading import load_yaml
from search_spaces.recipe import Recipe as Training


@dataclass(frozen=True)
class Cosine:
    kind: Literal["cosine"] = "cosine"
    minimum: float = 0.0


@dataclass(frozen=True)
class Step:
    kind: Literal["step"] = "step"
    factor: float = 0.1
    milestones: tuple[float, ...] = (0.5,)


@dataclass(frozen=True)
class Recipe:
    epochs: int
    rate: float = 0.1
    mixup: float = 0.0
    schedule: Cosine | Step = Cosine()


@dataclass(frozen=True)
class Extra:
    weight: float = 1.0
    widths: tuple[float, ...] = (1.0, 2.0)


@dataclass(frozen=True)
class Whole:
    name: str
    recipe: Recipe
    usual: Recipe = Recipe(7, rate=0.5, mixup=0.3)
    budgets: tuple[str, ...] = ()
    extra: Extra | None = None
    weights: dict[str, float] = field(default_factory=dict)
    note: str = ""
    limit: int | None = 4


BASE = """\
name: base
recipe: {epochs: 5, rate: 0.2, mixup: 0.1, schedule: {kind: step, factor: 0.5}}
budgets: [a, b]
extra: {weight: 3}
weights: {x: 1, y: 2}
limit: 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    return tmp_path


def child(folder: Path, text: str, name: str = "child.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_says_only_what_differs_from_its_base(folder: Path) -> None:
    whole = load_yaml(Whole, child(folder, "base: base.yaml\nrecipe: {epochs: 9}\nbudgets: [c]\nweights: {y: 3}\n"))
    recipe = Recipe(9, 0.2, 0.1, Step(factor=0.5))
    assert whole == Whole("base", recipe, budgets=("c",), extra=Extra(3), weights={"x": 1.0, "y": 3.0}, limit=3)


def test_bases_have_bases_and_paths_are_counted_from_the_file_that_names_them(folder: Path) -> None:
    child(folder, "base: ../base.yaml\nname: middle\nrecipe: {rate: 0.3}\n", "below/middle.yaml")
    whole = load_yaml(Whole, child(folder, "base: below/middle.yaml\nrecipe: {epochs: 9}\n"))
    assert (whole.name, whole.recipe.epochs, whole.recipe.rate, whole.recipe.mixup) == ("middle", 9, 0.3, 0.1)


def test_a_base_may_lie_below_the_home_of_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    whole = load_yaml(Whole, child(folder, "base: ~/base.yaml\nrecipe: {epochs: 9}\n", "below/child.yaml"))
    assert (whole.name, whole.recipe.epochs) == ("base", 9)


def test_null_takes_an_inherited_key_out(folder: Path) -> None:
    text = "base: base.yaml\nextra: null\nbudgets: null\nrecipe: {mixup: ~, schedule: null}\nweights: {x: null}\nlimit: null\n"
    whole = load_yaml(Whole, child(folder, text))
    assert (whole.extra, whole.budgets, whole.weights, whole.limit) == (None, (), {"y": 2.0}, None)
    assert whole.recipe == Recipe(5, 0.2)


def test_what_was_taken_out_may_come_back_further_up(folder: Path) -> None:
    child(folder, "base: base.yaml\nextra: null\nrecipe: {mixup: null}\n", "middle.yaml")
    whole = load_yaml(Whole, child(folder, "base: middle.yaml\nextra: {widths: [4]}\nrecipe: {mixup: 0.7}\n"))
    assert whole.extra == Extra(widths=(4.0,)) and whole.recipe.mixup == 0.7


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("{kind: cosine, minimum: 0.01}", Cosine(minimum=0.01)),
        ("cosine", Cosine()),
        ("{kind: step, milestones: [0.9]}", Step(factor=0.5, milestones=(0.9,))),
        ("{milestones: [0.9]}", Step(factor=0.5, milestones=(0.9,))),
        ("step", Step()),
    ],
)
def test_another_kind_stands_in_the_place_of_the_inherited_one(folder: Path, text: str, schedule: Any) -> None:
    path = child(folder, f"base: base.yaml\nrecipe: {{schedule: {text}}}\n")
    assert load_yaml(Whole, path).recipe.schedule == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: base.yaml\nrecipe:\n  epochz: 3", r"child\.yaml:3: recipe\.epochz: unknown key; did you mean 'epochs'"),
        ("base: base.yaml\nrecipe:\n  epochs: x", r"child\.yaml:3: recipe\.epochs: is 'x'; legal: a whole number"),
        ("base: base.yaml\nrecipe:\n  mixup:", r"child\.yaml:3: recipe\.mixup: is None; legal: a number"),
        ("base: base.yaml\nrecipe:\n  epochs: null", r"child\.yaml:3: recipe: the key 'epochs' is missing"),
        ("base: base.yaml\nnote: null", r"child\.yaml:2: note: is None; legal: text"),
        ("base: other.yaml", r"child\.yaml:1: base: there is no file '.*other\.yaml'; the path is counted from"),
        ("\nbase: [base.yaml]", r"child\.yaml:2: base: is a list; legal: the path of a YAML file"),
        ("name: x\nrecipe: {base: base.yaml, epochs: 1}", r"child\.yaml:2: recipe\.base: unknown key"),
        ("base: child.yaml", r"child\.yaml:1: base: the files inherit from each other: .*child.yaml -> .*child\.yaml"),
    ],
)
def test_a_mistake_is_named_where_it_stands(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_yaml(Whole, child(folder, text))


def test_a_mistake_in_the_base_is_named_there(folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE.replace("rate: 0.2", "rate: fast"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"base\.yaml:2: recipe\.rate: is 'fast'; legal: a number"):
        load_yaml(Whole, child(folder, "base: base.yaml\n\n\nrecipe: {epochs: 9}\n"))


def test_a_circle_of_files_is_refused_in_words(folder: Path) -> None:
    child(folder, "name: x\nbase: child.yaml\n", "middle.yaml")
    with pytest.raises(ValueError, match=r"middle\.yaml:2: base: .*child\.yaml -> .*middle\.yaml -> .*child\.yaml"):
        load_yaml(Whole, child(folder, "base: middle.yaml\n"))


@pytest.mark.parametrize(
    ("option", "text", "found"),
    [
        ("name", "a: b # c", lambda whole: whole.name == "a: b # c"),
        ("note", "", lambda whole: whole.note == ""),
        ("name", "'3'", lambda whole: whole.name == "3"),
        ("recipe.epochs", "20", lambda whole: whole.recipe == Recipe(20, 0.2, 0.1, Step(factor=0.5))),
        ("recipe.rate", "1e-3", lambda whole: whole.recipe.rate == 1e-3),
        ("recipe.mixup", "null", lambda whole: whole.recipe.mixup == 0),
        ("recipe", "{epochs: 6}", lambda whole: whole.recipe == Recipe(6, 0.2, 0.1, Step(factor=0.5))),
        ("recipe.schedule", "cosine", lambda whole: whole.recipe.schedule == Cosine()),
        ("recipe.schedule.kind", "cosine", lambda whole: whole.recipe.schedule == Cosine()),
        ("recipe.schedule.factor", "0.2", lambda whole: whole.recipe.schedule == Step(factor=0.2)),
        ("budgets", "[x, y, z]", lambda whole: whole.budgets == ("x", "y", "z")),
        ("budgets", "x", lambda whole: whole.budgets == ("x",)),
        ("budgets.1", "z", lambda whole: whole.budgets == ("a", "z")),
        ("budgets[0]", "z", lambda whole: whole.budgets == ("z", "b")),
        ("extra", "null", lambda whole: whole.extra is None),
        ("extra.widths.0", "7", lambda whole: whole.extra == Extra(3, (7.0,))),
        ("weights.z", "3", lambda whole: whole.weights == {"x": 1.0, "y": 2.0, "z": 3.0}),
        ("usual.epochs", "8", lambda whole: whole.usual == Recipe(8, rate=0.5, mixup=0.3)),
        ("usual.mixup", "null", lambda whole: whole.usual == Recipe(7, rate=0.5)),
        ("usual.schedule.minimum", "0.1", lambda whole: whole.usual.schedule == Cosine(minimum=0.1)),
        ("usual.schedule.kind", "step", lambda whole: whole.usual.schedule == Step()),
    ],
)
def test_an_option_goes_before_what_the_file_says(folder: Path, option: str, text: str, found: Any) -> None:
    path = child(folder, "base: base.yaml\nextra: {widths: 5}\n")
    assert found(load_yaml(Whole, path, [(option, text)]))


def test_of_options_the_whole_goes_before_its_parts_and_the_last_one_counts(folder: Path) -> None:
    options = [
        ("recipe.schedule.milestones", "[0.3]"),
        ("recipe.schedule.kind", "step"),
        ("recipe.schedule", "cosine"),
        ("recipe.epochs", "1"),
        ("recipe.epochs", "2"),
        ("recipe", "{epochs: 3, rate: 4}"),
    ]
    assert load_yaml(Whole, folder / "base.yaml", options).recipe == Recipe(2, 4, 0.1, Step(milestones=(0.3,)))


def test_a_part_of_what_the_file_names_by_its_kind_may_be_changed(folder: Path) -> None:
    path = child(folder, "name: x\nrecipe: {epochs: 5, schedule: step}\n")
    assert load_yaml(Whole, path, [("recipe.schedule.factor", "0.5")]).recipe.schedule == Step(factor=0.5)


@dataclass(frozen=True)
class Helper:
    name: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Helper:
        if not text.isalpha():
            raise ValueError(f"{text!r} is no name")
        return cls(text)


@dataclass(frozen=True)
class Helped:
    helper: Helper | None = None


def test_a_part_of_what_the_file_writes_as_text_may_be_changed(folder: Path) -> None:
    path = child(folder, "helper: anna\n")
    assert load_yaml(Helped, path, [("helper.weight", "2")]).helper == Helper("anna", 2.0)
    assert load_yaml(Helped, path, [("helper.name", "bob"), ("helper.weight", "2")]).helper == Helper("bob", 2.0)
    with pytest.raises(ValueError, match=r"--helper\.color: unknown key; legal: name, weight"):
        load_yaml(Helped, path, [("helper.color", "red")])
    with pytest.raises(ValueError, match=r":1: helper.*: '1' is no name"):
        load_yaml(Helped, child(folder, "helper: '1'\n"), [("helper.weight", "2")])


def test_a_part_of_what_the_file_leaves_out_may_be_given(folder: Path) -> None:
    whole = load_yaml(Whole, child(folder, "name: x\n"), [("recipe.epochs", "5"), ("extra.weight", "2")])
    assert whole == Whole("x", Recipe(5), extra=Extra(2))


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("recipe.epochz", "3", r"^--recipe\.epochz: unknown key; did you mean 'epochs'\? legal: epochs, rate"),
        ("recipee.epochs", "3", r"^--recipee: unknown key; did you mean 'recipe'\? legal: name, recipe"),
        ("recipe", "{epochz: 3}", r"^--recipe\.epochz: unknown key"),
        ("recipe.epochs", "many", r"^--recipe\.epochs: is 'many'; legal: a whole number"),
        ("recipe.epochs", "", r"^--recipe\.epochs: is ''; legal: a whole number"),
        ("recipe.epochs", "null", r"base\.yaml:2: recipe: the key 'epochs' is missing"),
        ("recipe.schedule.kind", "linear", r"^--recipe\.schedule\.kind: is 'linear'; legal: cosine, step"),
        ("recipe.schedule", "cosin", r"^--recipe\.schedule: is 'cosin'; did you mean 'cosine'\? legal: cosine, step"),
        ("recipe.schedule", "3", r"^--recipe\.schedule: is 3; legal: one of cosine, step"),
        ("recipe.rate.x", "3", r"^--recipe\.rate: is a mapping; legal: a number"),
        ("budgets.2", "x", r"^--budgets\.2: budgets is a list of 2 and has no entry '2'; legal: 0 to 1"),
        ("budgets.x", "x", r"^--budgets\.x: budgets is a list of 2 and has no entry 'x'"),
        ("usual.schedule.milestones.0", "1", r"^--usual\.schedule\.milestones\.0: there is no list at usual\.schedule"),
        ("budgets", "[x", r"^--budgets: '\[x' is not YAML"),
        ("recipe..epochs", "3", r"^--recipe\.\.epochs: a part of the name is empty"),
    ],
)
def test_a_mistake_in_an_option_names_the_option(folder: Path, option: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_yaml(Whole, folder / "base.yaml", [(option, text)])


def test_a_mistake_found_by_the_class_names_the_option_that_made_it(folder: Path) -> None:
    path = child(folder, "optimizer: sgd\nlearning_rate: 0.1\nepochs: 5\nbatch_size: 8\n")
    with pytest.raises(ValueError, match=r"^--dropout: 2\.0 is illegal; legal: numbers from 0 to below 1"):
        load_yaml(Training, path, [("dropout", "2")])
    with pytest.raises(ValueError, match=r"^--warmup_epochs: 6 is more than epochs 5"):
        load_yaml(Training, path, [("warmup_epochs", "6")])
