"""Who may import whom, enforced on the source: the packages stay a graph without cycles."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = ("episodes", "fewshot", "baselines", "protocols", "results")
BASE = {
    "fewshot.base.types",
    "fewshot.base.errors",
    "fewshot.files.input_files",
    "fewshot.base.seeds",
    "fewshot.files.atomic_io",
    "fewshot.files.locks",
    "fewshot.files.names",
    "fewshot.files.seals",
    "fewshot.identity.key_parts",
    "fewshot.identity.regimes",
    "fewshot.learners.paper_layout",
    "fewshot.recipes.named_recipe",
}
# what a module of a package may import of the project, besides its own package
ALLOWED: dict[str, set[str]] = {
    "episodes": BASE
    | {"fewshot.encoders.backbone_file", "fewshot.base.memory", "fewshot.pretraining.positive_matches"},
    "results": BASE,
    "fewshot": set(),
    "baselines": {"fewshot"},
    "protocols": {"episodes", "fewshot", "results"},
    "fewshot.commands": {"episodes", "fewshot", "baselines", "protocols", "results"},
}
# every package of the tree; a package imports those before it
ORDER = (
    "fewshot.base", "fewshot.files", "fewshot.recipes", "fewshot.identity", "fewshot.encoders",
    "fewshot.text", "fewshot.learners", "fewshot.studies", "fewshot.regimes",
    "fewshot.training", "fewshot.pretraining", "fewshot.contract",
    "episodes", "episodes.datasets", "episodes.io", "episodes.store", "episodes.pseudo_labels",
    "episodes.plan", "episodes.sampling", "episodes.contrastive", "episodes.prepare",
    "episodes.prepare.own_data", "episodes.prepare.recognition", "episodes.prepare.downloads",
    "episodes.phantoms", "episodes.prepare.picture_sets", "episodes.prepare.spine_sets",
    "episodes.figures",
    "baselines", "baselines.qnet", "baselines.rpt", "baselines.gmrd", "baselines.dspnet",
    "baselines.tmunet", "baselines.mptpn", "baselines.immseg", "baselines.hourglass",
    "results", "results.metrics", "results.records", "results.summary", "results.inference", "results.tables",
    "results.leaderboard", "results.board_page", "results.comparison", "results.figures",
    "protocols.rules", "protocols", "protocols.regimes", "protocols.training",
    "protocols.cells", "protocols.runs",
    "protocols.campaign", "protocols.scoring", "protocols.submission", "protocols.saved_masks",
    "protocols.own_scan",
    "protocols.studies", "protocols.verification",
    "protocols.conformance",
    "protocols.conformance.replays", "protocols.conformance.parts", "protocols.conformance.data",
    "protocols.conformance.systems",
    "fewshot.commands", "fewshot.commands.data", "fewshot.commands.experiment", "fewshot.commands.cluster",
    "fewshot.commands.tables", "fewshot.commands.publish",
    "fewshot.commands.pictures", "fewshot.commands.own_scans", "fewshot.commands.develop",
    "fewshot.commands.start", "fewshot",
)  # fmt: skip
TWO_HOMES = {"PIL": ("episodes.contrastive.images", "episodes.io.pictures")}
MOST_MODULES = 12  # directly in a package, besides __init__.py
ONE_HOME = {
    "sacred": "protocols.cells.sacred_run",
    "submitit": "protocols.campaign.engines",
    "faiss": "fewshot.learners.nearest",
    "SimpleITK": "episodes.io.simpleitk_io",  # files and grids; slices are registered in a baseline
    "nibabel": "episodes.io.nifti",
    "skimage": "episodes.pseudo_labels.superpixels",
    "numba": "episodes.pseudo_labels.felzenszwalb",
    "monai": "results.metrics.distances",
    "kornia": "episodes.contrastive.view_transforms",
    "transformers": "fewshot.encoders.foundation",
}
OTHER_HOMES = {
    "SimpleITK": ("baselines.register_support",),  # which may not import `episodes`
    "transformers": ("baselines.mptpn.text", "fewshot.text.sentence_encoder"),  # words, sentences
}
HEAVY = (
    "torch",
    "skimage",
    "SimpleITK",
    "nibabel",
    "matplotlib",
    "pandas",
    "sacred",
    "scipy",
    "faiss",
    "numba",
    "monai",
    "numpy",
    "PIL",
    "kornia",
    "transformers",
)
# `fewshot` loads this module on the first use of `fewshot.evaluate` or `fewshot.headline`: one upward import,
# by name. Users need one module for a learner and its evaluation, and evaluation needs protocols.
LAZY_EXCEPTION = "protocols.runs.evaluate_learner"
# at module level; the rest where it is used
COMMANDS_MAY = {
    "fewshot.commands",
    "fewshot.base.errors",
    "fewshot.files.locks",
    "fewshot.base.malloc",
    "fewshot.base.signals",
}


def imports(source: str, module: str) -> Iterator[tuple[str, bool]]:
    """Yield (imported module, at module level) of a module's source; type-checking imports are no imports."""
    yield from _imports(ast.parse(source), module, True)


