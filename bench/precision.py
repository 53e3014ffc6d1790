"""Holds trainings in bf16 to trainings in float32: the same ones on phantoms, under several seeds each.

The mean Dice over seeds of either must lie between the least and the most of the other's seeds. Exit
status 1 where it does not. Runs on the GPU if there is one, else on the CPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from measuring import TINY, Row, printed, row

from episodes.store.store import Store
from fewshot.base.precision import PRECISIONS
from fewshot.commands.phantoms import ensure_phantoms
from fewshot.commands.shared import choose_batch, choose_device
from fewshot.files.atomic_io import write_json
from protocols.request import Request
from protocols.rules.spec import load_protocol
from protocols.runs.runner import run
from protocols.training.method_config import build_method_config
from results.records.files import read_record

HERE = Path(__file__).resolve().parent
RATE = "0.005"  # as results/phantoms.md: the published rate is for many more steps


def main(argv: list[str] | None = None) -> int:
    """Train, compare, print, write; return 0 if the precisions end within each other's spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few steps and seeds, to try the program out")
    parser.add_argument("--seeds", type=int, default=5, help="trainings in each precision (default: 5)")
    parser.add_argument("--steps", type=int, default=100, help="of a training (default: 100)")
    parser.add_argument("--out", type=Path, default=HERE / "precision.json", help="file of the result")
    args = parser.parse_args(argv)
    seeds, steps, side = (2, 3, TINY.side) if args.tiny else (args.seeds, args.steps, 96)
    device = choose_device("auto")
    with tempfile.TemporaryDirectory() as folder:
        store, _made = ensure_phantoms(Path(folder), "phantom-mri", size=side)
        dices = {
            precision: [dice(store, Path(folder), device, precision, seed, steps) for seed in range(seeds)]
            for precision in PRECISIONS
        }
    rows = compared(dices, f"ssl-alpnet, phantoms, {steps} steps, {seeds} seeds, {device.type}")
    print(printed(rows))
    write_json(args.out, rows)
    return 0 if all(one["ok"] for one in rows) else 1


def dice(store: Store, work: Path, device: torch.device, precision: str, seed: int, steps: int) -> float:
    """Return the mean Dice in percent of fold 0 after a training in this precision."""
    method = build_method_config(
        "ssl-alpnet", {"learning_rate": RATE}, encoder=TINY.encoder, weights="random", steps=steps,
        seed=seed, precision=precision,
    )  # fmt: skip
    protocol = load_protocol("alpnet-ep1")
    groups = tuple(protocol.groups_for(store.spec))
    batch = choose_batch(0, device)
    request = Request(store, protocol, 1, (0,), groups, work, device, batch, checkpoint_every=10**9)
    records = [read_record(path) for path in run(request, method)]
    return 100 * statistics.mean(score.dice for record in records for score in record.scores)


def compared(dices: dict[str, list[float]], what: str) -> list[Row]:
    """Return each precision's mean and range, and how far either mean lies outside the other's range."""
    rows = [
        row(f"{precision}: mean Dice ({what}; {min(of):.2f} to {max(of):.2f})", statistics.mean(of))
        for precision, of in dices.items()
    ]
    outside = max(
        max(min(other) - statistics.mean(one), statistics.mean(one) - max(other), 0.0)
        for one, other in ((dices[a], dices[b]) for a in dices for b in dices if a != b)
    )
    return [*rows, row("a mean outside the other precision's seeds (Dice, percent)", outside, 0.0)]


if __name__ == "__main__":
    sys.exit(main())
