"""Measures the costs that matter as ratios to one encoder forward, best of five alternating runs.

Unit U: one float32 forward of the ResNet-101 stride-8 encoder on one 256 x 256 slice, batch 1, same
process. Prints a table and writes bench/<machine>.json; exit status 1 where a target is missed.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.segmentation import felzenszwalb
from torch import nn

from baselines.dspnet import DSPNet
from baselines.ssl_alpnet import SSLALPNet
from episodes.dataset import DatasetSpec, load_dataset_spec
from episodes.plan import make_plan
from episodes.sampler import SuperpixelEpisodes
from episodes.slices import SliceReader, normalisation
from episodes.store import Source, Store, new_store
from episodes.superpixels import volume_superpixels
from fewshot.encoder import build_encoder
from fewshot.files import write_json
from fewshot.types import Episode
from protocols.evaluate import evaluate
from protocols.spec import load_protocol

HERE = Path(__file__).resolve().parent
WORK = Path(os.environ.get("FEWSHOT_WORK", HERE.parent / "work"))
ROUNDS = 5
SIDE = 256
DEPTH = 24


def best(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the least seconds of each call over `ROUNDS` alternating rounds, after one warm-up each."""
    seconds = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _round in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def main() -> int:
    """Measure, print, write; return 0 if every target is met."""
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder) / "bench")
        rows = [*_encoder_rows(store), _superpixel_row(store), *_memory_row()]
    print(f"{'':42} {'value':>9} {'target':>9}")
    for row in rows:
        target = "" if row["target_U"] is None else f"{row['target_U']:9.2f}"
        print(f"{row['name']:42} {row['value_U']:9.3f} {target:>9} {'' if row['ok'] else 'MISSED'}".rstrip())
    machine = re.sub(r"[^a-z0-9]+", "-", f"{_processor()}-{os.cpu_count()}-cores".lower()).strip("-")
    write_json(HERE / f"{machine}.json", rows)
    return 0 if all(row["ok"] for row in rows) else 1


def _encoder_rows(store: Store) -> list[dict[str, Any]]:
    """A training step and an evaluated slice of ResNet-101, in batch-1 forwards of its encoder."""
    protocol = load_protocol("alpnet-ep1")
    plans = [
        make_plan(store.index, store.spec, store.hash, protocol.evaluation, 1, 0, group, classes)
        for group, classes in protocol.groups_for(store.spec).items()
    ]
    reader = SliceReader(store, normalisation(store, "per-scan", plans[0].training_scans))
    distinct = {ref for plan in plans for task in plan.tasks for ref in task.support} | {
        ref
        for plan in plans
        for task in plan.tasks
        for ref, scored in zip(task.queries, task.scored, strict=True)
        if scored
    }
    bare = build_encoder("resnet101", 0).eval()
    plain_image = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    asked: Any = SSLALPNet(build_encoder("resnet101", 0))
    asked.to(memory_format=torch.channels_last).eval()
    trained: Any = SSLALPNet(build_encoder("resnet101", 0))
    step, episode = _stepper(trained, reader, store, plans[0].training_scans)
    dual_step, _ = _stepper(DSPNet(build_encoder("resnet101", 0)), reader, store, plans[0].training_scans)
    encoder: nn.Module = trained.encoder
    images = torch.cat([episode.support_images[0], episode.query_images[0]])

    def forward() -> None:
        with torch.inference_mode():
            bare(plain_image)

    def bare_step() -> None:
        encoder.zero_grad(set_to_none=True)
        encoder(images).square().mean().backward()

    def fold() -> None:
        evaluate(asked, plans, reader, device=torch.device("cpu"), batch=2)

    seconds = best({"unit": forward, "step": step, "dual": dual_step, "bare": bare_step, "fold": fold})
    unit = seconds["unit"]
    print(f"U = {1000 * unit:.0f} ms; {len(distinct)} distinct slices evaluated\n")
    return [
        _row("training step (SSL-ALPNet, U)", seconds["step"] / unit, None),
        _row("training step (DSPNet, U)", seconds["dual"] / unit, None),
        _row("DSPNet's step to SSL-ALPNet's (ratio)", seconds["dual"] / seconds["step"], 1.15),
        _row("encoder forward and backward of it (U)", seconds["bare"] / unit, None),
        _row("evaluation per distinct slice (U)", seconds["fold"] / unit / len(distinct), None),
    ]


