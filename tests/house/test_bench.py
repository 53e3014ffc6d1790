"""The benchmark runs as a whole at tiny sizes, and its small parts do what their tables say."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from places import ROOT

BENCH = ROOT / "bench"


def part(name: str) -> ModuleType:
    """Load one file of the benchmark, which is no package."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def ran(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(BENCH.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCH / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_row_is_held_to_its_target() -> None:
    measuring = part("measuring")
    assert measuring.row("a", 0.8, 0.8)["ok"] and not measuring.row("a", 0.81, 0.8)["ok"]
    assert (
        measuring.row("a", 101, 100, least=True)["ok"] and not measuring.row("a", 99, 100, least=True)["ok"]
    )
    assert measuring.row("a", 3.0) == {"name": "a", "value_U": 3.0, "target_U": None, "ok": True}
    assert measuring.printed([measuring.row("a", 2, 1)]).endswith("MISSED")


class Clock:
    """Seconds that pass only where a test lets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def takes(self, seconds: float) -> None:
        self.now += seconds


def test_the_best_of_alternating_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring, clock = part("measuring"), Clock()
    monkeypatch.setattr(measuring, "time", clock)
    order: list[str] = []
    waits = iter([0.5, 0.25, 3.0, 2.0, 1.0, 4.0])  # a warm-up of each, then two rounds

    def call(name: str) -> None:
        order.append(name)
        clock.takes(next(waits))

    seconds = measuring.best({"slow": lambda: call("slow"), "quick": lambda: call("quick")}, 2)
    assert order == ["slow", "quick"] * 3
    assert seconds == {"slow": 1.0, "quick": 2.0}


def test_parts_of_the_time_leave_out_the_parts_within_them(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring, clock = part("measuring"), Clock()
    monkeypatch.setattr(measuring, "time", clock)

    class Work:
        def outer(self) -> None:
            clock.takes(2)
            self.inner()

        def inner(self) -> None:
            clock.takes(5)

    before = dict(vars(Work))
    with measuring.watched({"outer": (Work, "outer"), "inner": (Work, "inner")}) as seconds:
        Work().outer()
        Work().inner()
        clock.takes(3)
        other = threading.Thread(target=Work().inner)
        other.start()
        other.join()
    assert dict(vars(Work)) == before
    assert seconds == {"outer": 2, "inner": 10, "rest": 8}  # the other thread's 5 s are nobody's
    assert "inner" in measuring.printed_parts("work", seconds).splitlines()[1]


@pytest.mark.slow
def test_the_whole_benchmark_runs(tmp_path: Path) -> None:
    run = ran("bench.py", "--tiny", "--folder", str(tmp_path))
    (written,) = tmp_path.glob("*.json")
    rows: list[dict[str, Any]] = json.loads(written.read_text())
    assert run.returncode == (0 if all(row["ok"] for row in rows) else 1), run.stderr
    assert all(row.keys() == {"name", "value_U", "target_U", "ok"} for row in rows)
    assert [row["target_U"] for row in rows if row["target_U"] is not None] == [
        0.8, 0.1, 1.0, 6.0, 1.03, 1.15, 0.02, 1.1, 1.1, 1.1, 1.1, 0.7, 5.0, 300.0, 1500.0, 4000.0,
    ]  # fmt: skip
    table = written.with_suffix(".txt").read_text()
    assert "encoder  " in table and "backward  " in table and table.count("%") >= 16
    assert "prototypes and loss, forward" in table and not re.search(r"and loss, forward +0\.000 s", table)


@pytest.mark.slow
def test_growth_is_measured_and_drawn(tmp_path: Path) -> None:
    run = ran("growth.py", "--tiny", "--folder", str(tmp_path), "--pictures", str(tmp_path))
    assert run.returncode in (0, 1), run.stderr
    found = json.loads((tmp_path / "growth.json").read_text())
    assert found["scans"].keys() == {"prepare", "run", "table"}
    assert found["evaluation"].keys() == {"slices", "classes", "supports", "protocols"}
    assert [point["x"] for point in found["scans"]["run"]] == [5, 10]
    assert all(point["memory_mb"] > 20 for points in found["scans"].values() for point in points)
    assert len(found["rows"]) == 3 * 2 + 4
    assert (tmp_path / "growth.svg").stat().st_size > 5000 and (tmp_path / "growth.png").exists()


@pytest.mark.slow
def test_the_gpu_script_runs_on_a_cpu_too(tmp_path: Path) -> None:
    environment = {
        **os.environ, "TINY": "1", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "LIMIT": "1800",
    }  # fmt: skip
    environment.pop("CHAOS_FOLDER", None)
    command = ["bash", str(BENCH / "gpu.sh"), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "the five folds are left out" in run.stdout, run.stderr
    check = json.loads((tmp_path / "gpu-check.json").read_text())
    assert len(check) == 9 and all(row["ok"] for row in check)
    assert all(row["value_U"] == 0 for row in check)  # the CPU to itself, and nothing is compiled
    names = [row["name"] for row in json.loads((tmp_path / "gpu-speed.json").read_text())]
    assert [name for name in names if name.endswith("/s)")] == [
        "training, bf16 (steps/s)", "training, bf16, compiled (steps/s)",
        "evaluation, float32 (encoded slices/s)", "evaluation, bf16 (encoded slices/s)",
    ]  # fmt: skip
    precision = json.loads((tmp_path / "gpu-precision.json").read_text())
    assert [row["name"].split(":")[0] for row in precision[:2]] == ["float32", "bf16"]
    assert all(0 < row["value_U"] < 100 for row in precision[:2])


@pytest.mark.slow
def test_the_campaign_runs_on_a_cpu_too(tmp_path: Path) -> None:
    environment = {
        **os.environ, "TINY": "1", "PYTHON": sys.executable, "DATASET": "phantom-mri", "FOLDS": "0 1",
        "ENCODER": "resnet18", "RUN_OPTIONS": "", "CHECK_SECONDS": "0", "LIMIT": "1800",
        "SCRATCH": str(tmp_path),
    }  # fmt: skip
    work, out = tmp_path / "work", tmp_path / "out"
    prepare = [
        "-m",
        "fewshot",
        "prepare",
        "phantom-mri",
        "--size",
        "64",
        "--phantom-slices",
        "12",
        "--work",
        str(work),
    ]
    subprocess.run([sys.executable, *prepare], check=True, cwd=BENCH.parent, capture_output=True)
    command = ["bash", str(BENCH / "gpu_campaign.sh"), str(work / "stores" / "phantom-mri"), str(out)]
    run = subprocess.run(
        [*command, "ssl-alpnet=2"], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    with tarfile.open(out / "campaign.tar.xz") as packed:
        names = packed.getnames()
        records = [
            json.loads(packed.extractfile(name).read())  # type: ignore[union-attr]
            for name in names
            if name.startswith("./records/") and name.endswith(".json")
        ]
    cells = [(one["method"]["name"], one["fold"]) for one in records]
    assert sorted(cell for cell in cells if cell[0] == "ssl-alpnet") == [
        ("ssl-alpnet", n) for n in (0, 0, 1, 1)
    ]
    assert len(cells) == 4 + 2 * 5 * 2  # beside the yardsticks of every fold and group
    assert sum(name.endswith("losses.csv") for name in names) == 2
    assert not [name for name in names if name.endswith((".pt", ".npy", ".gz"))]


def test_a_precision_is_held_to_the_other_ones_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    compared = part("precision").compared
    *shown, last = compared({"float32": [40.0, 44.0], "bf16": [41.0, 45.0]}, "toy")
    assert last["ok"] and [row["value_U"] for row in shown] == [42.0, 43.0]
    assert "40.00 to 44.00" in shown[0]["name"]
    last = compared({"float32": [40.0, 44.0], "bf16": [43.5, 46.5]}, "toy")[-1]  # 42 is below every bf16
    assert not last["ok"] and last["value_U"] == 1.5
    last = compared({"float32": [40.0, 50.0], "bf16": [39.0, 39.5]}, "toy")[-1]  # within by neither
    assert not last["ok"] and last["value_U"] == 5.5


def test_the_page_holds_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    measuring, page = part("measuring"), part("page")
    rows = [measuring.row("a step (U)", 6.5, 6.0), measuring.row("a slice (U)", 0.7)]
    (tmp_path / "some-cpu.json").write_text(json.dumps(rows))
    (tmp_path / "some-cpu.txt").write_text("encoder 90 %\n")
    assert page.main(tmp_path, tmp_path / "page.md") == 0
    text = (tmp_path / "page.md").read_text()
    assert "| a step (U) | 6.5 | 6 | **missed** by 0.5 |" in text and "| a slice (U) | 0.7 |  |  |" in text
    assert "## some-cpu: `make bench`" in text and "encoder 90 %" in text
    assert text.count("Not measured yet") == 3
    (tmp_path / "growth.json").write_text(
        json.dumps({"rows": [measuring.row("time of run (exponent)", 0.9)]})
    )
    (tmp_path / "gpu-speed.json").write_text(json.dumps([measuring.row("steps", 90, 100, least=True)]))
    (tmp_path / "precision.json").write_text(json.dumps([measuring.row("bf16: mean Dice", 41.5)]))
    page.main(tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "## bf16 beside float32" in text and "| bf16: mean Dice | 41.5 |" in text
    assert "time of run (exponent) | 0.9" in text and "| steps | 90 | 100 | **missed** by 10 |" in text
    assert "Not measured" not in text and text.count("growth.svg") == 1
