"""List the methods that --method takes by name: what they are, labels they see, options and training.

Built-in methods first, then those that installed packages offer in the entry-point group `fewshot.methods`.
"""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: none of its own."""


def run(args: argparse.Namespace) -> int:
    """Print every method; status 1 where one cannot be loaded."""
    from fewshot.base.errors import UserError
    from fewshot.learners.registry import METHODS, known_methods, resolve_method

    status = 0
    names = known_methods()
    for name in [*METHODS, *sorted(set(names) - set(METHODS))]:
        print(f"{name}  ({names[name]})")
        try:
            lines = described(resolve_method(name))
        except (ImportError, UserError) as error:
            status, lines = 1, [f"cannot be loaded: {' '.join(str(error).split())}"]
        print("\n".join(f"  {line}" for line in lines), end="\n\n")
    return status


def described(learner: type[Any]) -> list[str]:
    """Return what there is to know of a learner class, line by line."""
    import inspect

    from fewshot.learners.registry import trains

    lines = [(inspect.getdoc(inspect.getmodule(learner)) or "no description").splitlines()[0]]
    regime = getattr(learner, "regime", "few-shot")
    lines.append(f"regime: {regime}; labels used in training: {getattr(learner, 'labels_used', 'none')}")
    lines.append(f"options: {fields(learner.Options) or 'none'}")
    lines.append(f"recipe: {values(learner.recipe()) if trains(learner) else 'nothing to train'}")
    return lines


def fields(options: type[Any]) -> str:
    """Return every option with its type and default."""
    import dataclasses

    return ", ".join(
        f"{field.name}: {getattr(field.type, '__name__', field.type)} = {getattr(options(), field.name)!r}"
        for field in dataclasses.fields(options)
    )


def values(recipe: Any) -> str:
    """Return every number of a recipe."""
    import dataclasses

    return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(recipe).items())