def _imports(node: ast.AST, module: str, top: bool) -> Iterator[tuple[str, bool]]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return
    if isinstance(node, ast.Import):
        yield from ((alias.name, top) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parent = module.rsplit(".", node.level)[0] + "." if node.level else ""
        base = (parent + (node.module or "")).rstrip(".")
        # `from package import module` may name a module: both readings are checked
        yield base, top
        yield from ((f"{base}.{alias.name}", top) for alias in node.names)
    inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, module, top and not inner)


def within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def violations(module: str, source: str) -> list[str]:
    """Return every import of `module` that the rules forbid, in words."""
    home = "fewshot.commands" if within(module, "fewshot.commands") else module.split(".")[0]
    found = []
    for name, top in imports(source, module):
        root = name.split(".")[0]
        if module not in (ONE_HOME.get(root, module), *OTHER_HOMES.get(root, ())):
            found.append(f"{module} imports {name}, which {ONE_HOME[root]} alone may")
        if module not in TWO_HOMES.get(root, (module,)):
            found.append(f"{module} imports {name}, which {' and '.join(TWO_HOMES[root])} alone may")
        if root in PACKAGES:
            found += _project_fault(module, home, name)
        if home == "fewshot.commands" and top:
            if root in HEAVY:
                found.append(f"{module} imports {name} at module level; import it where it is used")
            if root in PACKAGES and name not in PACKAGES and not any(within(name, ok) for ok in COMMANDS_MAY):
                found.append(f"{module} imports {name} at module level; import it where it is used")
    return found


def _project_fault(module: str, home: str, name: str) -> list[str]:
    if home != "fewshot.commands" and within(name, "fewshot.commands") and module != "fewshot.__main__":
        return [f"{module} imports {name}; nothing imports a command"]
    if within(name, home.split(".")[0]) or name == "fewshot":
        return []
    if any(within(name, allowed) for allowed in ALLOWED[home]):
        return []
    return [
        f"{module} imports {name}; {home} may import {', '.join(sorted(ALLOWED[home])) or 'itself alone'}"
    ]


def package_of(name: str) -> str:
    """Return the nearest package in `ORDER` that holds a module or a name of it; "" outside the project."""
    while name and name not in ORDER:
        name = name.rpartition(".")[0]
    return name


def upward(module: str, source: str) -> list[str]:
    """Return every import of `module` from a package that is later in `ORDER`, in words."""
    home = package_of(module)
    return [
        f"{module} imports {name}; {package_of(name)} comes after {home} in ORDER"
        for name, _top in imports(source, module)
        if package_of(name) and ORDER.index(package_of(name)) > ORDER.index(home) and name != "fewshot"
    ]


def packages(root: Path) -> set[str]:
    """Return the name of every folder at any depth that is a Python package, as modules write it."""
    heads = [path.parent for path in root.glob("*/__init__.py")]
    inner = [path.parent for head in heads for path in head.rglob("__init__.py")]
    return {".".join(folder.relative_to(root).parts) for folder in inner}


