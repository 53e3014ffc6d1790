"""What `import fewshot` offers: exactly the listed names, each from its module, typed, and loaded late."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fewshot

SURFACE = {
    "Learner", "PrototypeLearner", "Recipe", "LossResult", "Support", "Episode", "UserError", "seed_for",
    "call_logits", "resize_scores",
    "masked_average", "pooled_cells", "resize_masks", "set_scores", "similarities",
    "Explanation", "PaperLayout", "PaperTable", "evaluate", "headline",
}  # fmt: skip


def typed_imports() -> dict[str, str]:
    """Return name -> module of the imports that type checkers see."""
    tree = ast.parse(Path(str(fewshot.__file__)).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_surface_is_what_loads_late_and_what_type_checkers_see() -> None:
    homes = {name: home for home, names in fewshot._HOMES.items() for name in names}
    assert set(homes) == SURFACE and homes == typed_imports()


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_an_export_is_the_object_of_its_module_and_documented(name: str) -> None:
    found = getattr(fewshot, name)
    assert found.__module__ == typed_imports()[name] and found.__name__ == name
    assert inspect.getdoc(found)
    assert f"`{name}" in str(fewshot.__doc__)
    assert name in dir(fewshot)


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SSLALPNet'"):
        fewshot.SSLALPNet  # noqa: B018  # type: ignore[attr-defined]


def test_importing_fewshot_loads_nothing_heavy() -> None:
    code = (
        "import sys, fewshot; print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
