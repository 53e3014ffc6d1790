"""`spec.json` of a trained model or backbone: its key, and a reader that checks seal, form and folder name.

This module imports no torch, so that lists start quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError, short
from fewshot.files.atomic_io import hash_of
from fewshot.files.seals import read_sealed, write_sealed
from fewshot.identity.key_parts import method_key_part, weights_key_part

FILE = "spec.json"
TYPES: dict[str, type] = {  # of the keys of a model's spec
    "schema": int, "versions": dict, "dataset": str, "store": str, "training_scans": list,
    "training_slices_hash": str, "normalisation": str, "pseudo_labels": dict, "method": dict, "encoder": str,
    "initial_weights": dict, "recipe": dict, "seed": int, "image_size": int, "precision": str,
}  # fmt: skip
METHOD = ("name", "version", "source", "options", "files")  # the fields of a method in a spec
REMEDY = "restore the folder as it was, or delete it to train again"


def model_key(spec: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of a model spec's canonical content.

    The key leaves out file names (`method_key_part`) and the description of earlier stages, which follows
    from their keys.
    """
    content = {name: value for name, value in spec.items() if name != "told"}
    content["method"] = method_key_part(spec["method"])
    content["initial_weights"] = weights_key_part(spec["initial_weights"])
    return hash_of(content)[:16]


def backbone_key(spec: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of a backbone spec's content, without names of files."""
    images = {name: value for name, value in spec["images"].items() if name != "source"}
    start = weights_key_part(spec["initial_weights"])
    return hash_of({**spec, "images": images, "initial_weights": start})[:16]


def read_model_spec(folder: Path) -> dict[str, Any]:
    """Return the spec of the trained model in `folder`, whose name is the model's key.

    Raises `UserError` if `spec.json` is missing, damaged, edited, of another key than the folder's name, or
    lacks a key of the type that `model_spec` gives.
    """
    spec = _read(folder, model_key)
    for name, kind in TYPES.items():
        if type(spec.get(name)) is not kind:
            raise damaged_spec(folder, f"key {name} is {short(repr(spec.get(name)))}")
    parts = {"method": METHOD, "initial_weights": ("name", "sha256"), "recipe": ("steps",)}
    for name, keys in parts.items():
        if lacking := sorted(set(keys) - set(spec[name])):
            raise damaged_spec(folder, f"key {name} lacks {', '.join(lacking)}")
    if type(spec["method"]["name"]) is not str or type(spec["method"]["options"]) is not dict:
        raise damaged_spec(folder, "key method names no method with options")
    if type(spec["initial_weights"]["name"]) is not str:
        raise damaged_spec(folder, "key initial_weights names no weights")
    return spec


def damaged_spec(folder: Path, fault: str) -> UserError:
    """Return the error for a spec.json that no training here wrote."""
    return UserError(f"{folder / FILE} is damaged: {fault}; {REMEDY}")


def read_backbone_spec(folder: Path) -> dict[str, Any]:
    """Return the spec of the backbone in `folder`; errors as `read_model_spec`."""
    return _read(folder, backbone_key)


def write_spec(folder: Path, spec: Mapping[str, Any]) -> None:
    """Write a spec, sealed."""
    write_sealed(folder / FILE, spec)


def check_spec_key(folder: Path, spec: Mapping[str, Any], key_of: Callable[[Mapping[str, Any]], str]) -> None:
    """Raise `UserError` if a spec is incomplete or its key is not the name of its folder."""
    try:
        key = key_of(spec)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / FILE} is incomplete ({short(repr(error))}); {REMEDY}") from None
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    if key != name:
        raise UserError(
            f"{folder / FILE} is of key {key}, but its folder is named {name!r}: it was edited, copied or "
            f"renamed; {REMEDY}"
        )


def _read(folder: Path, key_of: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    spec = read_sealed(folder / FILE, REMEDY)
    check_spec_key(folder, spec, key_of)
    return spec
