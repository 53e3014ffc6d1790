"""Search a recipe: train candidates at once and compare them on validation scans, never on a test fold.

    python bench/campaign/recipe_search.py STORE CANDIDATES OUT [--folds 0,3] [--setting 1] [--seconds 300]

STORE       a prepared store (a folder)
CANDIDATES  a text file; each line is `name: options of fewshot run`, such as `b8: --method ssl-alpnet
            --option batch=8 --option snapshot_every=150 --steps 600`
OUT         a folder for search.csv (one line a candidate, fold and group) and the output of every run

Every candidate runs with `--checkpoint-policy validation`. The table shows the Dice on the scan that this
policy holds out, at the best snapshot; the scores of the test fold stay unread.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from run_queue import start_fewshot

Row = dict[str, object]


@dataclass(frozen=True)
class Candidate:
    """A named recipe: the options of `fewshot run` that it adds."""

    name: str
    options: tuple[str, ...]


def read_candidates(path: Path) -> list[Candidate]:
    """Return the candidates of a file; empty lines and those that begin with # are no candidates."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    pairs = [line.partition(":") for line in lines]
    return [Candidate(name.strip(), tuple(shlex.split(options))) for name, _, options in pairs]


def start(candidate: Candidate, fold: str, setting: int, store: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start the training and evaluation of one candidate on one fold, in a work folder of its own."""
    work = work_folder(out, candidate, fold)
    (work / "stores").mkdir(parents=True, exist_ok=True)
    link = work / "stores" / store.name
    if not link.exists():
        link.symlink_to(store.resolve())
    arguments = [
        "run", "--dataset", store.name, "--setting", str(setting), "--folds", fold, "--checkpoint-policy",
        "validation", "--checkpoint-every", "1000000", *candidate.options,
    ]  # fmt: skip
    with (out / f"{candidate.name}-{fold}.txt").open("wb") as log:
        return start_fewshot(arguments, work, log)


def work_folder(out: Path, candidate: Candidate, fold: str) -> Path:
    """Return the work folder of one candidate and fold."""
    return out / "work" / candidate.name / fold


def read_choices(candidate: Candidate, fold: str, out: Path, seconds: float | None) -> list[Row]:
    """Return a row for each record of a candidate and fold: what the validation scan says, nothing else."""
    rows: list[Row] = []
    for path in sorted((work_folder(out, candidate, fold) / "records").glob("*.json")):
        record = json.loads(path.read_text())
        selected = record["model"]["selected"]
        rows.append(
            {
                "candidate": candidate.name, "fold": fold, "group": record["group"], "scan": selected["on"],
                "step": selected["step"], "validation_dice": selected["dice"], "seconds": seconds,
            }
        )  # fmt: skip
    return rows


def main() -> int:
    """Run the search and print its table; exit 1 if a candidate failed or ran out of time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("candidates", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", default="0,3")
    parser.add_argument("--setting", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300.0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    runs = {
        (candidate, fold): start(candidate, fold, arguments.setting, arguments.store, arguments.out)
        for candidate in read_candidates(arguments.candidates)
        for fold in arguments.folds.split(",")
    }
    ended: dict[tuple[Candidate, str], float] = {}
    while len(ended) < len(runs) and time.monotonic() - begun < arguments.seconds:
        time.sleep(0.5)
        for cell, run in runs.items():
            if cell not in ended and run.poll() is not None:
                ended[cell] = time.monotonic() - begun
    rows: list[Row] = []
    for cell, run in runs.items():
        if run.poll() is None:
            run.kill()
        rows += read_choices(*cell, arguments.out, ended.get(cell))
        if run.wait() != 0:
            sys.stderr.write(f"{cell[0].name}, fold {cell[1]}: no result; see {cell[0].name}-{cell[1]}.txt\n")
    table = pd.DataFrame(rows)
    table.to_csv(arguments.out / "search.csv", index=False)
    if len(table):
        means = table.groupby("candidate").agg(
            dice=("validation_dice", "mean"), cells=("validation_dice", "size"), seconds=("seconds", "max")
        )
        means["dice"] = (100 * means["dice"]).round(2)
        sys.stdout.write(f"{table.to_string()}\n\n{means.sort_values('dice', ascending=False).to_string()}\n")
    return 0 if all(run.returncode == 0 for run in runs.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
