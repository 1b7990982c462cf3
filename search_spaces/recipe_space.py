"""Recipe spaces: the recipes that a search may try, encoded as rows of integers and decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.genome import Gene, Genome, Population
from search_spaces.reading import legal_names, load_yaml
from search_spaces.recipe import DEFAULTS, FIELDS, Recipe, check_names, checked_entry
from search_spaces.recipe_choice import Case, RecipeChoice, Scalar
from search_spaces.values import MOST_VALUES, FieldError

_OF_LOADED = ("loaded_rate", "frozen_epochs")
_CATALOG = Path(__file__).parent / "recipes"

Setting = Scalar | tuple[Scalar, ...] | RecipeChoice
"""The choices for a field: one value, a list of values, or the long form."""


@dataclass(frozen=True)
class RecipeSpace:
    """All recipes that a search may try.

    Args:
        name: a short name.
        source: origin of the space.
        fields: choices for each field of a recipe; a field that is left out keeps the recipe's default.

    Raises:
        ValueError: naming the field and the mistake.
    """

    name: str
    source: str
    fields: dict[str, Setting]

    def __post_init__(self) -> None:
        try:
            check_names(self.fields)
        except FieldError as error:
            raise error.under("fields") from None
        for field in _OF_LOADED:
            if field in self.fields:
                problem = "says how loaded weights train; candidates of a search start from a supernet, or at random"
                raise FieldError(["fields", field], problem)
        for field in self.fields:
            self._check_condition(field)
        self._check_warmup()
        self._check_minimum()

    def _check_condition(self, field: str) -> None:
        setting = self.fields[field]
        conditions: set[str] = set()
        while isinstance(setting, RecipeChoice) and setting.when is not None:
            conditions.update(setting.when)
            setting = () if setting.otherwise is None else setting.otherwise
        for parent in conditions:
            given = self.fields.get(parent)
            if parent == field or given is None or (isinstance(given, RecipeChoice) and given.when is not None):
                legal = [f for f, s in self.fields.items() if f != field and not getattr(s, "when", None)]
                problem = f"{parent!r} cannot be a condition here; {legal_names(parent, legal)}"
                raise FieldError(["fields", field, "when"], problem)
        if len(conditions) > 1:
            raise FieldError(["fields", field], f"depends on {sorted(conditions)}; legal: one field")

    def _check_warmup(self) -> None:
        warmup, epochs = max(self.values("warmup_epochs")), min(self.values("epochs"))
        if warmup > epochs:
            raise FieldError(["fields", "warmup_epochs"], f"{warmup} is more than the fewest epochs, {epochs}")

    def _check_minimum(self) -> None:
        lowest = max(getattr(schedule, "minimum", 0.0) for schedule in self.values("schedule"))
        rate = min(self.values("learning_rate"))
        if lowest > rate:
            raise FieldError(
                ["fields", "schedule"], f"minimum {lowest} is more than the smallest learning_rate, {rate}"
            )

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """For every field, in order, its values under every condition that some recipe meets."""
        cases: list[Case] = []
        for field in FIELDS:
            if field in self.fields:
                cases.extend(self._cases(field))
            else:
                cases.append(Case(field, field, (DEFAULTS[field],)))
        return tuple(cases)

    @cached_property
    def genome(self) -> Genome:
        """The fields with at least two values: the columns of a population; every gene has ``recipe=True``."""
        return Genome(tuple(self._gene(case) for case in self.cases if len(case.values) > 1))

    def values(self, field: str) -> list[Any]:
        """Return the values that a field may have, whatever the others are."""
        return [value for case in self.cases if case.field == field for value in case.values]

    @property
    def size(self) -> int:
        """Number of different recipes."""
        return self.genome.size

    def sample(self, rng: np.random.Generator) -> Recipe:
        """Return one recipe with every decision drawn uniformly; ``genome.sample`` draws many at once."""
        return self.decode(self.genome.sample(1, rng))[0]

    def encode(self, recipes: Sequence[Recipe]) -> Population:
        """Return recipes as a canonical population, one row each.

        Raises:
            ValueError: a recipe is not in this space.
        """
        population = np.zeros((len(recipes), len(self.genome)), dtype=np.uint8)
        for row, recipe in zip(population, recipes):
            self.check(recipe)
            for case in self.cases:
                if case.name in self._column and _holds(case, recipe):
                    row[self._column[case.name]] = case.values.index(getattr(recipe, case.field))
        return population

    def decode(self, population: Population) -> list[Recipe]:
        """Return the recipe of every row; genes that do not count are ignored.

        Raises:
            ValueError: not a population of this space's genome.
        """
        self.genome.check(population)
        return [self._recipe(row) for row in population.tolist()]

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe that this space does not hold.

        Raises:
            ValueError: naming the field, the value and the legal ones.
        """
        for case in self.cases:
            value = getattr(recipe, case.field)
            if _holds(case, recipe) and value not in case.values:
                legal = ", ".join(map(str, case.values))
                raise ValueError(f"{case.field} is {value!r}; recipe space {self.name!r} holds: {legal}")

    @cached_property
    def _column(self) -> dict[str, int]:
        """Column of every case that is a gene."""
        return {gene.name.removeprefix("recipe."): column for column, gene in enumerate(self.genome.genes)}

    def _recipe(self, row: Sequence[int]) -> Recipe:
        chosen: dict[str, Any] = {}
        for case in sorted(self.cases, key=lambda case: case.condition is not None):
            if case.condition is None or chosen[case.condition[0]] in case.condition[1]:
                chosen[case.field] = case.values[row[self._column[case.name]] if case.name in self._column else 0]
        return Recipe(**chosen)

    def _gene(self, case: Case) -> Gene:
        when = None
        if case.condition is not None:
            parent = self._values(case.condition[0])
            when = (f"recipe.{case.condition[0]}", tuple(parent.index(value) for value in case.condition[1]))
        return Gene(f"recipe.{case.name}", case.values, case.ordinal, recipe=True, when=when)

    def _values(self, field: str) -> tuple[Any, ...]:
        """Return the values of a field that depends on no other."""
        return _canonical(field, self.fields[field])

    def _cases(self, field: str) -> Iterator[Case]:
        """Yield the cases of one field; a case that no recipe meets is left out."""
        name, setting = field, self.fields[field]
        left: tuple[Any, ...] | None = None
        while isinstance(setting, RecipeChoice) and setting.when is not None:
            parent, wanted = next(iter(setting.when.items()))
            possible = self._values(parent) if left is None else left
            chosen = self._condition_values(field, parent, wanted)
            yield from self._case(name, field, _canonical(field, setting), parent, [v for v in possible if v in chosen])
            left = tuple(value for value in possible if value not in chosen)
            name = f"{name}.otherwise"
            if setting.otherwise is None:
                yield from self._case(name, field, self._default(field), parent, left)
                return
            setting = setting.otherwise
        values = _canonical(field, setting)
        if left is None:
            yield Case(name, field, values)
        else:
            yield from self._case(name, field, values, parent, left)

    def _case(self, name: str, field: str, values: tuple[Any, ...], parent: str, when: Sequence[Any]) -> Iterator[Case]:
        if len(when) == len(self._values(parent)):
            yield Case(name, field, values)
        elif when:
            yield Case(name, field, values, (parent, tuple(when)))

    def _default(self, field: str) -> tuple[Any, ...]:
        if field not in DEFAULTS:
            raise FieldError(["fields", field], 'has no default, so its "when" needs an "otherwise"')
        return (DEFAULTS[field],)

    def _condition_values(self, field: str, parent: str, wanted: tuple[Scalar, ...]) -> tuple[Any, ...]:
        legal = self._values(parent)
        if parent == "schedule":
            wanted = tuple(checked_entry(parent, value) for value in wanted)
        for value in wanted:
            if value not in legal:
                problem = f"{parent} is never {value!r}; legal: {', '.join(map(str, legal))}"
                raise FieldError(["fields", field, "when", parent], problem)
        return wanted


