"""Digests of the code behind every versioned part; `digests.py --write` records them anew.

A digest covers the part's modules and all modules of the project that these import, as syntax trees without
docstrings. It says that code changed, not that numbers did: tests/house/test_fingerprint.py says that.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from places import GOLDEN

from fewshot.identity.source_digest import combined_digest, file_digest, imported_files, module_file
from fewshot.identity.versions import PARTS
from fewshot.learners.method_identity import is_project_file, method_version
from fewshot.learners.registry import METHODS, resolve_method

RECORDED = GOLDEN / "digests.json"
# part -> the modules that compute it; what they import of the project counts too
MODULES: dict[str, tuple[str, ...]] = {
    "preparation": (
        "episodes.prepare.abdomen",
        "episodes.prepare.downloads.acdc",
        "episodes.prepare.build",
        "episodes.prepare.downloads.chaos",
        "episodes.prepare.downloads.cmr",
        "episodes.prepare.own_data.folder",
        "episodes.prepare.paired_nifti",
        "episodes.prepare.downloads.synapse",
        "episodes.store.slices",
    ),
    "pseudo_labels": (
        "episodes.pseudo_labels.superpixels",
        "episodes.pseudo_labels.supervoxels",
        "protocols.training.pseudo_labels",
    ),
    "sampling": (
        "episodes.sampling.annotated",
        "episodes.sampling.augment",
        "episodes.sampling.device_sampler",
        "episodes.sampling.labelled",
        "episodes.sampling.superpixel",
        "episodes.sampling.supervoxel",
    ),
    "encoder": ("fewshot.encoders.checkpoints", "fewshot.encoders.encoder", "fewshot.encoders.foundation"),
    "prototypes": ("fewshot.learners.learner", "fewshot.learners.nearest", "fewshot.learners.prototypes"),
    "training": (
        "fewshot.training.loop",
        "fewshot.training.optimizer_step",
        "protocols.training.models",
        "protocols.training.stages",
    ),
    "pretraining": (
        "episodes.contrastive.batches",
        "fewshot.pretraining.densecl",
        "protocols.training.pretraining",
    ),
    "evaluation": (
        "episodes.plan.plan",
        "protocols.cells.evaluate",
        "protocols.runs.selection",
        "results.metrics.counts",
    ),
}


def digests() -> dict[str, dict[str, Any]]:
    """Return part or method -> its version and the digest of its code."""
    parts = {name: {"version": PARTS[name], "digest": _digest(modules)} for name, modules in MODULES.items()}
    methods = {
        f"method {name}": {
            "version": method_version(resolve_method(name)),
            "digest": _digest((target.partition(":")[0],)),
        }
        for name, target in METHODS.items()
    }
    return parts | methods


def _digest(modules: tuple[str, ...]) -> str:
    files: dict[str, Path] = {}
    for module in modules:
        path = module_file(module)
        if path is None:
            raise ValueError(f"no module {module}: name the part's module in MODULES by its present place")
        files |= imported_files(path, module, lambda _name, file: _is_project_file(file), _module_file)
    return combined_digest(_file_digest(file) for file in files.values())


# no file changes while digests are computed
_file_digest, _is_project_file, _module_file = cache(file_digest), cache(is_project_file), cache(module_file)


def faults(recorded: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> list[str]:
    """Return in words every part whose code is not the recorded one."""
    lines = []
    for name in sorted(recorded.keys() | now.keys()):
        before, after = recorded.get(name), now.get(name)
        if before is None or after is None:
            lines.append(f"{name} is {'new' if before is None else 'gone'}: record the digests anew")
        elif before["version"] != after["version"]:
            lines.append(
                f'{name} is version {after["version"]}, recorded {before["version"]}: write "Numbers '
                'change" in CHANGELOG.md, then record digests and fingerprint anew'
            )
        elif before["digest"] != after["digest"]:
            lines.append(
                f"the code of {name} changed under version {after['version']}: if "
                "tests/house/test_fingerprint.py passes, record the digests anew "
                "(python tests/helpers/digests.py --write); else raise the version "
                'and write "Numbers change" in CHANGELOG.md'
            )
    return lines


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/helpers/digests.py --write")
    RECORDED.write_text(json.dumps(digests(), indent=1, sort_keys=True) + "\n")
