"""Reckons a campaign in GPU hours and simulates its wall time on more and more nodes; writes docs/scaling.md.

Jobs are those of `fewshot jobs`: shared stages, and one job per fold (setting 1) or per fold and group
(setting 2). Their cost is in U of docs/performance.md, with the seconds of a U given. A job reads its data,
alternates computing and writing checkpoints, and waits where the file system has no free stream.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simpy
import torch
from torch.utils.flop_counter import FlopCounterMode

from fewshot.encoders.encoder import ARCHITECTURES, build_encoder
from fewshot.files.atomic_io import atomic_write, write_json
from fewshot.learners.registry import METHODS, resolve_method, trains
from fewshot.learners.training_plan import BackboneStage, single_stage
from protocols.campaign.costs import COMMAND, PICTURE, SECONDS_OF_U, SLICE, STEP

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "scaling.md"
# dataset -> folds, groups, scans, and slices of a scan, which are assumed
DATASETS = {"chaost2": (5, 2, 20, 32), "sabs": (5, 2, 30, 100), "cmr": (5, 1, 35, 12)}
SETTINGS, SEEDS = (1, 2), 3
NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CHECKPOINT = 0.5e9  # bytes of last.pt with ResNet-101 and its optimiser, assumed
READ = 0.5e9  # bytes that a job reads before it computes, assumed
CHECKPOINT_EVERY = 200  # steps, the default of `fewshot run`
CHUNKS = 10  # turns of computing and writing into which a job is divided
STREAMS = 4  # transfers that the file system serves at once, each with its share of the bandwidth
BANDWIDTHS = (None, 2e9, 0.2e9)  # bytes a second of the file system; None: no wait
RATE = 2e13  # FLOP a second of a GPU, assumed: SECONDS_OF_U["cuda"] follows


@dataclass(frozen=True)
class Work:
    """One job of the campaign: seconds on one device, bytes written, number and kind of the job before it."""

    seconds: float
    written: float
    after: int | None
    cells: int


def campaign(
    seconds_of_u: float, methods: Sequence[str], checkpoint_every: int = CHECKPOINT_EVERY
) -> list[Work]:
    """Return the jobs of all methods, datasets, settings, folds and seeds, shared stages first."""
    stages: list[Work] = []
    cells: list[Work] = []
    for name in methods:
        learner = resolve_method(name)
        recipe = learner.recipe()
        own = hasattr(learner, "training_plan")
        plan = learner.training_plan(learner.Options(), recipe) if own else single_stage(recipe)
        for folds, groups, scans, depth in DATASETS.values():
            tested = scans // folds * depth
            for _seed in range(SEEDS):
                for _fold in range(folds):
                    backbone: int | None = None
                    for setting in SETTINGS:
                        units = 1 if setting == 1 and not plan.reads_labels else groups
                        after = backbone
                        left = list(plan.stages)
                        if isinstance(left[0], BackboneStage):
                            first = left.pop(0)
                            if backbone is None:
                                steps = first.recipe.epochs * ((scans * depth - tested) // first.recipe.batch)
                                side = (first.recipe.size / 256) ** 2
                                u = steps * first.recipe.batch * PICTURE * side
                                backbone = _add(
                                    stages, _work(u, steps, None, 0, seconds_of_u, checkpoint_every)
                                )
                            after = backbone
                        if setting == 1 and len(left) > 1 and units > 1:  # the groups share all but the last
                            for stage in left[:-1]:
                                steps = stage.recipe.steps
                                work = _work(steps * STEP, steps, after, 0, seconds_of_u, checkpoint_every)
                                after = _add(stages, work)
                            left = left[-1:]
                        steps = sum(stage.recipe.steps for stage in left)
                        for _unit in range(units):
                            u = steps * STEP + tested * SLICE
                            cells.append(
                                _work(u, steps, after, groups // units, seconds_of_u, checkpoint_every)
                            )
    return stages + cells


def _add(works: list[Work], work: Work) -> int:
    works.append(work)
    return len(works) - 1


def _work(
    u: float, steps: int, after: int | None, cells: int, seconds_of_u: float, checkpoint_every: int
) -> Work:
    written = CHECKPOINT * (steps // checkpoint_every + 1)
    return Work(COMMAND + u * seconds_of_u, written, after, cells)


def simulate(works: Sequence[Work], nodes: int, bandwidth: float | None, by_level: bool = False) -> float:
    """Return the seconds until all jobs have ended.

    Args:
        works: in the order of submission; a node takes the next one whose predecessor has ended.
        nodes: devices.
        bandwidth: of the file system in bytes a second; None: transfers take no time.
        by_level: whether all cells wait for all stages, as with `submit --at-once`.
    """
    world = simpy.Environment()
    devices = simpy.Resource(world, nodes)
    streams = simpy.Resource(world, STREAMS)
    ended = [world.event() for _work in works]
    stages = world.all_of([ended[number] for number, work in enumerate(works) if not work.cells])

    def transfer(size: float) -> Any:
        if bandwidth is not None and size:
            with streams.request() as stream:
                yield stream
                yield world.timeout(size / (bandwidth / STREAMS))

    def job(number: int, work: Work) -> Any:
        if by_level and work.cells:
            yield stages
        elif work.after is not None:
            yield ended[work.after]
        with devices.request() as device:
            yield device
            yield from transfer(READ)
            for _chunk in range(CHUNKS):
                yield world.timeout(work.seconds / CHUNKS)
                yield from transfer(work.written / CHUNKS)
        ended[number].succeed()

    for number, work in enumerate(works):
        world.process(job(number, work))
    world.run()
    return float(world.now)


def critical_path(works: Sequence[Work]) -> float:
    """Return the seconds of the longest chain of jobs, without transfers."""
    ends: list[float] = []
    for work in works:
        ends.append(work.seconds + (0 if work.after is None else ends[work.after]))
    return max(ends)


def flops() -> dict[str, float]:
    """Return encoder -> GFLOP of a forward of one 256 x 256 slice."""
    counts = {}
    for name in ARCHITECTURES:
        encoder = build_encoder(name, 0).to("meta").eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            encoder(torch.empty(1, 3, 256, 256, device="meta"))
        counts[name] = counter.get_total_flops() / 1e9
    return counts


def reckon() -> dict[str, Any]:
    """Return all numbers of the page."""
    u = SECONDS_OF_U["cuda"]
    methods = [name for name in METHODS if trains(resolve_method(name))]
    works = campaign(u, methods)
    hours = {name: sum(one.seconds for one in campaign(u, [name])) / 3600 for name in methods}
    walls = [
        {
            "nodes": nodes,
            "hours": [simulate(works, nodes, bandwidth) / 3600 for bandwidth in BANDWIDTHS],
            "hours_by_level": simulate(works, nodes, None, by_level=True) / 3600,
        }
        for nodes in NODES
    ]
    rare = campaign(u, methods, 10 * CHECKPOINT_EVERY)
    return {
        "cells": sum(one.cells for one in works),
        "jobs": len(works),
        "stages": sum(not one.cells for one in works),
        "gflop": flops(),
        "gpu_hours": sum(one.seconds for one in works) / 3600,
        "gpu_hours_of_method": hours,
        "terabytes": sum(one.written + READ for one in works) / 1e12,
        "terabytes_rare": sum(one.written + READ for one in rare) / 1e12,
        "critical_path_hours": critical_path(works) / 3600,
        "walls": walls,
        "rare_checkpoints_hours": simulate(rare, NODES[-1], BANDWIDTHS[-1]) / 3600,
    }


TEXT = """# A campaign on a cluster

