"""Weights from files, loaded safely: backbones, DINOv2 snapshots, released checkpoints, our own.

Files are read with `weights_only=True`, which never builds a pickled object. `plain_weights` understands the
forms in which programs save weights. Every weight is checked by name, shape and finite values; nothing is
guessed, skipped or replaced by random weights.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.base.errors import UserError, listed, short, unknown_name
from fewshot.encoders.foundation import (
    base_name,
    encoder_names,
    is_foundation,
    snapshot_state,
    snapshot_weights,
)
from fewshot.files.atomic_io import sha256_of
from fewshot.files.input_files import check_file, kind_of_bytes
from fewshot.files.seals import check_hash, hash_file

NAMED = ("random", "imagenet", "coco")  # names of initial weights; every other value is the path of a file
URL = "https://download.pytorch.org/models/"
# encoder -> name for `--weights` -> torchvision's file, whose name ends with the first digits of its sha256
FILES = {
    "resnet18": {"imagenet": "resnet18-f37072fd.pth"},
    "resnet50": {
        "imagenet": "resnet50-0676ba61.pth",
        "coco": "deeplabv3_resnet50_coco-cd0a2569.pth",
    },
    "resnet101": {
        "imagenet": "resnet101-63fe2227.pth",
        "coco": "deeplabv3_resnet101_coco-586e9e4e.pth",
    },
}
# Parameters of torchvision's files that no encoder here has.
HEADS = ("fc.", "classifier.", "aux_classifier.")
# Parameters of released checkpoints that their programs never use, and their number.
UNUSED = ("encoder.asppconv.", "encoder.aspp_out.")
UNUSED_PARAMETERS = 16_190_464
# Entries under which programs put the weights beside other things.
INNER = ("state_dict", "model")
# Prefix that torch.nn.DataParallel adds to every name; ADNet's released files have it.
WRAPPER = "module."
# A counter that BatchNorm with a momentum never reads; torchvision's older files lack it.
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class InitialWeights:
    """Initial weights of a training: random, imagenet, coco or a file's name; random has no `sha256`."""

    name: str
    sha256: str | None


def default_weights(encoder: str) -> str:
    """Return the default initial weights of an encoder.

    For a ResNet they are coco if torchvision has them, else imagenet; for a DINOv2 the name of its network,
    which is a snapshot's folder beside torchvision's files; for a narrow ResNet such as resnet18-w16 random.
    """
    if is_foundation(encoder):
        return base_name(encoder)
    if encoder.partition("-w")[0] in FILES and "-w" in encoder:  # a narrow ResNet of a quick run
        return "random"
    if encoder not in FILES:
        raise unknown_name("encoder", encoder, encoder_names())
    return "coco" if "coco" in FILES[encoder] else "imagenet"


def load_weights(weights: str, encoder: nn.Module, folder: Path) -> InitialWeights:
    """Load the initial weights of an encoder's backbone and return their name and sha256; no fallback.

    The 1x1 convolutions after the backbone and the classifier of Q-Net's backbone always start random.

    Args:
        weights: random (leave the encoder unchanged), imagenet, coco or the path of a file with a backbone
            under torchvision's names, with or without `backbone.` before them, in any form that
            `plain_weights` understands. For a DINOv2: random, or the folder of a snapshot.
        encoder: module with attributes `name` and `backbone`.
        folder: folder of torchvision's files; each is checked against the sha256 prefix in its name.

    Raises:
        UserError: the file is missing, damaged or of another encoder, or the encoder lacks an attribute.
    """
    if weights == "random":
        return InitialWeights("random", None)
    name_of_encoder, backbone = getattr(encoder, "name", None), getattr(encoder, "backbone", None)
    if not isinstance(name_of_encoder, str) or not isinstance(backbone, nn.Module):
        raise UserError(
            f"{type(encoder).__name__} takes no {weights} weights: it has no `name` and `backbone`, expected "
            "for every start but --weights random; give it both, or ask for random"
        )
    path = weights_file(weights, name_of_encoder, folder)
    assert path is not None
    sha256, name = sha256_of(path), path.name
    if weights in ("imagenet", "coco"):
        _check_known(path, sha256)
        name = weights
    if is_foundation(name_of_encoder):
        snapshot = path.parent
        _load_strictly(backbone, snapshot_state(snapshot, name_of_encoder), path, optional_counters=False)
        return InitialWeights(snapshot.name, sha256)
    content = read_checkpoint(path)
    _check_encoder(content, path, name_of_encoder)
    state = _without_heads(plain_weights(content, path))
    heads = {name: value for name, value in backbone.state_dict().items() if name.startswith(HEADS)}
    _load_strictly(backbone, heads | state, path, optional_counters=True)
    return InitialWeights(name, sha256)


