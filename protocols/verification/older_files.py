"""Seals and hashes for the files of a work folder that an earlier version of this program wrote.

Everything that can be checked is checked first: arrays by their hashes, facts by the arrays, specs by their
keys, checkpoints by the checksums inside them, records by their form. What has a seal stays as it is.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from episodes.pseudo_labels.supervoxels import remake
from episodes.store.scan import read_array
from episodes.store.store import Store, read_index
from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import checkpoint_entry, read_checkpoint
from fewshot.files.atomic_io import atomic_write, canonical_json
from fewshot.files.input_files import parse_json, read_json
from fewshot.files.names import checked_name, path_in
from fewshot.files.seals import SEAL, add_seal, hash_file, write_hashed, write_sealed
from protocols.training.models import LAST, PRETRAINING, training_identity
from protocols.training.pretraining import BACKBONE
from protocols.training.record_extras import FILE as EXTRAS
from protocols.training.spec_file import FILE, REMEDY, backbone_key, check_spec_key, model_key
from protocols.verification.work_folder import Check, check_entry
from results.records.files import parse_record, record_files, record_texts, save_record


def list_seals(work: Path, records: Path) -> list[Check]:
    """Return one `Check` per store, model, backbone and file of records; each seals what has no seal.

    Args:
        work: the work folder.
        records: the folder of records.
    """
    kinds: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
        ("store", "stores", seal_store),
        ("model", "models", seal_model),
        ("backbone", "backbones", seal_backbone),
    )
    checks = [
        Check(f"{kind} {path.name}", lambda path=path, seal=seal: seal(path))  # type: ignore[misc]
        for kind, name, seal in kinds
        for path in sorted((work / name).glob("*"))
        if path.is_dir() and not path.name.startswith(".")
    ]
    for path in record_files(records) if records.is_dir() else ():
        checks.append(Check(f"record {path.name}", lambda path=path: seal_records(path)))  # type: ignore[misc]
    return checks


def seal_store(path: Path) -> None:
    """Seal the index of a store whose arrays have their hashes and give the facts in the index."""
    content = read_index(path, has_seal=False)
    if SEAL not in content:
        store = Store.from_index(path, content)
        for entry in content["scans"]:
            check_entry(store, entry)
        write_sealed(path / "index.json", content)
    file = path / "supervoxels" / "index.json"
    if file.is_file():
        _seal_supervoxels(file)


def _seal_supervoxels(file: Path) -> None:
    content = read_json(file, remake(file.parent))
    if isinstance(content, dict) and SEAL not in content and isinstance(content.get("arrays"), dict):
        for scan, sha256 in content["arrays"].items():
            read_array(path_in(file.parent, "scan", scan, ".npy"), str(sha256), remake(file.parent))
        write_sealed(file, content)


def seal_model(folder: Path) -> None:
    """Seal spec and provenance of a model; give its checkpoints their training and their hash."""
    spec = _seal_spec(folder, model_key)
    training = training_identity(folder.name, spec)
    for path in sorted(folder.glob("*.pt")):
        if not hash_file(path).is_file():
            _seal_checkpoint(path, spec, training)


def seal_backbone(folder: Path) -> None:
    """Seal the spec of a backbone; give its files their hash."""
    spec = _seal_spec(folder, backbone_key)
    path = folder / BACKBONE
    if path.is_file() and not hash_file(path).is_file():
        _check_zip(path)
        read_checkpoint(path)
        write_hashed(path, path.read_bytes())
    if (folder / LAST).is_file() and not hash_file(folder / LAST).is_file():
        training = {"key": folder.name, "images": spec["images"]["hash"]}
        _seal_checkpoint(folder / LAST, None, training)


def seal_records(path: Path) -> None:
    """Seal the records in a file that have no seal; the record of a cell moves to `KEY-SEAL.json`."""
    texts = list(record_texts(path))
    values = [_value(text.text) for text in texts]
    if all(SEAL in value for value in values):
        return
    records = [parse_record(text, has_seal=False) for text in texts]
    if path.suffix == ".json":
        if records[0].key is None:
            write_sealed(path, records[0].to_json())
        else:
            save_record(path.parent, records[0])
        return
    with atomic_write(path) as stream:
        for value in values:
            stream.write(canonical_json(value if SEAL in value else add_seal(value)) + "\n")


def _value(text: str) -> Mapping[str, Any]:
    try:
        value = parse_json(text, "", "")
    except UserError:  # `parse_record` names the fault
        return {}
    return value if isinstance(value, dict) else {}


def _seal_spec(folder: Path, key_of: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    checked_name("folder", folder.name)
    spec = read_json(folder / FILE, REMEDY)
    plain = {name: value for name, value in spec.items() if name != SEAL} if isinstance(spec, dict) else {}
    check_spec_key(folder, plain, key_of)
    for path in (folder / FILE, folder / PRETRAINING, folder / EXTRAS):
        content = read_json(path, REMEDY) if path.is_file() else {SEAL: ""}
        if isinstance(content, dict) and SEAL not in content:
            write_sealed(path, content)
    return plain


def _seal_checkpoint(path: Path, spec: Mapping[str, Any] | None, training: Mapping[str, Any]) -> None:
    """Write a checkpoint again with its training in its identity; weights and random state stay."""
    _check_zip(path)
    state = read_checkpoint(path)
    text = checkpoint_entry(state, "identity", str, path) if "identity" in state else "{}"
    identity = parse_json(text, f"identity in {path}", REMEDY)
    recipe = identity.get("recipe", {})
    if spec is not None and any(recipe.get(name, value) != value for name, value in spec["recipe"].items()):
        raise UserError(f"{path} is of a training with another recipe than its spec.json; {REMEDY}")
    state["identity"] = canonical_json({**identity, "training": dict(training)})
    content = io.BytesIO()
    torch.save(state, content)
    write_hashed(path, content.getbuffer())


def _check_zip(path: Path) -> None:
    """Check the checksums inside a file of `torch.save`, which torch itself does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is damaged ({error}); {REMEDY}") from None
    if damaged is not None:
        raise UserError(f"{path} is damaged: the checksum of its part {damaged} does not fit; {REMEDY}")