Written by `python bench/campaign/scaling.py`, which reckons and simulates; `bench/campaign/scaling.json`
holds its numbers. It is a reckoning on paper: **no number of this page was measured on a cluster or on a
GPU**. Steps and stages are the published recipes of the methods. A training step costs {step} U and an
encoded slice {slice} U, measured on a CPU ([performance.md](performance.md)). A picture of a pre-training
costs {picture} U, by counting passes. One U is {gflop:.0f} GFLOP, counted by torch; at an assumed {rate:.0f}
TFLOP/s it takes {u:.1f} ms. `fewshot jobs` uses the same constants until WORK/logs holds what your own
trainings and evaluations took; then it says `measured`.

## The work
{methods} trained methods, {datasets} (slices of a scan are assumed: {depths}), both settings, {seeds}
seeds: {cells} cells in {jobs} jobs, {stages} of them shared stages.

| method | GPU hours |
|---|---:|
{hours}
| all | {total:.0f} |

## Wall time against nodes
Hours until the last record, one GPU a node. Jobs start in the order of `fewshot jobs` as soon as the
stage they need has ended. The second column is the best that {total:.0f} GPU hours allow; nothing is
faster than the longest chain of jobs, {path:.1f} h. The file system serves {streams} transfers at once;
a job reads {read:.1f} GB and writes {checkpoint:.1f} GB every {every} steps (both assumed),
{terabytes:.0f} TB in all.

| nodes | hours / nodes | no wait for files | {fast:.1f} GB/s | {slow:.1f} GB/s | cells after all stages |
|---:|---:|---:|---:|---:|---:|
{walls}

- **Shared stages** bound the wall time at many nodes: a chain of stages runs one after the other. The
  last column is `submit --at-once N`, where all cells wait for all stages (no wait for files).
- **The file system** bounds it where checkpoints are written faster than it takes them: {slow_total:.0f}
  h for all bytes at {slow:.1f} GB/s. `--checkpoint-every {rare}` writes {rare_terabytes:.0f} TB and
  takes {rare_hours:.1f} h on {most} nodes at that rate.

