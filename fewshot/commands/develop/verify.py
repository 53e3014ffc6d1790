"""Replay reference vectors of the released programs; exit with 1 if one fails or there is no vector.

Examples:
  fewshot verify conformance
  fewshot verify conformance/dspnet --format json
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.base.malloc import blocks_of_every_size
from fewshot.commands import options

if TYPE_CHECKING:
    from protocols.conformance.quantity import Quantity

_VOLUMES = [
    "protocols.conformance.parts.superpixels:check",
    "protocols.conformance.data.published_plan:check",
    "protocols.conformance.data.published_dice:check",
]
# A family of vectors is a folder of this name; each check yields its quantities.
FAMILIES = {
    "ssl_alpnet": ["protocols.conformance.parts.ssl_alpnet:check"],
    "dspnet": ["protocols.conformance.parts.dspnet:check"],
    "rpt": ["protocols.conformance.parts.rpt:check"],
    "rpt_2023": ["protocols.conformance.parts.rpt:check_2023"],
    "gmrd": ["protocols.conformance.parts.gmrd:check"],
    "universeg": ["protocols.conformance.parts.universeg:check"],
    "adnet": ["protocols.conformance.parts.adnet:check"],
    "qnet": ["protocols.conformance.parts.qnet:check"],
    "supervoxels": ["protocols.conformance.parts.supervoxels:check"],
    "densecl": ["protocols.conformance.parts.densecl:check"],
    "other_systems": [
        "protocols.conformance.parts.tmunet:check",
        "protocols.conformance.systems.hourglass:check",
        "protocols.conformance.parts.mptpn:check",
        "protocols.conformance.systems.immseg:check",
    ],
    "chaos_like": _VOLUMES,
    "sabs_like": _VOLUMES,
    "gaps_like": _VOLUMES,
    "preprocess_mr": ["protocols.conformance.data.preprocess:check"],
    "preprocess_ct": ["protocols.conformance.data.preprocess:check"],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder of families of reference vectors, or one family"
    )
    options.add_format(parser.add_argument_group("output"), ("text", "json"))


def run(args: argparse.Namespace) -> int:
    """Print a line per quantity once it is computed; return 0 if all are within tolerance."""
    covered, others = families(args.folder)
    as_json = args.format == "json"
    quantities = []
    empty = []
    for family in covered:
        count = 0
        for quantity in _quantities(family):
            count += 1
            quantities.append(quantity)
            if not as_json:
                print(line(quantity), flush=True)
        if not count:
            empty.append(family.name)
    failed = [quantity for quantity in quantities if not quantity.ok]
    passed = bool(quantities) and not failed and not empty
    if as_json:
        print(json.dumps(_report(quantities, empty, others, passed), indent=1, allow_nan=False))
        return 0 if passed else 1
    for name in others:
        print(f"{name}: not covered")
    for name in empty:
        print(f"{name}: no vector found  FAIL")
    if not covered:
        print(f"no known family of vectors in {args.folder}; known: {', '.join(FAMILIES)}  FAIL")
    print(f"{len(quantities)} quantities, {len(failed)} failed")
    return 0 if passed else 1


def families(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the family folders to replay, in the order of `FAMILIES`, and the names of unknown ones."""
    if not folder.is_dir():
        raise UserError(f"no folder {str(folder)!r}; give the folder that holds the reference vectors")
    folder = folder.resolve()
    if folder.name in FAMILIES:
        return [folder], []
    present = sorted(path.name for path in folder.iterdir() if path.is_dir())
    covered = [folder / name for name in FAMILIES if name in present]
    return covered, [name for name in present if name not in FAMILIES]


def line(quantity: Quantity) -> str:
    """Return name, largest error, tolerance, ok or FAIL."""
    verdict = "ok" if quantity.ok else "FAIL"
    return f"{quantity.name:<72} {quantity.error:<10.3g} {quantity.tolerance:<8.3g} {verdict}"


def _quantities(family: Path) -> Iterator[Quantity]:
    for target in FAMILIES[family.name]:
        module, _, function = target.partition(":")
        check: Callable[[Path], Iterator[Quantity]] = getattr(importlib.import_module(module), function)
        with blocks_of_every_size():  # replays are training steps on slices of one size
            yield from check(family)


def _report(
    quantities: list[Quantity], empty: list[str], others: list[str], passed: bool
) -> dict[str, object]:
    """Return the object that `--format json` prints; a non-finite error becomes null."""
    return {
        "ok": passed,
        "quantities": [
            {
                "name": quantity.name,
                "error": quantity.error if math.isfinite(quantity.error) else None,
                "tolerance": quantity.tolerance,
                "ok": quantity.ok,
            }
            for quantity in quantities
        ],
        "no_vector_found": empty,
        "not_covered": others,
    }
