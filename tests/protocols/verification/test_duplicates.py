"""Installations that hide each other are found by metadata, the running code and the shell's command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from protocols.verification import duplicates


def install(folder: Path, editable: Path | None = None) -> Path:
    """Write the metadata that pip leaves of an installation, and return the folder."""
    metadata = folder / "fewshot_medseg-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fewshot-medseg\nVersion: 0.1.0\n")
    if editable is not None:
        source = {"dir_info": {"editable": True}, "url": editable.as_uri()}
        (metadata / "direct_url.json").write_text(json.dumps(source))
    return folder


def test_the_home_of_an_editable_installation_is_its_checkout(tmp_path: Path) -> None:
    wheel, checkout = install(tmp_path / "site"), tmp_path / "my checkout"
    editable = install(tmp_path / "other", checkout)
    folders = [str(wheel), str(editable), str(install(tmp_path / "third", checkout))]
    assert duplicates.list_homes(folders) == (checkout, wheel)
    assert duplicates.list_homes([str(tmp_path)]) == ()


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The homes that are found, one of them the running one; no command of the shell."""
    found = [duplicates.running_home()]
    monkeypatch.setattr(duplicates, "list_homes", lambda: tuple(found))
    monkeypatch.setattr("shutil.which", lambda _name: None)
    return found


def test_a_single_installation_has_no_warning(homes: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(duplicates.describe_duplicates()) == []
    monkeypatch.setattr("shutil.which", lambda _name: str(Path(sys.executable).parent / "fewshot"))
    assert list(duplicates.describe_duplicates()) == []


def test_each_way_of_hiding_is_one_warning(homes: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    homes.append(Path("/elsewhere"))
    (line,) = duplicates.describe_duplicates()
    assert "installed 2 times" in line and "/elsewhere; keep one" in line
    homes.pop(0)
    (line,) = duplicates.describe_duplicates()
    assert f"this run uses {duplicates.running_home()}, which hides the installation in /elsewhere" in line
    homes[:] = [duplicates.running_home()]
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/local/bin/fewshot")
    (line,) = duplicates.describe_duplicates()
    assert "the shell's fewshot is /usr/local/bin/fewshot, of another environment" in line
