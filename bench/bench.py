"""Measures the costs that matter as ratios to one encoder forward, best of five alternating runs.

Unit U: one float32 forward of the ResNet-101 stride-8 encoder on one 256 x 256 slice, batch 1, same
process. Prints a table and where the time goes, and writes FOLDER/<machine>.json and FOLDER/<machine>.txt;
exit status 1 where a target is missed. `--tiny` tries the program out at sizes that mean nothing.
`--family` measures only the training steps of ADNet, Q-Net, RPT and GMRD, and puts their rows into the file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from evaluation_cost import Fold, evaluation_rows
from made import chaos_store
from measuring import FULL, TINY, Row, Sizes, best, printed, printed_parts
from memory_cost import memory_rows
from profiles import of_evaluation, of_training
from training_cost import family_rows, first_step_rows, superpixel_row, training_rows

from fewshot.base.malloc import blocks_of_every_size, keep_memory
from fewshot.encoders.encoder import build_encoder
from fewshot.files.atomic_io import atomic_write, write_json

HERE = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write; return 0 if every target is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the program out")
    parser.add_argument("--family", action="store_true", help="only ADNet, Q-Net, RPT and GMRD")
    parser.add_argument(
        "--folder", type=Path, default=HERE, help="where the results go (default: beside this)"
    )
    args = parser.parse_args(argv)
    keep_memory()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    sizes = TINY if args.tiny else FULL
    if args.family:
        return family(sizes, args.folder / f"{machine()}.json")
    rows, parts = measured(sizes)
    print(printed(rows), *parts, sep="\n\n")
    write_json(args.folder / f"{machine()}.json", rows)
    with atomic_write(args.folder / f"{machine()}.txt") as stream:
        stream.write("\n\n".join(parts) + "\n")
    return 0 if all(one["ok"] for one in rows) else 1


def measured(sizes: Sizes) -> tuple[list[Row], list[str]]:
    """Return all rows, and where the time goes as tables."""
    unit = one_forward(sizes)
    rows = [*first_step_rows(sizes), *memory_rows(sizes)]
    with tempfile.TemporaryDirectory() as folder:
        store = chaos_store(Path(folder) / "stores" / "bench", sizes)
        print(f"U = {1000 * best({'unit': unit}, sizes.rounds)['unit']:.0f} ms\n", flush=True)
        fold = Fold(store, Path(folder), sizes)
        parts = [
            printed_parts("evaluation of a fold under alpnet-ep1, both groups", of_evaluation(fold)),
            printed_parts("training, five steps of SSL-ALPNet", of_training(store, sizes)),
        ]
        rows = [
            *evaluation_rows(fold, unit, sizes),
            *training_rows(store, unit, sizes),
            superpixel_row(store, sizes),
            *rows,
        ]
    return rows, parts


def family(sizes: Sizes, file: Path) -> int:
    """Print the training steps of ADNet, Q-Net, RPT and GMRD; return 0 if every target is met.

    In `file` they replace the rows of the same names; the other rows stay.
    """
    with tempfile.TemporaryDirectory() as folder, blocks_of_every_size():
        rows = family_rows(chaos_store(Path(folder) / "bench", sizes), sizes)
    print(printed(rows))
    names = {one["name"] for one in rows}
    before = json.loads(file.read_text()) if file.is_file() else []
    write_json(file, [*(one for one in before if one["name"] not in names), *rows])
    return 0 if all(one["ok"] for one in rows) else 1


def one_forward(sizes: Sizes) -> Callable[[], None]:
    """Return a call that takes one U."""
    bare = build_encoder(sizes.encoder, 0).eval()
    image = torch.randn(1, 1, sizes.side, sizes.side, generator=torch.Generator().manual_seed(0))

    def forward() -> None:
        with torch.inference_mode():
            bare(image)

    return forward


def machine() -> str:
    """Return a name for this machine: its processor and its number of cores."""
    return re.sub(r"[^a-z0-9]+", "-", f"{_processor()}-{os.cpu_count()}-cores".lower()).strip("-")


def _processor() -> str:
    """Return the processor's name, without the system's help where it gives none."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
