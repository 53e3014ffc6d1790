"""Edits of sealed files on purpose: what is changed is sealed again, so that a test sees another check."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from episodes.io.npy import write_npy
from episodes.pseudo_labels import supervoxels as module
from episodes.store.scan import KINDS, array_facts
from episodes.store.store import Store, store_hash
from fewshot.files.atomic_io import atomic_write, sha256_of
from fewshot.files.input_files import read_json
from fewshot.files.seals import SEAL, write_hashed, write_sealed
from protocols.training.spec_file import FILE, model_key

Change = Callable[[dict[str, Any]], Any]


def edit_json(path: Path, change: Change) -> None:
    """Change the content of a sealed JSON file in place, and seal it again."""
    content = json.loads(path.read_text())
    change(content)
    write_sealed(path, {key: value for key, value in content.items() if key != SEAL})


def edit_index(path: Path, change: Change) -> None:
    """Change the index of a store as if it had been prepared so: with its hash and its seal."""

    def change_and_hash(content: dict[str, Any]) -> None:
        change(content)
        content["hash"] = store_hash(content["spec"], content["scans"])

    edit_json(path, change_and_hash)


def rename_in_index(path: Path, names: Mapping[str, str]) -> None:
    """Rename classes or the dataset in the index of a store."""

    def rename(content: dict[str, Any]) -> None:
        text = json.dumps(content)
        for old, new in names.items():
            text = text.replace(f'"{old}"', f'"{new}"')
        content.clear()
        content.update(json.loads(text))

    edit_index(path, rename)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint with its hash beside it."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    write_hashed(path, content.getvalue())


def change_model(folder: Path, change: Change) -> Path:
    """Change the spec of a model as if it had been trained so; return its folder under the new key."""
    edit_json(folder / FILE, change)
    return rename_model(folder)


def rename_model(folder: Path) -> Path:
    """Give a model the key of its spec: its folder, which is returned, and its checkpoints."""
    spec = read_json(folder / FILE, "")
    del spec[SEAL]
    key = model_key(spec)
    for path in folder.glob("*.pt"):
        state = torch.load(path, weights_only=True)
        identity = json.loads(state["identity"])
        identity["training"]["key"] = key
        save_checkpoint(path, {**state, "identity": json.dumps(identity)})
    return folder.rename(folder.with_name(key))


def write_supervoxels(store: Store) -> Path:
    """Write the images of a store as its supervoxels, which costs nothing, and return their folder."""
    folder = store.path / "supervoxels"
    arrays = {}
    for scan in sorted(store.index.scans):
        with atomic_write(folder / f"{scan}.npy", "wb") as stream:
            arrays[scan] = write_npy(stream, store.scan(scan).image)
    write_sealed(folder / "index.json", {"parameters": module._parameters(store), "arrays": arrays})
    return folder


def rehash_arrays(folder: Path) -> None:
    """Write the hashes and facts of a store's arrays, which a test changed, into its index."""

    def rehash(index: dict[str, Any]) -> None:
        for entry in index["scans"]:
            paths = {kind: folder / kind / f"{entry['id']}.npy" for kind in KINDS}
            entry["array_sha256"] = {kind: sha256_of(path) for kind, path in paths.items()}
            image, labels, superpixels = (np.load(paths[kind]) for kind in KINDS)
            entry.update(array_facts(image, labels, superpixels, index["spec"]["classes"]))

    edit_index(folder / "index.json", rehash)
