"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).resolve().parent / "golden"


@pytest.fixture
def golden() -> Path:
    """The folder of reference vectors that travel with the repository."""
    return GOLDEN


@pytest.fixture
def shared() -> Path:
    """The folder of real prepared volumes and full reference vectors; skips where it is absent."""
    folder = Path(os.environ.get("FEWSHOT_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no folder of real volumes at {folder}; set FEWSHOT_SHARED")
    return folder