def weights_file(weights: str, encoder: str, folder: Path) -> Path | None:
    """Return the file of the initial weights, unread; None for random; `UserError` if it is missing."""
    if weights == "random":
        return None
    if is_foundation(encoder):
        return snapshot_weights(folder / weights if weights == base_name(encoder) else Path(weights), encoder)
    if weights not in ("imagenet", "coco"):
        if not Path(weights).is_file():
            raise UserError(
                f"weights {weights!r} is no file and none of random, imagenet, coco; give one of these "
                "or the path of a file"
            )
        return Path(weights)
    known = FILES.get(encoder, {})
    if weights not in known:
        raise UserError(
            f"there are no {weights} weights for {encoder}; known for it: "
            f"{', '.join([*sorted(known), 'random'])} or a file of your own"
        )
    path = folder / known[weights]
    if not path.is_file():
        raise UserError(
            f"no {weights} weights for {encoder}: expected {path}; download {URL}{path.name} (sha256 begins "
            f"with {path.stem.rpartition('-')[2]}) into {folder}, or ask for --weights random"
        )
    return path


def load_released(path: Path, learner: nn.Module) -> None:
    """Load all weights of a learner from a released checkpoint, or from one of ours.

    The file has the learner's parameter names (`encoder.backbone.*`, `encoder.localconv.weight`) in a form
    that `plain_weights` understands; parameters under the prefixes `UNUSED` are ignored. It must have every
    name of the learner in its shape, and no other. Raises `UserError` with up to three names that differ.
    """
    state = plain_weights(read_checkpoint(path), path)
    state = {name: value for name, value in state.items() if not name.startswith(UNUSED)}
    _load_strictly(learner, state, path, optional_counters=False)