## From one command
```sh
# what is missing, with its cost
fewshot jobs --campaign campaign.toml
fewshot submit --campaign campaign.toml --partition gpu --gpus 1 --time 4:00:00 --at-once 16
# recorded, running, waiting, failed
fewshot status
# the same without Slurm
fewshot submit --campaign campaign.toml --local 2 --device cuda:0,cuda:1
# or any program that runs lines
fewshot jobs --campaign campaign.toml --part stages | parallel -j 4
# gather; nothing is overwritten
fewshot sync /mnt/other-site/work
```
A campaign file has the keys of `run --save-config`. `method`, `dataset`, `protocol`, `setting` and
`seed` may be lists:
```toml
dataset = ["chaost2", "sabs"]
setting = [1, 2]
seed = [0, 1, 2]
[[runs]]
method = "copy-support"
[[runs]]
method = ["ssl-alpnet", "dspnet"]
protocol = ["alpnet-ep1", "open-ep"]
```
Install `fewshot-medseg[slurm]` for `submit` and for several devices. Jobs are command lines; submitit
keeps them beside their logs in WORK/jobs/NAME. Without a cap a job waits for its own stage alone, and a
failed stage cancels the jobs that need it. `--at-once N` bounds one array, so arrays run one after the
other, and a cell whose stage failed trains it again.

A job near its time limit, or preempted with a signal, saves a checkpoint and returns to the queue. A job
that is killed, or whose node is lost, continues from its last checkpoint. The same `submit` again sends
what is still missing.

## Shared file systems
Every file is written beside its place and renamed. Locks are `flock` on a local file system and leases
on NFS, Lustre, CIFS, Ceph, BeeGFS, GPFS, FUSE and the like: files with host, process and heartbeat. A
lease of a process of the same host that has ended is taken at once. One of another host is taken after
{stale:.0f} s without a heartbeat by the waiting process's own clock, so clocks may differ. A holder that
was silent for longer stops. `submit` to Slurm makes the work folder use leases, because the submitting
host may see its own disk where nodes see NFS. `FEWSHOT_LOCKS=flock` or `FEWSHOT_LOCKS=lease` decides for
all processes that have it.

## Databases
Sacred's file observer writes WORK/runs. `--observer sqlite:///FILE`, `--observer postgresql://HOST/NAME`
and `--observer mongodb://HOST/NAME` (extra `fewshot-medseg[tracking]`, or `$FEWSHOT_OBSERVERS` for URLs
with a password) add databases. A server that is down costs a warning.
"""


def page(found: dict[str, Any]) -> str:
    """Return the text of docs/scaling.md."""
    from fewshot.files.leases import Pace

    total = found["gpu_hours"]
    lines = [
        "| "
        + " | ".join(
            [
                str(wall["nodes"]),
                f"{total / wall['nodes']:.1f}",
                *(f"{hours:.1f}" for hours in wall["hours"]),
                f"{wall['hours_by_level']:.1f}",
            ]
        )
        + " |"
        for wall in found["walls"]
    ]
    dearest = sorted(found["gpu_hours_of_method"].items(), key=lambda item: (-item[1], item[0]))
    hours = [f"| {name} | {value:.0f} |" for name, value in dearest]
    fast, slow = (bandwidth / 1e9 for bandwidth in BANDWIDTHS if bandwidth is not None)
    return TEXT.format(
        step=STEP, slice=SLICE, picture=PICTURE, gflop=found["gflop"]["resnet101"], rate=RATE / 1e12,
        u=SECONDS_OF_U["cuda"] * 1000, methods=len(hours), datasets=", ".join(DATASETS),
        depths=", ".join(f"{name} {facts[3]}" for name, facts in DATASETS.items()), seeds=SEEDS,
        cells=found["cells"], jobs=found["jobs"], stages=found["stages"], hours="\n".join(hours), total=total,
        path=found["critical_path_hours"], streams=STREAMS, read=READ / 1e9, checkpoint=CHECKPOINT / 1e9,
        every=CHECKPOINT_EVERY, terabytes=found["terabytes"], fast=fast, slow=slow, walls="\n".join(lines),
        slow_total=found["terabytes"] * 1000 / slow / 3600, rare=10 * CHECKPOINT_EVERY,
        rare_terabytes=found["terabytes_rare"], rare_hours=found["rare_checkpoints_hours"], most=NODES[-1],
        stale=Pace().stale,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Reckon, simulate and write both files; return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "scaling.json", help="file of the numbers")
    parser.add_argument("--page", type=Path, default=PAGE, help="file of the page")
    args = parser.parse_args(argv)
    found = reckon()
    write_json(args.out, found)
    with atomic_write(args.page) as stream:
        stream.write(page(found))
    print(args.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
