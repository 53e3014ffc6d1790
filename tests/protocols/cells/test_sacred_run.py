"""Sacred's runs: a summary of the losses, and one line where they cannot be written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from fewshot.base.errors import UserError
from protocols.cells.sacred_run import record_run


def losses(folder: Path, steps: int) -> Path:
    lines = ["step,loss,total,rate,defined", *(f"{n},{1 / n},{2 / n},0.001,1" for n in range(1, steps + 1))]
    lines[2] = "2,,,0.001,0"
    (folder / "models").mkdir()
    (folder / "models" / "losses.csv").write_text("\n".join(lines) + "\n")
    return folder / "models" / "losses.csv"


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_run_holds_a_summary_of_the_losses_and_their_place(tmp_path: Path) -> None:
    path = losses(tmp_path, 20_000)
    run = tmp_path / "runs" / record_run(tmp_path / "runs", {"fold": 0}, 0.5, path, [])
    kept = json.loads((run / "info.json").read_text())["losses"]
    assert (tmp_path / "runs" / kept.pop("file")).resolve() == path.resolve()
    assert kept == {
        "steps": 20_000,
        "first": {"loss": 1, "total": 2, "rate": 0.001, "defined": 1},
        "last": {"loss": 1 / 20_000, "total": 1 / 10_000, "rate": 0.001, "defined": 1},
    }
    assert size(run) < 5_000 < size(tmp_path / "models")


@pytest.mark.parametrize("name", ["run.json", "config.json", "info.json", "metrics.json"])
def test_a_run_that_cannot_be_written_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Sacred logs most errors of writing and continues, with a traceback of its own for the others."""
    from sacred.observers import FileStorageObserver

    def full(observer: FileStorageObserver, value: object, file: str) -> None:
        if file == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        (Path(observer.dir) / file).write_text(json.dumps(value, default=str))

    monkeypatch.setattr(FileStorageObserver, "save_json", full)
    path = losses(tmp_path, 5)
    expected = rf"cannot write {tmp_path}/runs: No space left on device; free space"
    with pytest.raises(UserError, match=expected):
        record_run(tmp_path / "runs", {}, None, path, [path])
    assert capfd.readouterr() == ("", "")