@cache
def sources() -> dict[str, Path]:
    """Return module name -> file of every module of the project."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@pytest.mark.parametrize("module", sorted(sources()))
def test_module_keeps_the_import_rule(module: str) -> None:
    assert violations(module, sources()[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("episodes.store.store", "from fewshot.learner import Learner"),
        ("episodes.store.store", "from fewshot import learner"),
        ("episodes.store.store", "import results.records"),
        ("results.tables.fold_tables", "def f():\n    from episodes.plan.plan import CellPlan"),
        ("results.tables.fold_tables", "import protocols"),
        ("fewshot.training.loop", "import episodes.sampling.superpixel"),
        ("fewshot.training.loop", "from baselines.ssl_alpnet import SSLALPNet"),
        ("fewshot.training.loop", "from ..commands import main"),
        ("baselines.new", "from episodes.store import Store"),
        ("baselines.new", "import fewshot.commands.experiment.run"),
        ("protocols.runs.runner", "from baselines import ssl_alpnet"),
        ("protocols.runs.runner", "import sacred"),
        ("protocols.runs.runner", "from sacred.observers import FileStorageObserver"),
        ("episodes.store.store", "import nibabel as nib"),
        ("episodes.store.index", "from skimage import measure"),
        ("fewshot.learners.prototypes", "import faiss"),
        ("episodes.pseudo_labels.supervoxels", "def f():\n    from numba import njit"),
        ("episodes.contrastive.batches", "from PIL import Image"),
        ("fewshot.pretraining.densecl", "import kornia.filters"),
        ("fewshot.encoders.checkpoints", "from transformers import Dinov2Model"),
        ("fewshot.commands.experiment.run", "import torch"),
        ("fewshot.commands.experiment.run", "if True:\n    import torch.nn"),
        ("fewshot.commands.experiment.run", "from episodes.store import Store"),
    ],
)
def test_a_violation_is_found(module: str, source: str) -> None:
    assert violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("episodes.store.store", "from fewshot.files.atomic_io import write_json"),
        ("episodes.store.store", "import numpy, torch\nfrom episodes.store.index import ClassSliceIndex"),
        ("episodes.io.simpleitk_io", "def f():\n    import SimpleITK"),
        ("baselines.new", "from fewshot.learner import PrototypeLearner"),
        (
            "protocols.runs.runner",
            "from results.records import make_record\nfrom fewshot.registry import resolve_method",
        ),
        (
            "fewshot.commands.experiment.run",
            "def run():\n    import torch\n    from protocols.runs.runner import run",
        ),
        (
            "fewshot.commands.experiment.run",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        ),
        ("fewshot.__main__", "from fewshot.commands.main import main"),
    ],
)
def test_what_is_allowed_is_not_a_violation(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_the_order_names_every_package_once() -> None:
    assert len(ORDER) == len(set(ORDER))
    assert packages(ROOT) == set(ORDER)
    assert {name.split(".")[0] for name in packages(ROOT)} == set(PACKAGES)


def test_the_installed_packages_are_those_of_the_tree() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert built["packages"] == sorted(packages(ROOT))


def test_a_package_without_a_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "results" / "extra" / "deeper").mkdir(parents=True)
    for folder in ("results", "results/extra", "results/extra/deeper"):
        (tmp_path / folder / "__init__.py").touch()
    assert packages(tmp_path) - set(ORDER) == {"results.extra", "results.extra.deeper"}


def test_every_module_lies_in_a_package() -> None:
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in sources().values()}
    assert folders <= packages(ROOT)


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_follow_the_order_of_packages(module: str) -> None:
    assert upward(module, sources()[module].read_text(encoding="utf-8")) == []


def test_an_import_against_the_order_is_found() -> None:
    assert upward("episodes.store.store", "from episodes.plan import roles")
    assert upward("protocols.cells.evaluate", "def f():\n    import protocols.runs.runner")
    assert not upward("protocols.runs.runner", "from protocols.cells.evaluate import evaluate")


@pytest.mark.parametrize("folder", [*ORDER, "bench"])
def test_a_package_has_at_most_twelve_modules(folder: str) -> None:
    modules = [path for path in (ROOT / folder.replace(".", "/")).glob("*.py") if path.stem != "__init__"]
    assert len(modules) <= MOST_MODULES


def test_the_packages_are_not_empty() -> None:
    assert {name.split(".")[0] for name in sources() if "." in name} == set(PACKAGES)


def test_fewshot_loads_one_module_of_another_package_by_name() -> None:
    import fewshot

    assert [home for home in fewshot._HOMES if not within(home, "fewshot")] == [LAZY_EXCEPTION]
