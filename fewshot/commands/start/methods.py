"""Describe methods: paper, labels seen in training, options and recipe.

Without a NAME, the built-in methods come first, then those of installed packages (entry-point group
`fewshot.methods`).

Examples:
  fewshot methods
  fewshot methods ssl-alpnet dspnet
"""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="methods to describe (default: every known method)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the methods; return 1 if one cannot be loaded."""
    from fewshot.base.errors import UserError, unknown_name
    from fewshot.learners.registry import METHODS, known_methods, resolve_method

    status = 0
    names = known_methods()
    for name in args.names:
        if name not in names:
            raise unknown_name("method", name, names)
    for name in args.names or [*METHODS, *sorted(set(names) - set(METHODS))]:
        print(f"{name}  ({names[name]})")
        try:
            lines = describe(resolve_method(name))
        except (ImportError, UserError) as error:
            status, lines = 1, [f"cannot be loaded: {' '.join(str(error).split())}"]
        print("\n".join(f"  {line}" for line in lines), end="\n\n")
    return status


def describe(learner: type[Any]) -> list[str]:
    """Return the description of a learner class as lines: summary, labels, options, recipe."""
    import inspect

    from fewshot.learners.registry import options_class, trains

    lines = [(inspect.getdoc(inspect.getmodule(learner)) or "no description").splitlines()[0]]
    regime = getattr(learner, "regime", "few-shot")
    lines.append(f"regime: {regime}; labels used in training: {getattr(learner, 'labels_used', 'none')}")
    lines.append(f"options: {fields(options_class(learner)) or 'none'}")
    lines.append(f"recipe: {values(learner.recipe()) if trains(learner) else 'nothing to train'}")
    return lines


def fields(options: type[Any]) -> str:
    """Return the options as text: name, type and default of each."""
    import dataclasses

    return ", ".join(
        f"{field.name}: {getattr(field.type, '__name__', field.type)} = {getattr(options(), field.name)!r}"
        for field in dataclasses.fields(options)
    )


def values(recipe: Any) -> str:
    """Return the numbers of a recipe as text."""
    import dataclasses

    return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(recipe).items())