def load_state(learner: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load the weights of one of our checkpoints into the learner.

    Args:
        learner: the module that the checkpoint was made from.
        state: the entry `model` of last.pt or step_N.pt.
        path: the file, for messages.

    Raises:
        UserError: a name or shape differs, or a weight is NaN or infinite. The learner stays unchanged.
    """
    _load_strictly(learner, plain_weights(state, path), path, optional_counters=False)


def weights_are_finite(learner: object) -> bool:
    """Return whether every parameter and saved buffer is finite; True for a learner that is not a module.

    The host synchronises with the device once.
    """
    return not isinstance(learner, nn.Module) or _all_finite(learner.state_dict().values())


def check_finite(state: Mapping[str, Tensor], name: str, remedy: str) -> None:
    """Raise `UserError` if a tensor of `state` holds NaN or infinite values.

    Args:
        state: names and tensors, as `state_dict` gives them.
        name: subject of the message, such as "checkpoint runs/last.pt".
        remedy: what the user can do.
    """
    if _all_finite(state.values()):
        return
    counts = {key: int((~value.isfinite()).sum()) for key, value in state.items() if _may_be_nan(value)}
    faulty = [key for key, count in counts.items() if count]
    raise UserError(
        f"{name} holds {sum(counts.values())} NaN or infinite values in {len(faulty)} of {len(state)} "
        f"tensors, first {faulty[0]!r}; expected finite weights: {remedy}"
    )


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all values of the tensors are finite; the host synchronises with the device once."""
    flags = [tensor.isfinite().all() for tensor in tensors if _may_be_nan(tensor)]
    return not flags or bool(torch.stack(flags).all())


def _is_plain(value: object) -> bool:
    """Return whether a value is a dense tensor with values, neither quantised nor complex."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )


def _may_be_nan(value: object) -> bool:
    """Return whether an entry of a `state_dict` is a tensor whose dtype has NaN."""
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the dictionary of tensors (on the CPU) and plain values in a file written by `torch.save`.

    Raises `UserError` if the file is missing, damaged, not a checkpoint, holds a pickled object, or does not
    have the hash in the file `NAME.sha256` beside it, if there is one.
    """
    check_file(path, "give the path of a checkpoint file")
    if hash_file(path).is_file():
        check_hash(path, "fetch, copy or train it again")
    _check_kind(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's exceptions are not listed anywhere
        if isinstance(error, pickle.UnpicklingError) and (
            "Unsupported" in str(error) or "GLOBAL" in str(error)
        ):
            raise UserError(
                f"checkpoint {path} has a pickled object inside, which could run code and is never loaded; "
                "save its state_dict alone"
            ) from error
        raise _not_a_checkpoint(path) from error
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise UserError(
            f"checkpoint {path} holds a {type(content).__name__}, expected a dictionary of names and "
            "tensors; save a state_dict"
        )
    return dict(content)


def checkpoint_entry(content: Mapping[str, Any], name: str, kind: type, path: Path) -> Any:
    """Return the entry `name` of one of our checkpoints; `UserError` if it is missing or no `kind`."""
    value = content.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(
            f"checkpoint {path}: its entry {name!r} is {short(repr(value))}, expected a {kind.__name__}; it "
            "is damaged, or not a checkpoint of a training here: train again"
        )
    return value


def _check_kind(path: Path) -> None:
    """Raise `UserError` for a file that torch.save cannot have written, before anything is unpacked."""
    with path.open("rb") as stream:
        beginning = stream.read(1024)
    kind = kind_of_bytes(beginning)
    if beginning.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except Exception as error:  # zipfile's exceptions are not listed anywhere
            raise _not_a_checkpoint(path) from error
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise UserError(
                f"checkpoint {path} is a compressed ZIP archive, expected a file of torch.save; unpack it, "
                "or save it again"
            )
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise UserError(
                f"checkpoint {path} is a TorchScript program, expected weights; save its state_dict alone"
            )
    elif not beginning.startswith(b"\x80") and kind != "a file of another kind":
        raise UserError(f"checkpoint {path} is {kind}, expected a file of torch.save; fetch it again")


def _not_a_checkpoint(path: Path) -> UserError:
    return UserError(
        f"checkpoint {path} ({path.stat().st_size} bytes) cannot be read: truncated, or not written by "
        "torch.save; fetch or copy it again"
    )


def plain_weights(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return names and tensors of a file's content, whatever form its program gave them.

    The weights may lie under `state_dict` or `model`, one in the other too, beside other entries. If every
    name starts with `module.`, as torch.nn.DataParallel saves them, the prefix is removed.

    Args:
        content: the dictionary in the file.
        path: the file, for messages.

    Raises:
        UserError: both entries hold a dictionary, or a value is no dense tensor of real numbers.
    """
    while inner := [name for name in INNER if isinstance(content.get(name), Mapping)]:
        if len(inner) > 1:
            raise UserError(
                f"checkpoint {path} has weights under {' and '.join(inner)}, expected one of them; save one "
                "dictionary of names and tensors"
            )
        content = content[inner[0]]
    others = [name for name, value in content.items() if not isinstance(name, str) or not _is_plain(value)]
    if others:
        raise UserError(
            f"checkpoint {path} is not a plain state_dict: {_some(others)} hold no tensor; "
            "save a dictionary of names and tensors"
        )
    state = dict(content)
    while state and all(name.startswith(WRAPPER) for name in state):
        state = {name.removeprefix(WRAPPER): value for name, value in state.items()}
    return state


def _check_encoder(content: Mapping[str, Any], path: Path, encoder: str) -> None:
    """Raise `UserError` if a backbone file says that it was made for another encoder."""
    about = content.get("pretraining")
    made_for = about.get("encoder") if isinstance(about, Mapping) else None
    if made_for not in (None, encoder):
        raise UserError(
            f"{path} holds a backbone of {made_for}, expected one of {encoder}; use --encoder {made_for}, or "
            "give another file"
        )


def _check_known(path: Path, sha256: str) -> None:
    """Raise `UserError` if the sha256 of a torchvision file does not start with the digits in its name."""
    prefix = path.stem.rpartition("-")[2]
    if not sha256.startswith(prefix):
        raise UserError(
            f"{path} is damaged or another file: sha256 begins with {sha256[: len(prefix)]}, expected "
            f"{prefix}; download {URL}{path.name} again"
        )


def _without_heads(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the heads of torchvision's files, and remove the prefix `backbone.` from the other names."""
    kept = {name: value for name, value in state.items() if not name.startswith(HEADS)}
    return {name.removeprefix("backbone."): value for name, value in kept.items()}


def _load_strictly(
    module: nn.Module, state: dict[str, Tensor], path: Path, *, optional_counters: bool
) -> None:
    """Load `state`; raise `UserError` and change nothing if a name, a shape or a value is wrong."""
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in state]
    if optional_counters:
        missing = [name for name in missing if not name.endswith(COUNTER)]
    extra = [name for name in state if name not in wanted]
    misshaped = [
        f"{name} {tuple(state[name].shape)} for {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    mistyped = [
        f"{name} {state[name].dtype} for {value.dtype}"
        for name, value in wanted.items()
        if name in state and state[name].is_floating_point() != value.is_floating_point()
    ]
    found = {
        "missing": missing, "not known": extra, "of another shape": misshaped, "of another type": mistyped
    }  # fmt: skip
    faults = [f"{len(names)} {kind} ({_some(names)})" for kind, names in found.items() if names]
    if faults:
        raise UserError(
            f"checkpoint {path} does not fit: {'; '.join(faults)}; expected every one of the model's "
            f"{len(wanted)} names and no other: choose the encoder and method it was made for"
        )
    check_finite(state, f"checkpoint {path}", "give another file, or train again")
    module.load_state_dict({**wanted, **state})


def _some(names: Iterable[object]) -> str:
    """Return up to three names as text, and how many more there are."""
    return listed(names, most=3)
