"""Search spaces of subnets and of training recipes, and single architectures and recipes, as values.

Needs numpy and PyYAML only. ``load("nasvit")`` reads a space of the catalog, ``load("my_space.yaml")`` your own.
"""

from __future__ import annotations

from pathlib import Path

from search_spaces.architecture import Architecture
from search_spaces.elastic import ElasticArchitecture, ElasticSpace
from search_spaces.genome import Gene, Genome, Population
from search_spaces.options import Activation, MBConvOptions, TransformerOptions
from search_spaces.protocol import SearchSpace, Subnet
from search_spaces.reading import legal_names, load_yaml
from search_spaces.recipe import Recipe
from search_spaces.recipe_space import RecipeSpace, load_recipes, recipe_names
from search_spaces.space import Space
from search_spaces.stages import Head, Stage, Stem
from search_spaces.values import FieldError, make_divisible

__all__ = [
    "Activation",
    "Architecture",
    "ElasticArchitecture",
    "ElasticSpace",
    "FieldError",
    "Gene",
    "Genome",
    "Head",
    "MBConvOptions",
    "Population",
    "Recipe",
    "RecipeSpace",
    "SearchSpace",
    "Space",
    "Stage",
    "Stem",
    "Subnet",
    "TransformerOptions",
    "load",
    "load_recipes",
    "make_divisible",
    "names",
    "recipe_names",
]

_CATALOG = Path(__file__).parent / "catalog"


def names() -> tuple[str, ...]:
    """Return the names of the spaces of the catalog."""
    return tuple(sorted(path.stem for path in _CATALOG.glob("*.yaml")))


def load(name: str | Path) -> Space:
    """Read a search space.

    Args:
        name: a name of the catalog, or the path of a file that ends in ``.yaml``.

    Raises:
        ValueError: the catalog has no such space, or the file is wrong (named with its line).
    """
    if str(name).endswith((".yaml", ".yml")):
        return load_yaml(Space, name)
    if str(name) not in names():
        raise ValueError(f"no space is called {str(name)!r}; {legal_names(str(name), names())}; or a path to .yaml")
    return load_yaml(Space, _CATALOG / f"{name}.yaml")
