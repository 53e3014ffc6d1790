"""Try everything without a download: make phantoms, train on them, and show tables and pictures.

Phantoms of abdominal MR stand in for a dataset. SSL-ALPNet on a small encoder learns from their superpixels
without labels and is evaluated in setting 1, fold by fold. The tables also list the untrained encoder and two
yardsticks that need no training. A second call continues where the first one stopped. --quick runs fold 0
alone; its means are marked PARTIAL.

Examples:
  fewshot demo
  fewshot demo --quick
  fewshot demo --folds 0 --steps 50 --work /tmp/demo
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import options, shared

if TYPE_CHECKING:
    from protocols.request import Request
    from protocols.training.method import MethodConfig
    from results.records.record import Record

PHANTOMS = "phantom-mri"
PROTOCOL = "alpnet-ep1"
ENCODER = "resnet18"
STEPS = 80
LEARNING_RATE = "0.005"  # five times the published rate: few steps from a random encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = parser.add_argument_group("phantoms")
    group.add_argument("--size", type=int, metavar="N", help="pixels a side of a phantom (default: 96)")
    group.add_argument("--overwrite", action="store_true", help="replace phantoms of another size")
    group = parser.add_argument_group("training")
    group.add_argument("--quick", action="store_true", help="fold 0 alone")
    group.add_argument(
        "--steps", type=int, default=STEPS, metavar="N", help=f"training steps of a fold (default: {STEPS})"
    )
    group.add_argument(
        "--folds", metavar="F", help="all, or numbers from 0 with commas (default: all, with --quick 0)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="training seed")
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo and print where its results are."""
    from protocols.saved_masks.cell_overlay import draw_cell
    from results.figures.demo import draw_comparison
    from results.records.files import read_record
    from results.tables.fold_tables import render, render_comparison

    if args.folds is None:
        args.folds = "0" if args.quick else "all"
    if args.steps < 1:
        raise UserError(f"--steps {args.steps}: expected 1 or more; the untrained encoder is always shown")
    started = time.perf_counter()
    request = _request(args)
    methods = _methods(args)
    print(f"{len(request.folds)} folds, {args.steps} training steps each, on {request.device}", flush=True)
    paths = _run_folds(request, methods, started)
    records = {label: [read_record(path) for path in files] for label, files in paths.items()}
    trained = next(iter(records))
    print("\n" + render(records[trained]))
    print("\n" + render_comparison(record for cells in records.values() for record in cells))
    figure = args.work / "figures" / "demo.png"
    heading = f"{PHANTOMS}, setting 1, {len(request.folds)} folds, {args.steps} training steps"
    draw_comparison(heading, {label: _dices(cells) for label, cells in records.items()}, figure)
    overlays = [
        draw_cell(args.work, path, lambda _name: request.store, args.work / "figures" / f"demo-{group}.png")
        for path, group in zip(paths[trained], request.groups, strict=False)
    ]
    print(_farewell(args.work, figure, overlays, paths[trained][0].stem, time.perf_counter() - started))
    return 0


def _request(args: argparse.Namespace) -> Request:
    from episodes.phantoms.generate import phantom_spec
    from fewshot.commands.phantoms import ensure_phantoms
    from protocols.request import Request
    from protocols.rules.spec import choose_folds, load_protocol

    protocol, device = load_protocol(PROTOCOL), shared.choose_device(args.device)
    folds = choose_folds(args.folds, protocol.fold_borders_for(phantom_spec(PHANTOMS, args.size)))
    store, new = ensure_phantoms(args.work, PHANTOMS, size=args.size, overwrite=args.overwrite)
    print(f"{store.spec.title}: {len(store.index.scans)} scans {'made' if new else 'found'} in {store.path}")
    return Request(
        store=store,
        protocol=protocol,
        setting=1,
        folds=folds,
        groups=tuple(protocol.groups_for(store.spec)),
        work=args.work,
        device=device,
        batch=shared.choose_batch(0, device),
    )


def _methods(args: argparse.Namespace) -> dict[str, MethodConfig]:
    """Return label -> method, the trained one first."""
    from protocols.training.method_config import build_method_config

    def alpnet(steps: int) -> MethodConfig:
        return build_method_config(
            "ssl-alpnet", {"learning_rate": LEARNING_RATE}, encoder=ENCODER, weights="random", steps=steps,
            seed=args.seed,
        )  # fmt: skip

    return {
        "trained": alpnet(args.steps),
        "untrained": alpnet(0),
        "copy-support": build_method_config("copy-support", {}),
        "all-foreground": build_method_config("all-foreground", {}),
    }


def _run_folds(
    request: Request, methods: Mapping[str, MethodConfig], started: float
) -> dict[str, list[Path]]:
    """Evaluate every method fold by fold and print the time left; return label -> paths of records."""
    from protocols.runs.runner import run

    paths: dict[str, list[Path]] = {label: [] for label in methods}
    begun = time.perf_counter()
    for count, fold in enumerate(request.folds, start=1):
        for label, method in methods.items():
            paths[label] += run(replace(request, folds=(fold,), save_predictions=label == "trained"), method)
        now = time.perf_counter()
        left = (now - begun) / count * (len(request.folds) - count)
        print(
            f"fold {fold} done ({count} of {len(request.folds)}), {_minutes(now - started)} gone, "
            f"about {_minutes(left)} left",
            flush=True,
        )
    return paths


def _dices(records: Iterable[Record]) -> dict[str, list[float]]:
    """Return the Dice of every scan, by class."""
    dices: dict[str, list[float]] = {}
    for record in records:
        for score in record.scores:
            if score.dice is not None:
                dices.setdefault(score.class_name, []).append(score.dice)
    return dices


def _farewell(work: Path, figure: Path, overlays: list[Path], cell: str, seconds: float) -> str:
    home = "" if work == Path("work") else f" --work {work}"
    lines = [
        f"\ndone in {_minutes(seconds)}; look at",
        f"  {figure}   Dice of every class and scan, trained beside untrained",
        *(f"  {path}   support, query, truth and prediction" for path in overlays),
        f"  {work / 'stores' / PHANTOMS / 'contact.png'}   every phantom with its organs",
        "\nnext, type",
        f"  fewshot plan{home} --dataset {PHANTOMS} --setting 1      supports and queries, slice by slice",
        f"  fewshot overlay{home} {cell[:8]}                         one cell's best, median and worst scan",
        f"  fewshot run{home} --dataset {PHANTOMS} --setting 2 --method ssl-alpnet --encoder {ENCODER} "
        f"--weights random --steps {STEPS} --option learning_rate={LEARNING_RATE}",
        f"  fewshot prepare{home} chaost2 FOLDER                     the same with real scans",
    ]
    return "\n".join(lines)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