def load_recipes(name: str | Path) -> RecipeSpace:
    """Read a recipe space.

    Args:
        name: a name of the catalog, or the path of a file that ends in ``.yaml``.

    Raises:
        ValueError: the catalog has no such recipe space, or the file is wrong (named with its line).
    """
    if str(name).endswith((".yaml", ".yml")):
        return load_yaml(RecipeSpace, name)
    if str(name) not in recipe_names():
        raise ValueError(
            f"no recipe space is called {str(name)!r}; {legal_names(str(name), recipe_names())}; or a path to .yaml"
        )
    return load_yaml(RecipeSpace, _CATALOG / f"{name}.yaml")


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipe spaces of the catalog."""
    return tuple(sorted(path.stem for path in _CATALOG.glob("*.yaml")))


def _holds(case: Case, recipe: Recipe) -> bool:
    return case.condition is None or getattr(recipe, case.condition[0]) in case.condition[1]


def _canonical(field: str, setting: Setting) -> tuple[Any, ...]:
    """Return the values of a setting, each checked and in its canonical form."""
    listed = setting.listed() if isinstance(setting, RecipeChoice) else setting
    try:
        values = tuple(checked_entry(field, value) for value in (listed if isinstance(listed, tuple) else (listed,)))
    except FieldError as error:
        raise error.under("fields") from None
    if len(values) > MOST_VALUES:
        raise FieldError(["fields", field], f"has {len(values)} values; legal: 1 to {MOST_VALUES}")
    if len(set(values)) < len(values):
        raise FieldError(["fields", field], f"{list(values)} holds a value twice")
    if values and isinstance(values[0], (int, float)) and list(values) != sorted(values):
        raise FieldError(["fields", field], f"{list(values)} is not ascending; write {sorted(values)}")
    return values
