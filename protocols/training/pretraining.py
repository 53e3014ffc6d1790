"""Pre-trained backbones under WORK/backbones: found by the key of their spec, trained if they are missing.

DenseCL (docs/methods.md, M-DCL-1 to M-DCL-8) trains on pictures of a folder or on the slices of a fold's
training scans. A backbone file holds the content hashes of its images, so a run can check which images it
saw.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from episodes.contrastive.batches import ContrastBatches
from episodes.contrastive.images import Pictures, open_slices
from episodes.sampling.prefetch import prefetch
from episodes.store.slices import Normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.encoders.backbone_file import Pretraining, read_pretraining, write_backbone
from fewshot.encoders.checkpoints import load_weights
from fewshot.encoders.encoder import ResNetEncoder, build_backbone
from fewshot.files.atomic_io import hash_of
from fewshot.files.seals import check_hash
from fewshot.files.temporaries import clear_dead
from fewshot.identity.versions import PRETRAINING, versions_of
from fewshot.pretraining.densecl import DenseCL, DenseCLRecipe
from fewshot.pretraining.distributed import DistributedContext
from fewshot.training.loop import TrainingResult, train
from protocols.training.models import find_pretraining
from protocols.training.record_extras import add_machine
from protocols.training.reusable_backbones import log_reusable_backbones
from protocols.training.spec_file import FILE, REMEDY, backbone_key, read_backbone_spec, write_spec
from protocols.training.training_time import log_training

LOG = logging.getLogger("fewshot")
SPEC_SCHEMA = 2
BACKBONE = "backbone.pt"


@dataclass(frozen=True)
class Cosine:
    """SGD with a learning rate that falls to 0 on a half cosine, updated every step."""

    steps: int
    learning_rate: float
    momentum: float
    weight_decay: float
    snapshot_every: int = 0

    def rate_after(self, moves: int) -> float:
        """Return the learning rate after `moves` optimiser steps."""
        return self.learning_rate * (1 + math.cos(math.pi * moves / self.steps)) / 2


@dataclass(frozen=True)
class PretrainingSettings:
    """The settings of one pre-training: recipe, encoder, seed, device; `weights` are the initial weights."""

    recipe: DenseCLRecipe
    encoder: str
    seed: int
    device: torch.device
    weights: str = "random"
    precision: str = "float32"
    checkpoint_every: int = 200


def ensure_backbone(
    recipe: DenseCLRecipe, encoder: str, store: Store, scans: Sequence[str], intensities: Normalisation,
    work: Path, device: torch.device, seed: int, *, precision: str = "float32", checkpoint_every: int = 200,
) -> Path:  # fmt: skip
    """Return the backbone file of a pre-training on the slices of `scans`; train it if it is missing."""
    pictures = open_slices(store, scans, intensities)
    log_reusable_backbones(work, recipe, encoder, pictures, intensities.rule, seed, precision)
    stage = PretrainingSettings(
        recipe, encoder, seed, device, precision=precision, checkpoint_every=checkpoint_every
    )
    return ensure_pretrained(stage, pictures, intensities.rule, work)


def ensure_pretrained(
    stage: PretrainingSettings,
    pictures: Pictures,
    normalisation: str | None,
    work: Path,
    together: DistributedContext | None = None,
) -> Path:
    """Return WORK/backbones/KEY/backbone.pt; if it is missing, train it from its last checkpoint.

    A backbone that starts from an earlier one has seen both image sets. Rank 0 writes all files. A lock lets
    only one command train a backbone.

    Args:
        stage: recipe, encoder, seed, device and initial weights.
        pictures: the images of the training.
        normalisation: rule of a store's intensities; None for picture files.
        work: holds `backbones`, `locks` and `weights`.
        together: the processes of a distributed training; None: one process.

    Raises:
        UserError: the batch does not suit the number of processes or BatchNorm, or the weights do not load.
    """
    together = DistributedContext() if together is None else together
    recipe = stage.recipe
    if recipe.batch % together.size:
        raise UserError(
            f"a batch of {recipe.batch} pictures is no multiple of {together.size} processes; "
            f"give a batch that is"
        )
    if recipe.batch // together.size * recipe.cells < 2:
        raise UserError(
            f"one picture of {recipe.size} pixels a process gives BatchNorm one value a channel, expected "
            f"two or more; give a batch of {2 * together.size} or a larger size"
        )
    if recipe.queue > len(pictures) and together.rank == 0:
        LOG.warning(
            "queues of %d keys for %d pictures: earlier keys of a picture are among its own negatives; "
            "give a queue below the number of pictures", recipe.queue, len(pictures),
        )  # fmt: skip
    learner, initial, earlier = _learner(stage, work, together)
    batches = ContrastBatches(
        pictures, batch=recipe.batch, size=recipe.size, seed=stage.seed, device=stage.device,
        rank=together.rank, processes=together.size,
    )  # fmt: skip
    steps = recipe.epochs * batches.steps_per_epoch
    spec = backbone_spec(stage, pictures, normalisation, initial, together.size)
    key = backbone_key(spec)
    folder = work / "backbones" / key
    path = folder / BACKBONE
    own = Pretraining("densecl", key, stage.encoder, pictures.source, tuple(pictures.hashes), steps)
    about = own if earlier is None else own.after(earlier)
    first = together.rank == 0
    with together.lock_on_rank0(work / "locks" / f"{key}.lock"):
        if first:
            clear_dead(folder)
        if first and not (folder / FILE).exists():
            write_spec(folder, spec)
        if path.exists():
            check_backbone(folder)
        else:
            if first:
                read_backbone_spec(folder)
            if first:
                add_machine(folder, stage.device)
            training = {"key": key, "images": spec["images"]["hash"]}
            result = _train(stage, learner, batches, steps, folder, together, training)
            if first:
                log_training(work, key, result, pretraining_factors(stage), stage.device)
                write_backbone(path, learner.encoder_q[0].state_dict(), about)
        together.wait()
    return path


def backbone_spec(
    stage: PretrainingSettings,
    pictures: Pictures,
    normalisation: str | None,
    initial: dict[str, Any],
    processes: int,
) -> dict[str, Any]:
    """Return everything that a pre-trained backbone depends on.

    Args:
        stage: recipe, encoder, seed and precision.
        pictures: the images of the training.
        normalisation: rule of a store's intensities; None for picture files.
        initial: name and sha256 of the initial weights.
        processes: number of processes that share a batch.
    """
    images: dict[str, Any] = {
        "source": pictures.source,
        "count": len(pictures),
        "hash": hash_of(list(pictures.hashes))[:16],
    }
    if any(cut is not None for cut in pictures.cuts):  # the hash covers the whole slice
        images["cuts"] = list(pictures.cuts)
    return {
        "schema": SPEC_SCHEMA,
        "versions": versions_of(PRETRAINING),
        "kind": "densecl",
        "encoder": stage.encoder,
        "initial_weights": initial,
        "recipe": dataclasses.asdict(stage.recipe),
        "images": images,
        "normalisation": normalisation,
        "seed": stage.seed,
        "processes": processes,
        "precision": stage.precision,
    }


def check_backbone(folder: Path) -> Pretraining:
    """Return the provenance of the backbone in WORK/backbones/KEY.

    Raises `UserError` if its spec or file is damaged, was changed, or is of another key than the folder's.
    """
    read_backbone_spec(folder)
    path = folder / BACKBONE
    check_hash(path, REMEDY)
    about = read_pretraining(path)
    if about is None or about.key != folder.name:
        key = "no key" if about is None else f"key {about.key}"
        raise UserError(f"{path} has {key}, expected that of its folder, {folder.name}; {REMEDY}")
    return about


def pretraining_factors(stage: PretrainingSettings) -> dict[str, Any]:
    """Return what the seconds of a training step depend on, besides the machine."""
    return {
        "method": "densecl",
        "encoder": stage.encoder,
        "image_size": stage.recipe.size,
        "batch": stage.recipe.batch,
        "precision": stage.precision,
        "compiled": False,
    }


def summarise_losses(folder: Path) -> dict[str, tuple[float, float]]:
    """Return name -> mean over the first and over the last tenth of a training's steps, from its losses.csv.

    Steps before the queues are full are left out, because random keys are easy negatives. Steps without a
    value of a figure are left out of its mean; the mean of no values is NaN.
    """
    with (folder / "losses.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows = [row for row in rows if float(row["fill"]) == 1] or rows
    tenth = max(1, len(rows) // 10)
    names = [name for name in rows[0] if name not in ("step", "rate", "defined")]
    return {name: (_mean(rows[:tenth], name), _mean(rows[-tenth:], name)) for name in names}


def _mean(rows: Sequence[Mapping[str, str]], name: str) -> float:
    values = [float(row[name]) for row in rows if row[name]]
    return sum(values) / len(values) if values else math.nan


def _learner(
    stage: PretrainingSettings, work: Path, together: DistributedContext
) -> tuple[DenseCL, dict[str, Any], Pretraining | None]:
    """Return both encoders with initial weights, the weights' name and hash, and their pre-training."""
    query, key = (build_backbone(stage.encoder, stage.seed) for _ in range(2))
    carrier = ResNetEncoder(
        stage.encoder, seed=stage.seed
    )  # `load_weights` expects an encoder's parameter names
    initial = load_weights(stage.weights, carrier, work / "weights")
    query.load_state_dict(carrier.backbone.state_dict())
    learner = DenseCL(query, key, query.channels, stage.recipe, stage.seed, together)
    description: dict[str, Any] = {"name": initial.name, "sha256": initial.sha256}
    earlier = find_pretraining(stage.weights)
    if earlier is not None:  # part of the key, because the new file holds these images too
        description["images"] = {"count": len(earlier.images), "hash": hash_of(list(earlier.images))[:16]}
    return learner, description, earlier


def _train(
    stage: PretrainingSettings,
    learner: DenseCL,
    batches: ContrastBatches,
    steps: int,
    folder: Path,
    together: DistributedContext,
    training: Mapping[str, Any],
) -> TrainingResult:
    recipe = stage.recipe
    schedule = Cosine(steps, recipe.learning_rate, recipe.momentum, recipe.weight_decay)

    return train(
        learner, schedule, folder, seed=stage.seed, device=stage.device,
        episodes=lambda numbers: prefetch(batches.batch, numbers, depth=4),
        precision=stage.precision, checkpoint_every=stage.checkpoint_every, channels_last=True,
        title=f"densecl {folder.name}", writes=together.rank == 0, training=training,
    )  # fmt: skip
