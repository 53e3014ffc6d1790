"""Seconds of one fold of TMUnet, MPTPN and I-MMSeg at reduced width, with the commands of docs/.

Each command trains and evaluates fold 0 of a phantom dataset in a fresh work folder, with one thread:
tensors of this size are slower on two. Writes folds.json beside this file, which `bench/page.py` reads.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT)]

from measuring import printed, row  # noqa: E402

from fewshot.files.atomic_io import write_json  # noqa: E402

TARGET = 120.0  # seconds on two cores
PREPARE = (
    "prepare phantom-skin",
    "prepare phantom-cells",
    "prepare phantom-pathology --size 64 --phantom-slices 8",
)
FOLDS = {
    "tmunet": "run --method tmunet --dataset phantom-skin --folds 0 --encoder resnet18-w16 --steps 240 "
    "--option side=64 --option width=0.0625 --option learning_rate=2e-3",
    "mptpn": "run --method mptpn --dataset phantom-cells --folds 0 --encoder ppe-s64-c8 --steps 600 "
    "--option batch=4 --option learning_rate=2e-3",
    "immseg": "run --method immseg --dataset phantom-pathology --groups pathology --folds 0 --steps 700 "
    "--option side=64 --option width=0.125 --option batch=4 --option epoch_steps=1 "
    "--option augmentation=false",
}


def seconds(command: str, work: Path) -> float:
    """Run a `fewshot` command and return its seconds; `CalledProcessError` if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fewshot", *shlex.split(command), "--work", str(work)],
        check=True, capture_output=True, env=environment,
    )  # fmt: skip
    return time.perf_counter() - started


def main() -> int:
    """Measure, print, write; return 0 if every fold is within its target."""
    with tempfile.TemporaryDirectory() as folder:
        for command in PREPARE:
            seconds(command, Path(folder))
        rows = [
            row(
                f"{name}, a fold at reduced width, training and evaluation, one thread (s)",
                seconds(command, Path(folder)),
                TARGET,
            )
            for name, command in FOLDS.items()
        ]
    print(printed(rows))
    write_json(HERE / "folds.json", rows)
    return 0 if all(one["ok"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
