"""Read a method's optional offers: ablation rows, an explanation, the layout of its paper's tables.

All three are members of the learner class, so a user's own file can have them:

- `ablations`, label of a row -> option -> text as `--option` takes it: `fewshot ablate METHOD` trains the
  method once per row and seed, and compares every row with the first.
- `explain(support, query)` -> `Explanation`: `fewshot explain` draws it (`fewshot.explanation`).
- `paper_layout`, a `PaperLayout`: `fewshot paper METHOD` prints the paper's tables (`fewshot.paper_layout`).

A class inherits them from its base method; `ablations = {}`, `explain = None` and `paper_layout = None`
withdraw them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewshot.base.errors import UserError
from fewshot.learners.method_identity import method_name
from fewshot.learners.paper_layout import PaperLayout
from fewshot.learners.registry import METHODS, resolve_method


def ablation_rows(name: str) -> dict[str, dict[str, str]]:
    """Return label -> options of a method's ablation rows, in the method's order.

    Raises:
        UserError: no such method, a method without ablations, or a row that does not map text to text.
    """
    rows = getattr(resolve_method(name), "ablations", None)
    if not rows:
        known = _methods_with("ablations")
        raise UserError(f"method {name!r} has no ablations; built-in methods that have: {known}")
    if not isinstance(rows, Mapping):
        raise UserError(f"ablations of {name} are a {type(rows).__name__}, expected label -> options")
    for label, options in rows.items():
        if not isinstance(label, str) or not isinstance(options, Mapping):
            raise UserError(f"ablations of {name}: row {label!r} is {options!r}, expected option -> text")
        for option, text in options.items():
            if not isinstance(text, str):
                raise UserError(
                    f"ablations of {name}: row {label!r} sets {option} to {text!r}, expected text as "
                    "--option takes it; put it in quotes"
                )
    return {label: dict(options) for label, options in rows.items()}


def check_explainer(learner: type[Any], name: str) -> None:
    """Raise `UserError` unless a learner class has a method `explain`."""
    if not callable(getattr(learner, "explain", None)):
        raise UserError(
            f"method {name!r} has no explanation; built-in methods that have: {_methods_with('explain')}; "
            "overlay draws the masks of any method"
        )


def paper_layout_of(name: str) -> PaperLayout:
    """Return the layout of the tables in a method's paper; SELF becomes the method's name in records.

    Raises:
        UserError: no such method, or a method without a layout.
    """
    learner = resolve_method(name)
    layout = getattr(learner, "paper_layout", None)
    if layout is None:
        known = _methods_with("paper_layout")
        raise UserError(f"method {name!r} has no paper layout; built-in methods that have: {known}")
    if not isinstance(layout, PaperLayout):
        raise UserError(f"paper_layout of {name} is a {type(layout).__name__}, expected a PaperLayout")
    return layout.named(method_name(name, learner))


def _methods_with(member: str) -> str:
    """Return the names of the built-in methods whose class has a member, sorted and joined by commas."""
    return ", ".join(sorted(name for name in METHODS if getattr(resolve_method(name), member, None)))