def _stepper(
    learner: Any, reader: SliceReader, store: Store, scans: Sequence[str]
) -> tuple[Callable[[], None], Episode]:
    """Return a training step of the learner on one superpixel episode, and that episode."""
    learner.to(memory_format=torch.channels_last).train()
    groups = learner.parameter_groups()
    optimiser = torch.optim.SGD(groups, lr=1e-3, momentum=0.9, weight_decay=5e-4)
    episodes = SuperpixelEpisodes(reader, store.index, scans, None, seed=0, prepare=learner.prepare)
    episode = episodes.episode(0)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        learner.loss(episode).total.backward()
        optimiser.step()

    return step, episode


def _superpixel_row(store: Store) -> dict[str, Any]:
    """Superpixels of a volume on all cores against serial Felzenszwalb of the same slices."""
    volume = np.array(store.scan("0").image)
    seconds = best(
        {
            "ours": lambda: volume_superpixels(volume, 50.0, 400, os.cpu_count() or 1),
            "serial": lambda: [
                felzenszwalb(one.astype(np.float64), scale=1, sigma=1, min_size=400) for one in volume
            ],
        }
    )
    return _row("superpixels, all cores to serial (ratio)", seconds["ours"] / seconds["serial"], 0.7)


def _memory_row() -> list[dict[str, Any]]:
    """Resident memory added by opening the prepared SABS set; measured where it has been prepared."""
    if not (WORK / "stores" / "sabs" / "index.json").is_file():
        print(f"no prepared sabs in {WORK}: its memory is not measured\n")
        return []
    program = (
        "import sys; from pathlib import Path; from episodes.store import Store\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096 / 2**20\n"
        "before = resident(); store = Store.open(Path(sys.argv[1])); store.index\n"
        "scans = [store.scan(name) for name in store.index.scans]\n"
        "print(resident() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(WORK / "stores" / "sabs")],
        capture_output=True,
        text=True,
        check=True,
    )
    return [_row("memory added by opening SABS (MB)", float(run.stdout), 300.0)]


def _row(name: str, value: float, target: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value_U": round(value, 4),
        "target_U": target,
        "ok": target is None or value <= target,
    }


def _store(path: Path) -> Store:
    """Write five scans of 256 x 256 with four round organs in a noisy body."""
    facts = load_dataset_spec("chaost2").to_json()
    facts.update(name="bench", scans=(), fold_borders=(0, 2, 5))
    spec = DatasetSpec(**{key: tuple(v) if isinstance(v, list) else v for key, v in facts.items()})
    rows, columns = np.mgrid[:SIDE, :SIDE]
    with new_store(path, spec) as writer:
        for number in range(5):
            draw = np.random.Generator(np.random.PCG64(number))
            body = ((rows - 128) / 100) ** 2 + ((columns - 128) / 120) ** 2 < 1
            image = draw.normal(150, 25, (DEPTH, SIDE, SIDE)) * body
            labels = np.zeros(image.shape, dtype=np.uint8)
            for value, (row, column, radius) in enumerate(
                ((90, 80, 40), (170, 90, 18), (170, 170, 18), (95, 185, 24)), start=1
            ):
                inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
                labels[3:-3, inside] = value
                image[3:-3, inside] += 60 * value
            image = image.clip(0).astype(np.int16)
            superpixels = volume_superpixels(image, 50.0, 400, os.cpu_count() or 1)
            geometry = ((7.7, 1.25, 1.25), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
            writer.add(Source(str(number), image, labels, superpixels, *geometry, "0" * 64, "0" * 64))
    return Store.open(path)


def _processor() -> str:
    """Return the processor's name, without the system's help where it gives none."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
