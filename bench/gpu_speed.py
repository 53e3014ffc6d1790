"""Steps a second, slices a second and memory of ResNet-101 at 256 x 256 on a GPU: bf16, channels-last.

Training goes through `fewshot.training.train` with its episodes drawn on the device, as written and compiled;
evaluation through `protocols.evaluate`, in both precisions. On a machine without a GPU the device is the CPU,
which tries the program out.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from evaluation_cost import Fold
from made import chaos_store
from measuring import FULL, TINY, Row, Sizes, best, printed, row

from baselines.ssl_alpnet import SSLALPNet
from episodes.plan.plan import EvaluationPlan
from episodes.sampling.device_sampler import ResidentEpisodes
from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.precision import PRECISIONS
from fewshot.base.types import Episode
from fewshot.commands.shared import choose_batch, choose_device
from fewshot.encoders.encoder import build_encoder
from fewshot.files.atomic_io import write_json
from fewshot.learners.recipe import Recipe
from fewshot.training.loop import train
from protocols.cells.evaluate import evaluate


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write; return 0 if the targets of an H200-class card are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the program out")
    parser.add_argument("--out", type=Path, required=True, help="file of the result")
    parser.add_argument("--steps", type=int, default=500, help="training steps timed (default: 500)")
    args = parser.parse_args(argv)
    device = choose_device("auto")
    sizes = TINY if args.tiny else FULL
    with tempfile.TemporaryDirectory() as folder:
        store = chaos_store(Path(folder) / "store", sizes)
        rows = [
            *training_rows(store, sizes, device, args.steps, whole=False),
            *training_rows(store, sizes, device, args.steps, whole=True),
            *evaluation_rows(store, Path(folder), sizes, device),
        ]
    print(f"device: {device} {_name(device)}\n{printed(rows)}")
    write_json(args.out, rows)
    return 0 if all(one["ok"] for one in rows) else 1


def training_rows(store: Store, sizes: Sizes, device: torch.device, steps: int, whole: bool) -> list[Row]:
    """Return steps a second in bf16 after a tenth of them to warm up, and the memory they take.

    `whole`: the loss is compiled, which falls into the warming up. The target is the compiled step's.
    """
    learner = SSLALPNet(build_encoder(sizes.encoder, 0))
    scans = store.index.scans
    reader = SliceReader(store, normalisation(store, "per-scan", scans))
    source = SuperpixelEpisodes(reader, store.index, scans, None, seed=0)
    warm = steps // 10
    started = [0.0]

    def episodes(numbers: range) -> Iterator[Episode]:
        for step, episode in zip(numbers, ResidentEpisodes(source, device).episodes(numbers), strict=True):
            if step == warm:
                _finished(device)
                started[0] = time.perf_counter()
            yield episode

    recipe = Recipe(steps=steps, encoder=sizes.encoder, weights="random", snapshot_every=0)
    _forget(device)
    with tempfile.TemporaryDirectory() as folder:
        train(
            learner, recipe, Path(folder), seed=0, device=device, episodes=episodes, precision="bf16",
            checkpoint_every=10**9, channels_last=True, compiled=whole,
        )  # fmt: skip
        _finished(device)
        seconds = time.perf_counter() - started[0]
    what = "training, bf16, compiled" if whole else "training, bf16"
    return [
        row(f"{what} (steps/s)", (steps - warm) / seconds, 100.0 if whole else None, least=True),
        row(f"{what}, memory of the device (MB)", _memory(device)),
    ]


def evaluation_rows(store: Store, work: Path, sizes: Sizes, device: torch.device) -> list[Row]:
    """Return the encoded slices a second of a fold, both groups, by precision, and the memory it takes."""
    batch = choose_batch(0, device)
    fold = Fold(store, work, sizes, device.type, batch)
    plans: list[EvaluationPlan] = [cell.plan.evaluation for cell in fold.cells("alpnet-ep1")]
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    _forget(device)

    def evaluate_fold(precision: str) -> None:
        evaluate(fold.learner, plans, reader, device=device, batch=batch, precision=precision)
        _finished(device)

    calls = {name: functools.partial(evaluate_fold, name) for name in PRECISIONS}
    seconds = best(calls, sizes.rounds)
    _volumes, distinct, _masks = fold.counts("alpnet-ep1")
    targets = {"bf16": 1500.0}
    return [
        *(
            row(
                f"evaluation, {name} (encoded slices/s)",
                distinct / seconds[name],
                targets.get(name),
                least=True,
            )
            for name in PRECISIONS
        ),
        row("evaluation, memory of the device (MB)", _memory(device)),
    ]


def _finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _memory(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


if __name__ == "__main__":
    sys.exit(main())
