"""Mutated files through the eight parsers: each is read or refused by `UserError`, and by nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs.corpus import FACTS
from bad_inputs.toml_files import HOME
from download_scans import anatomy, write_dicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from making import record, score

from episodes.io.nifti import read_nifti, write_nifti
from episodes.io.npy import map_npy
from episodes.io.simpleitk_io import read_dicom_slice
from episodes.prepare.own_data.folder import read_own_facts
from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import read_checkpoint
from fewshot.files.atomic_io import hash_of
from fewshot.files.input_files import read_json
from fewshot.files.seals import add_seal
from protocols.rules.spec import load_protocol
from protocols.scoring.plan_file import read_plan_file
from results.records.files import read_record

CASES, SECONDS = 250, 10  # cases a parser; processor time of one case
TOKENS = (
    b"", b"\x00", b"\xff", b"\x80", b"\x1b[2J", b"-1", b"0", b"1e999", b"nan", b"NaN", b"Infinity", b"9" * 40,
    b"null", b"true", b"{}", b"[]", b"[" * 50, b'"', b"\\", b"\n", b"\xef\xbb\xbf", b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff", b"\x00\x00\x80\x7f", b"{", b"}", b"=",
)  # fmt: skip


def mutations() -> SearchStrategy[list[tuple[str, float, float, bytes]]]:
    """Return one to six changes: kind, place and length as fractions of the file, and bytes to put there."""
    kinds = st.sampled_from(("flip", "overwrite", "insert", "delete", "cut", "repeat"))
    fractions = st.floats(0, 1, allow_nan=False)
    content = st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=8))
    return st.lists(st.tuples(kinds, fractions, fractions, content), min_size=1, max_size=6)


def mutated(raw: bytes, changes: list[tuple[str, float, float, bytes]], within: int) -> bytes:
    """Return `raw` after the changes, half of which lie within the first `within` bytes."""
    made = bytearray(raw)
    for number, (kind, start, length, content) in enumerate(changes):
        span = min(len(made), within) if number % 2 == 0 else len(made)
        place = int(start * max(0, span - 1))
        size = int(length**3 * (len(made) - place))
        if kind == "flip" and made:
            made[place] ^= 1 << (len(content) % 8)
        elif kind == "overwrite":
            made[place : place + len(content)] = content
        elif kind == "insert":
            made[place:place] = content
        elif kind == "delete":
            del made[place : place + size]
        elif kind == "cut":
            del made[max(place, 1) :]
        else:
            made[place:place] = made[place : place + min(size, 1 << 14)]
    return bytes(made)


def nifti(folder: Path) -> bytes:
    axes = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    volume = np.arange(512, dtype=np.int16).reshape(8, 8, 8)
    write_nifti(folder / "a.nii", volume, (7.7, 1.2, 1.2), (0, 0, 0), axes)
    return (folder / "a.nii").read_bytes()


def dicom(folder: Path) -> bytes:
    write_dicom(folder / "a.dcm", anatomy(1)[0][2][:20, :20], 3.0, "1.2.3")
    return (folder / "a.dcm").read_bytes()


def npy(_folder: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 5, 6), np.uint8))
    return stream.getvalue()


def checkpoint(_folder: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(5), "b": torch.zeros(2, 2)}, "step": 3}, stream)
    return stream.getvalue()


def facts(_folder: Path) -> bytes:
    return FACTS.encode()


def protocol(_folder: Path) -> bytes:
    return (HOME / "protocols" / "alpnet-ep1.toml").read_bytes()


def json_record(_folder: Path) -> bytes:
    return json.dumps(
        record(0, "upper", [score("liver", "3", 80), score("spleen", "3", 50)]).to_json()
    ).encode()


def plan(_folder: Path) -> bytes:
    evaluation = {"fold": 0, "group": "upper", "dataset": {"name": "tiny", "hash": "0" * 16}}
    rules = {"shots": 1, "support_fractions": [0.5], "exclusion": "union"}
    one = {"evaluation": evaluation, "plan_hash": hash_of(evaluation)[:16], "setting": 1, "rules": rules}
    return json.dumps({"protocol": {"name": "p", "hash": "1" * 64}, "plans": [one]}).encode()


def sealed(path: Path) -> Path:
    """Seal a file anew if it holds a JSON object, so that the checks behind the seal are tried."""
    with contextlib.suppress(UserError):
        content = read_json(path, "")
        if isinstance(content, dict):
            path.write_text(json.dumps(add_seal(content)))
    return path


# parser -> file name, sound content, function, bytes in which half of the changes lie
PARSERS: dict[str, tuple[str, Callable[[Path], bytes], Callable[[Path], object], int]] = {
    "NIfTI": ("b.nii", nifti, read_nifti, 352),
    "DICOM": ("b.dcm", dicom, read_dicom_slice, 1200),
    "npy": ("b.npy", npy, lambda path: map_npy(path, (4, 5, 6), "uint8", "mend it"), 128),
    "checkpoint": ("b.pth", checkpoint, read_checkpoint, 400),
    "dataset TOML": ("b.toml", facts, lambda path: read_own_facts(path, "mine"), 1 << 20),
    "protocol TOML": ("alpnet-ep1.toml", protocol, load_protocol, 1 << 20),
    "record JSON": ("b.json", json_record, lambda path: read_record(sealed(path)), 1 << 20),
    "plan JSON": ("b.json", plan, lambda path: read_plan_file(sealed(path)), 1 << 20),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_a_mutated_file_is_read_or_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, make, parse, within = PARSERS[name]
    path, sound = tmp_path / file, make(tmp_path)
    path.write_bytes(sound)
    parse(path)
    ends: Counter[str] = Counter()
    longest = 0.0

    @settings(
        max_examples=CASES, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutations())
    def try_one(changes: list[tuple[str, float, float, bytes]]) -> None:
        nonlocal longest
        path.write_bytes(mutated(sound, changes, within))
        started = time.process_time()
        try:
            parse(path)
        except UserError as error:
            assert str(error)
            ends["refused"] += 1
        else:
            ends["read"] += 1
        longest = max(longest, time.process_time() - started)

    try_one()
    with capsys.disabled():
        print(f"\n{name}: {ends.total()} mutated files, {ends['refused']} refused, {ends['read']} read")
    assert ends.total() >= CASES and longest < SECONDS
