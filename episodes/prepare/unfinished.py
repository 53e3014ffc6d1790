"""A store that is being prepared: finished scans are kept, so that an interrupted preparation continues.

The folder `.NAME.unfinished` beside the store holds the arrays of finished scans, and in `finished/ID.json`
what the check of the scan found and its entry for the index. A record is used again only if the scan's files,
the facts, the versions of the program and the bytes of the arrays are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from episodes.prepare.audit import ScanFacts
from episodes.prepare.scan import RawScan
from episodes.store.scan import REMAKE
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import hash_of, sha256_of
from fewshot.files.input_files import read_json
from fewshot.files.names import path_in
from fewshot.files.seals import check_seal, write_sealed

FINISHED = "finished"


@dataclass(frozen=True)
class CheckedScan:
    """What the check of a scan found.

    `facts`: its facts; `warnings`: on its voxels; `headers`: (warning, file) on its headers; `sides`: result
    of `left_right`; `entry`: that of the index if the scan is finished.
    """

    facts: ScanFacts
    warnings: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    sides: Mapping[str, bool]
    entry: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class UnfinishedStore:
    """The folder of an unfinished store, and what its scans depend on besides their files."""

    folder: Path
    key: Mapping[str, Any] = field(default_factory=dict)

    def load(self, scan: str, raw: RawScan) -> CheckedScan | None:
        """Return a finished scan whose record and arrays are as they were kept; None for any other."""
        path = path_in(self.folder / FINISHED, "scan", scan, ".json")
        if not path.is_file():
            return None
        try:
            content = check_seal(read_json(path, REMAKE), str(path), REMAKE)
        except UserError:
            return None  # cut short when the process died: the scan is prepared again
        if content["key"] != self._key(raw):
            return None
        for kind, digest in content["entry"]["array_sha256"].items():
            array = path_in(self.folder / kind, "scan", scan, ".npy")
            if not array.is_file() or sha256_of(array) != digest:
                return None
        return CheckedScan(
            facts=_facts(content["facts"]),
            warnings=tuple(content["warnings"]),
            headers=tuple((text, file) for text, file in content["headers"]),
            sides=content["sides"],
            entry=content["entry"],
        )

    def keep(self, scan: str, raw: RawScan, checked: CheckedScan, entry: Mapping[str, Any]) -> None:
        """Write down a scan whose arrays lie in the folder."""
        write_sealed(
            path_in(self.folder / FINISHED, "scan", scan, ".json"),
            {
                "key": self._key(raw),
                "facts": asdict(checked.facts),
                "warnings": list(checked.warnings),
                "headers": [list(pair) for pair in checked.headers],
                "sides": dict(checked.sides),
                "entry": dict(entry),
            },
        )

    def _key(self, raw: RawScan) -> str:
        return hash_of([dict(self.key), *raw.hashes()])


def _facts(content: Mapping[str, Any]) -> ScanFacts:
    z, y, x = content["spacing_mm"]
    raw_z, raw_y, raw_x = content["raw_spacing_mm"]
    shapes = {key: tuple(content[key]) for key in ("shape", "raw_shape")}
    return ScanFacts(
        **{**content, **shapes, "spacing_mm": (z, y, x), "raw_spacing_mm": (raw_z, raw_y, raw_x)}
    )
