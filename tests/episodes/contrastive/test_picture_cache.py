"""What is kept of picture files: new and changed ones are looked at, no folder gets another's answers."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

import pytest
from small_pictures import COLOUR, damaged_folder, save

from episodes.contrastive import images as pictures
from episodes.contrastive.images import open_folder
from fewshot.base.errors import UserError


def test_the_cache_spares_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = damaged_folder(tmp_path / "roco"), tmp_path / "work" / "pictures"
    first = open_folder(folder, cache)
    looked: list[str] = []
    check = pictures._check

    def counted(path: Path) -> pictures.FileCheck | None:
        looked.append(path.name)
        return check(path)

    monkeypatch.setattr(pictures, "_check", counted)
    assert open_folder(folder, cache) == first and looked == []
    save(folder / "good.png", COLOUR[::-1])  # as many bytes or not, at another time
    os.utime(folder / "good.png", ns=(1, 1))
    save(folder / "new.png")
    changed = open_folder(folder, cache)
    assert sorted(looked) == ["good.png", "new.png"]
    assert changed == open_folder(folder) and changed.hashes[0] != first.hashes[0]


@pytest.mark.parametrize("content", ["{", "[]", '{"files": {}}', '{"reader": "READER", "files": {"a": [1]}}'])
def test_a_damaged_cache_is_told_of_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    folder, caches = damaged_folder(tmp_path / "roco"), tmp_path / "pictures"
    first = open_folder(folder, caches)
    (cache,) = caches.glob("*.json")
    good = cache.read_text()
    cache.write_text(content.replace("READER", json.loads(good)["reader"]))
    with caplog.at_level(logging.WARNING, logger="fewshot"):
        assert open_folder(folder, caches) == first
    assert cache.read_text() == good
    assert any(f"{cache} is damaged" in message for message in caplog.messages)


def test_a_cache_of_another_decoder_is_not_believed(tmp_path: Path) -> None:
    folder, caches = save(tmp_path / "roco" / "x.png").parent, tmp_path / "pictures"
    first = open_folder(folder, caches)
    (cache,) = caches.glob("*.json")
    cache.write_text(cache.read_text().replace('"good"', '"CMYK"'))
    with pytest.raises(UserError, match="1 CMYK"):
        open_folder(folder, caches)
    cache.write_text(cache.read_text().replace("Pillow ", "Pillow 0."))
    assert open_folder(folder, caches) == first


def test_folders_whose_files_have_one_name_size_and_time_are_told_apart(tmp_path: Path) -> None:
    """Bare names in a common cache would give the second folder the first one's hashes and verdicts."""
    digests = []
    for place, colour in (("one", COLOUR), ("other", COLOUR[::-1]), ("bad", None)):
        file = save(tmp_path / place / "x.png", COLOUR if colour is None else colour, compress_level=0)
        if colour is None:
            file.write_bytes(b"." * file.stat().st_size)
        os.utime(file, ns=(1, 1))
        if place == "bad":
            with pytest.raises(UserError, match="1 unreadable"):
                open_folder(tmp_path / place, tmp_path / "cache")
        else:
            digests.append(open_folder(tmp_path / place, tmp_path / "cache").hashes[0])
            assert digests[-1] == hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    assert len(set(digests)) == 2
    (tmp_path / "link").symlink_to(tmp_path / "one")
    open_folder(tmp_path / "link", tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.json"))) == 3


def test_a_file_without_leave_to_read_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = tmp_path / "roco", tmp_path / "pictures"
    save(folder / "a.png")
    save(folder / "b.png")
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        assert open_folder(folder, cache).left_out == {"unreadable": 1}
    assert open_folder(folder, cache).left_out == {}
