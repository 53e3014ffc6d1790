"""Recipes by name: read the TOML files beside this module, and find the name of a record's numbers.

A named recipe fixes the numbers that move weights; the source of episodes stays the method's own. The name
enters no key: a key holds the numbers, and a table derives the name from them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fewshot.base.errors import unknown_name

PUBLISHED = "published"  # every method's own recipe
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class NamedRecipe:
    """Training numbers under a name.

    Attributes:
        title: what kind of training it is, in a few words.
        recipe: field of `Recipe` -> value, for every method.
        methods: method -> its own fields and options, which replace those of `recipe`.
    """

    name: str
    title: str
    recipe: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]

    def numbers_of(self, method: str) -> dict[str, Any]:
        """Return the fields of `Recipe` and the options of a method under this recipe."""
        return {**self.recipe, **self.methods.get(method, {})}


@cache
def named_recipes() -> dict[str, NamedRecipe]:
    """Return every named recipe but `published`, sorted by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = NamedRecipe(path.stem, content["title"], content["recipe"], content["methods"])
    return found


def find_recipe(name: str) -> NamedRecipe | None:
    """Return a named recipe; None for `published`, `UserError` for an unknown name."""
    if name == PUBLISHED:
        return None
    if name not in named_recipes():
        raise unknown_name("recipe", name, {PUBLISHED, *named_recipes()})
    return named_recipes()[name]


def recipe_name(method: str, numbers: Mapping[str, Any]) -> str | None:
    """Return the name of the recipe that a training followed in every number; None if it followed none.

    Args:
        method: name of the method.
        numbers: fields of `Recipe` and the method's options, as a record holds them.
    """
    for recipe in named_recipes().values():
        own = recipe.numbers_of(method)
        if all(name in numbers and numbers[name] == value for name, value in own.items()):
            return recipe.name
    return None
