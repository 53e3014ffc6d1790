"""Holds a device to the CPU: same weights, same questions; scores of pixels, Dice, episodes, compiled steps.

On a machine without a GPU the device is the CPU itself, which tries the program out.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from made import chaos_store
from measuring import FULL, TINY, Row, Sizes, printed, row
from torch import Tensor
from training_cost import stepper

from baselines.ssl_alpnet import SSLALPNet
from episodes.plan.plan import EvaluationPlan, make_plan
from episodes.sampling.augment import preset
from episodes.sampling.device_sampler import ResidentEpisodes
from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.types import Support
from fewshot.commands.shared import choose_device
from fewshot.encoders.encoder import build_encoder
from fewshot.files.atomic_io import write_json
from fewshot.learners.learner import encoder_for
from fewshot.learners.registry import resolve_method
from protocols.cells.evaluate import evaluate
from protocols.rules.spec import load_protocol

METHODS = ("ssl-alpnet", "dspnet")
STEPS = 10  # of training on the CPU, so that the weights tell organs from the rest
EPISODES = 20  # drawn on the device and on the host
CPU = torch.device("cpu")


def main(argv: list[str] | None = None) -> int:
    """Compare, print, write; return 0 if the device agrees with the CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the program out")
    parser.add_argument("--out", type=Path, required=True, help="file of the result")
    args = parser.parse_args(argv)
    device = choose_device("auto")
    sizes = TINY if args.tiny else FULL
    with tempfile.TemporaryDirectory() as folder:
        store = chaos_store(Path(folder) / "store", sizes)
        print(f"device: {device}")
        rows: list[Row] = []
        for part in parts(store, sizes, device):
            print(printed(part), flush=True)
            rows += part
            write_json(args.out, rows)  # after every part, so that a run cut off by a time limit leaves some
    return 0 if all(one["ok"] for one in rows) else 1


def parts(store: Store, sizes: Sizes, device: torch.device) -> Iterator[list[Row]]:
    """Yield the rows of every comparison, the quickest first."""
    yield drawn(store, sizes, device)
    for name in METHODS:
        yield compared(name, store, sizes, device)
    yield [compiled_row(store, sizes, device)]


def compared(name: str, store: Store, sizes: Sizes, device: torch.device) -> list[Row]:
    """Return how far the device is from the CPU for one method, trained a little on the CPU."""
    made = resolve_method(name)
    learner = made(encoder_for(made, sizes.encoder, 0))
    step, _episode = stepper(learner, store, rate=1e-3)
    for _step in range(STEPS):
        step()
    learner.eval()
    there = copy.deepcopy(learner).to(device)
    protocol = load_protocol("alpnet-ep1")
    plans = [
        make_plan(store.index, store.spec, store.hash, protocol.evaluation, 1, 0, group, classes).evaluation
        for group, classes in protocol.groups_for(store.spec).items()
    ]
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    rounding = "float32 without TF32"
    with _tf32(False):
        probabilities = _probabilities(learner, plans[0], reader, CPU)
        difference = (probabilities - _probabilities(there, plans[0], reader, device)).abs()
        wanted = _dices(learner, plans, reader, CPU)
        exact = _dices(there, plans, reader, device)
    usual = _dices(there, plans, reader, device)
    rows = [
        row(f"{name}: mean difference of a probability ({rounding})", float(difference.mean()), 1e-4),
        row(f"{name}: largest difference of a Dice ({rounding})", _largest(wanted, exact), 1e-3),
        row(f"{name}: largest difference of a Dice (torch's defaults)", _largest(wanted, usual), 1e-2),
    ]
    if device.type == "cuda":
        rows.append(row(f"{name}: waits for the device in a step", _waits(learner, store, device), 0))
    return rows


def drawn(store: Store, sizes: Sizes, device: torch.device) -> list[Row]:
    """Return how far episodes drawn on the device are from those that the host builds for it.

    The elastic field is left out: its noise is the device's own.
    """
    scans = store.index.scans
    reader = SliceReader(store, normalisation(store, "per-scan", scans))
    ranges = dataclasses.replace(preset("published"), elastic_px=0.0)
    source = SuperpixelEpisodes(reader, store.index, scans, None, seed=0, augmentation=ranges)
    pixels, images = [], []
    for step, found in enumerate(ResidentEpisodes(source, device).episodes(range(EPISODES))):
        wanted = source.episode(step)
        if found.label != wanted.label:
            raise RuntimeError(f"step {step}: {found.label} was drawn on the device, {wanted.label} here")
        images.append(float((found.query_images.cpu() - wanted.query_images).abs().mean()))
        pixels.append(float((found.query_masks.cpu() ^ wanted.query_masks).float().mean()))
    return [
        row("episodes drawn on the device: mean difference of a pixel", max(images), 1e-3),
        row("episodes drawn on the device: share of mask pixels that differ", max(pixels), 1e-3),
    ]


def compiled_row(store: Store, sizes: Sizes, device: torch.device) -> Row:
    """Return how far weights after some compiled steps are from those after the same steps as written."""
    ends = []
    for whole in (False, True):
        learner = SSLALPNet(build_encoder(sizes.encoder, 0))
        with _tf32(False):
            step, _episode = stepper(learner, store, device, rate=1e-3, whole=whole)
            for _step in range(STEPS):
                step()
        ends.append(torch.cat([one.detach().flatten().cpu() for one in learner.parameters()]))
    wanted, found = ends
    far = float((found - wanted).norm() / wanted.norm())
    return row(f"weights after {STEPS} compiled steps: relative difference", far, 1e-3)


def _probabilities(learner: Any, plan: EvaluationPlan, reader: SliceReader, device: torch.device) -> Tensor:
    """Return the foreground probabilities (Q,H,W) of the first task's scored slices, on the CPU."""
    task = plan.tasks[0]
    masks = torch.stack([torch.from_numpy(reader.mask(ref, task.class_value)) for ref in task.support])
    support = Support(reader.images(task.support).to(device), masks.to(device))
    queries = [ref for ref, scored in zip(task.queries, task.scored, strict=True) if scored]
    with torch.inference_mode():
        found: Tensor = learner.segment(support, reader.images(queries).to(device)).cpu()
    return found


def _dices(
    learner: Any, plans: list[EvaluationPlan], reader: SliceReader, device: torch.device
) -> list[float]:
    found = evaluate(learner, plans, reader, device=device, batch=8 if device.type == "cuda" else 2)
    return [score.dice or 0.0 for one in found for score in one.scores]


def _largest(wanted: list[float], found: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(wanted, found, strict=True))


def _waits(learner: Any, store: Store, device: torch.device) -> int:
    """Return how often torch sees the host wait for the device while a step is queued."""
    step, _episode = stepper(copy.deepcopy(learner), store, device, "bf16")
    for _step in range(3):
        step()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step()
    torch.cuda.set_sync_debug_mode("default")
    return len(caught)


class _tf32:  # noqa: N801
    """Allow or forbid TF32 while the block runs."""

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed

    def __enter__(self) -> None:
        self._before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self._allowed

    def __exit__(self, *_error: object) -> None:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = self._before


if __name__ == "__main__":
    sys.exit(main())
