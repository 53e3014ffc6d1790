"""An interrupted preparation continues scan by scan, and memory does not grow with the number of scans."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from small_volumes import FACTS, names_in, small_scan, write_scan, write_scans

from episodes.figures.contact_sheet import write_contact_sheet
from episodes.prepare import build
from episodes.store.store import Store
from fewshot.commands.main import main


class Interruption:
    """`volume_superpixels` that counts its calls and raises KeyboardInterrupt at one of them."""

    def __init__(self, compute: Callable[..., np.ndarray], at: int | None) -> None:
        self.compute, self.at, self.calls = compute, at, 0

    def __call__(self, *arguments: object) -> np.ndarray:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.compute(*arguments)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    write_scans(tmp_path / "scans")
    (tmp_path / "my.toml").write_text(FACTS)
    return ["prepare", "mine", str(tmp_path / "scans"), "--spec", str(tmp_path / "my.toml"), "--work"]


def interrupt(monkeypatch: pytest.MonkeyPatch, command: list[str], at: int | None) -> int:
    """Run the command, interrupted before scan number `at`; return how many scans it computed."""
    with monkeypatch.context() as patch:
        spy = Interruption(build.volume_superpixels, at)
        patch.setattr(build, "volume_superpixels", spy)
        assert main(command) == (0 if at is None else 130)
    return spy.calls


def test_an_interrupted_preparation_continues_with_the_scans_that_lack(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    assert interrupt(monkeypatch, [*command, whole], None) == 3
    interrupt(monkeypatch, [*command, cut], 3)
    stores = tmp_path / "cut" / "stores"
    assert names_in(stores) == [".mine.unfinished"]
    assert names_in(stores / ".mine.unfinished" / "finished") == ["1.json", "2.json"]
    assert interrupt(monkeypatch, [*command, cut], None) == 1
    assert names_in(stores) == ["mine"]
    for name in ("index.json", "images/1.npy", "superpixels/3.npy"):
        both = [(Path(work) / "stores" / "mine" / name).read_bytes() for work in (whole, cut)]
        assert both[0] == both[1]
    assert names_in(stores / "mine") == names_in(tmp_path / "whole" / "stores" / "mine")


@pytest.mark.parametrize("change", ["file", "facts", "array", "record"])
def test_what_changed_since_is_prepared_again(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    work = tmp_path / "work"
    interrupt(monkeypatch, [*command, str(work)], 3)
    unfinished = work / "stores" / ".mine.unfinished"
    if change == "file":
        write_scan(tmp_path / "scans", 1, *small_scan(7))
    elif change == "facts":
        facts = tmp_path / "my.toml"
        facts.write_text(facts.read_text().replace("patient_threshold = 50", "patient_threshold = 60"))
    elif change == "array":
        (unfinished / "superpixels" / "1.npy").write_bytes(b"cut short")
    else:
        (unfinished / "finished" / "1.json").write_text("{")
    assert interrupt(monkeypatch, [*command, str(work)], None) == (3 if change == "facts" else 2)
    store = Store.open(work / "stores" / "mine")
    store.check_arrays()
    if change == "file":
        assert np.array_equal(store.scan("1").image, small_scan(7)[0])


def test_arrays_of_other_scans_are_not_left(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, [*command, str(tmp_path / "work")], 3)
    for kind in ("image", "label"):
        path = tmp_path / "scans" / f"{kind}_1.nii.gz"
        path.rename(path.with_name(f"{kind}_9.nii.gz"))
    assert interrupt(monkeypatch, [*command, str(tmp_path / "work")], None) == 2
    assert names_in(tmp_path / "work" / "stores" / "mine" / "images") == ["2.npy", "3.npy", "9.npy"]


def test_an_error_leaves_nothing(tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, [*command, str(tmp_path / "work")], 3)
    (tmp_path / "scans" / "label_3.nii.gz").write_bytes(b"no volume")
    assert main([*command, str(tmp_path / "work")]) == 2
    assert names_in(tmp_path / "work" / "stores") == [".mine.unfinished"]  # two good scans stay


def test_a_contact_sheet_leaves_no_memory_map_open(work: Path, tmp_path: Path) -> None:
    (folder,) = (work / "stores").iterdir()
    store = Store.open(folder)
    write_contact_sheet(store, tmp_path / "contact.png")
    assert str(folder) not in Path("/proc/self/maps").read_text()
    image = store.scan(store.index.scans[0]).image
    assert str(folder) in Path("/proc/self/maps").read_text() and image.size


MEASURE = """
import json, resource, sys
from pathlib import Path
from episodes.prepare.build import build_store
from episodes.prepare.own_data.folder import own_scans, read_own_facts
from episodes.prepare.unfinished import UnfinishedStore

home, costs = Path(sys.argv[1]), []
for name in sys.argv[2:]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    spec, scans = own_scans(home / name, read_own_facts(home / "my.toml", "mine"))
    build_store(scans, spec, home / "stores" / name, workers=1, unfinished=UnfinishedStore(home / f".{name}"))
    after = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/maps") as stream:
        maps = sum(".npy" in line for line in stream)
    costs.append((maps, after.ru_utime - before.ru_utime, after.ru_maxrss << 10))
print(json.dumps(costs))
"""


@pytest.mark.slow
def test_time_is_linear_and_memory_flat_in_the_number_of_scans(tmp_path: Path) -> None:
    """64 x 64 x 32 voxels a scan: 0.7 MB in the store, 28 MB between the least and the most scans."""
    draw = np.random.Generator(np.random.PCG64(0))
    image = np.zeros((32, 64, 64), dtype=np.int16)
    image[:, 8:56, 8:56] = draw.integers(80, 200, (32, 48, 48))
    label = np.zeros(image.shape, dtype=np.uint8)
    label[10:20, 20:30, 20:30], label[12:18, 35:45, 35:45] = 1, 4
    (tmp_path / "my.toml").write_text(FACTS.replace("image_size = 48", "image_size = 64"))
    counts = (20, 30, 60)
    for number in range(1, max(counts) + 1):
        write_scan(tmp_path / "60", number, np.roll(image, number, axis=2), label)
        for count in counts[:-1]:
            (tmp_path / str(count)).mkdir(exist_ok=True)
            for kind in ("image", "label") if number <= count else ():
                name = f"{kind}_{number}.nii.gz"
                (tmp_path / str(count) / name).symlink_to(tmp_path / "60" / name)
    command = [sys.executable, "-c", MEASURE, str(tmp_path), *map(str, counts)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    costs = json.loads(done.stdout.splitlines()[-1])
    assert [maps for maps, _seconds, _bytes in costs] == [0, 0, 0]
    assert costs[2][1] < 1.4 * 2 * costs[1][1], costs
    assert costs[2][2] - costs[0][2] < 8 << 20, costs
