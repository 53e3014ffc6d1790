"""SimSiam pre-training of a text-supervised method's encoder, under WORK/backbones by the key of its spec.

It trains on pictures of a folder. Their sentences are those of a workbook Train_text.xlsx in the folder, or
without one the empty sentence. A run refuses a file that saw a query, as for every backbone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from episodes.contrastive.batches import ContrastBatches
from episodes.contrastive.images import FolderPictures
from episodes.io.workbook import read_sentences
from episodes.sampling.prefetch import prefetch
from fewshot.base.errors import UserError
from fewshot.encoders.backbone_file import Pretraining, write_backbone
from fewshot.encoders.checkpoints import load_weights
from fewshot.files.atomic_io import hash_of
from fewshot.files.locks import locked
from fewshot.files.temporaries import clear_dead
from fewshot.identity.versions import PRETRAINING, versions_of
from fewshot.learners.method_identity import option_files
from fewshot.learners.registry import resolve_method
from fewshot.pretraining.simsiam import CosineByEpoch, SimSiam, SimSiamRecipe
from fewshot.training.loop import train
from protocols.training.models import find_pretraining
from protocols.training.pretraining import BACKBONE, SPEC_SCHEMA, check_backbone
from protocols.training.record_extras import add_machine
from protocols.training.spec_file import FILE, backbone_key, read_backbone_spec, write_spec
from protocols.training.training_time import log_training

METHOD = "mptpn"
KIND = "simsiam"
WORKBOOK = "Train_text.xlsx"


@dataclasses.dataclass(frozen=True)
class PromptPretraining:
    """The settings of one pre-training: recipe, encoder, seed, device and first weights."""

    recipe: SimSiamRecipe
    encoder: str
    seed: int
    device: torch.device
    weights: str = "random"
    precision: str = "float32"
    checkpoint_every: int = 200


def folder_sentences(pictures: FolderPictures) -> tuple[str, ...]:
    """Return the sentence of each picture of a folder; "" for each without a workbook.

    Raises `UserError` for a picture without a sentence, a sentence without a picture, and as
    `read_sentences`.
    """
    path = pictures.folder / WORKBOOK
    if not path.is_file():
        return ("",) * len(pictures.names)
    sentences = read_sentences(path)
    names = [Path(name).name for name in pictures.names]
    for name in names:
        if name not in sentences:
            raise UserError(f"picture {name} has no sentence in {path}; add a row for it")
    for name in sentences:
        if name not in names:
            raise UserError(
                f"{path}: {name} has a sentence and no picture; add the picture or take the row out"
            )
    return tuple(sentences[name] for name in names)


def ensure_prompt_encoder(stage: PromptPretraining, pictures: FolderPictures, work: Path) -> Path:
    """Return WORK/backbones/KEY/backbone.pt; if it is missing, train it from its last checkpoint.

    Raises `UserError` for fewer pictures than a batch, sentences that do not fit the pictures, and weights
    that do not load.
    """
    recipe, sentences = stage.recipe, folder_sentences(pictures)
    method: Any = resolve_method(METHOD)
    encoder = method.new_encoder(stage.encoder, stage.seed)
    initial = load_weights(stage.weights, encoder, work / "weights")
    earlier = find_pretraining(stage.weights)
    vectors = method.sentence_vectors(recipe.text, recipe.text_file, encoder.features)
    known = {sentence: torch.from_numpy(vectors(sentence)) for sentence in dict.fromkeys(sentences)}

    def words(numbers: Sequence[int]) -> Tensor:
        return torch.stack([known[sentences[number]] for number in numbers])

    learner = SimSiam(encoder.backbone, encoder.backbone.widths, words, recipe.variant, stage.seed)
    batches = ContrastBatches(
        pictures, batch=recipe.batch, size=encoder.side, seed=stage.seed, device=stage.device
    )
    steps = recipe.epochs * batches.steps_per_epoch
    spec = _spec(stage, pictures, sentences, {"name": initial.name, "sha256": initial.sha256})
    key = backbone_key(spec)
    folder = work / "backbones" / key
    path = folder / BACKBONE
    own = Pretraining(KIND, key, stage.encoder, pictures.source, tuple(pictures.hashes), steps)
    schedule = CosineByEpoch(
        steps, batches.steps_per_epoch, recipe.learning_rate, recipe.momentum, recipe.weight_decay
    )
    with locked(work / "locks" / f"{key}.lock"):
        clear_dead(folder)
        if not (folder / FILE).exists():
            write_spec(folder, spec)
        if path.exists():
            check_backbone(folder)
            return path
        read_backbone_spec(folder)
        add_machine(folder, stage.device)
        result = train(
            learner, schedule, folder, seed=stage.seed, device=stage.device,
            episodes=lambda numbers: prefetch(batches.batch, numbers, depth=4), precision=stage.precision,
            checkpoint_every=stage.checkpoint_every, channels_last=True, title=f"{KIND} {key}",
            training={"key": key, "images": spec["images"]["hash"]},
        )  # fmt: skip
        factors = {
            "method": KIND, "encoder": stage.encoder, "image_size": encoder.side, "batch": recipe.batch,
            "precision": stage.precision, "compiled": False,
        }  # fmt: skip
        log_training(work, key, result, factors, stage.device)
        write_backbone(path, encoder.backbone.state_dict(), own if earlier is None else own.after(earlier))
    return path


def _spec(
    stage: PromptPretraining, pictures: FolderPictures, sentences: Sequence[str], initial: dict[str, Any]
) -> dict[str, Any]:
    """Return everything that a pre-trained encoder depends on."""
    recipe = dataclasses.asdict(stage.recipe)
    files = option_files(stage.recipe)  # by content: the same file under another name is the same training
    recipe["text_file"] = files.get("text_file", "")
    return {
        "schema": SPEC_SCHEMA,
        "versions": versions_of(PRETRAINING),
        "kind": KIND,
        "encoder": stage.encoder,
        "initial_weights": initial,
        "recipe": recipe,
        "images": {
            "source": pictures.source,
            "count": len(pictures),
            "hash": hash_of([list(pictures.hashes), list(sentences)])[:16],
        },
        "normalisation": None,
        "seed": stage.seed,
        "processes": 1,
        "precision": stage.precision,
    }
