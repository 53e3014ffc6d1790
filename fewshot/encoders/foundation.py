"""DINOv2 encoders of the extra `foundation`: patch tokens as feature maps, from a local snapshot.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023, arXiv 2304.07193, as the
library `transformers` has it. An encoder resizes a slice to whole patches, and the tokens of the last layer
to the grid of the ResNets, so every learner keeps its constants (docs/methods.md, FOUNDATION-1 to
FOUNDATION-6). Nothing is downloaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.base.errors import UserError, unknown_name
from fewshot.base.precision import in_float32
from fewshot.base.seeds import seed_for
from fewshot.encoders.encoder import ARCHITECTURES, CLASSES, STRIDE, TwoScaleEncoder, build_encoder

PATCH = 14  # pixels a side of a patch
FINE_STRIDE = 4  # pixels a side of a cell of the fine map
FROZEN = "-frozen"  # ends the names of encoders whose DINOv2 weights are never trained
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # files of a snapshot


@dataclass(frozen=True)
class VisionTransformer:
    """The size of a DINOv2: channels of a token, layers, heads, and pixels a side in its own training."""

    channels: int
    layers: int
    heads: int
    side: int = 518

    @property
    def config(self) -> dict[str, Any]:
        """Return the entries of a snapshot's configuration that decide the network."""
        return {
            "model_type": "dinov2",
            "hidden_size": self.channels,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "image_size": self.side,
            "patch_size": PATCH,
            "num_channels": 3,
            "mlp_ratio": 4,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "qkv_bias": True,
            "use_swiglu_ffn": False,
        }


TRANSFORMERS = {
    "dinov2-small": VisionTransformer(384, 12, 6),
    "dinov2-base": VisionTransformer(768, 12, 12),
    "dinov2-large": VisionTransformer(1024, 24, 16),
}


class FoundationEncoder(nn.Module):
    """Grey slices (N,1,H,W) float32 -> the tokens' map (N,C,ceil(H/8),ceil(W/8)).

    Initial weights are random and depend only on `name` without "-frozen" and on `seed`. An encoder whose
    name ends with "-frozen" has no gradient for its DINOv2. Raises `UserError` if the extra is missing.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        super().__init__()
        self.name = name
        self.transformer = base_name(name)
        self.out_channels = TRANSFORMERS[self.transformer].channels
        self.backbone = _random_transformer(self.transformer, seed)
        if name.endswith(FROZEN):
            self.backbone.requires_grad_(False)

    def forward(self, images: Tensor) -> Any:
        """(N,1,H,W) -> (N,C,ceil(H/8),ceil(W/8))."""
        return to_stride(self.tokens(images), images, STRIDE)

    def tokens(self, images: Tensor) -> Tensor:
        """Return the patch tokens (N,C,h,w) of images (N,1,H,W); h and w are H/14 and W/14 rounded down."""
        rows, columns = (max(1, side // PATCH) for side in images.shape[-2:])
        whole = _resized(images, (PATCH * rows, PATCH * columns))
        states: Tensor = self.backbone(whole.expand(-1, 3, -1, -1)).last_hidden_state
        return states[:, 1:].transpose(1, 2).reshape(len(images), -1, rows, columns)


class FoundationThresholdEncoder(FoundationEncoder):
    """The encoder of RPT and GMRD: the tokens' map of stride 4 and a threshold (N,1,1,1) float32.

    The threshold is reduce1d(fc(mean token)), two linear layers without an activation, as in Q-Net's family.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        super().__init__(name, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("encoder", self.transformer, "threshold", seed))
            self.fc = nn.Linear(self.out_channels, CLASSES)
            self.reduce1d = nn.Linear(CLASSES, 1)

    def forward(self, images: Tensor) -> Any:
        """(N,1,H,W) -> the map (N,C,ceil(H/4),ceil(W/4)) and thresholds (N,1,1,1)."""
        tokens = self.tokens(images)
        return to_stride(tokens, images, FINE_STRIDE), self.thresholds(tokens)

    def thresholds(self, tokens: Tensor) -> Tensor:
        """Return the thresholds (N,1,1,1) float32 of tokens (N,C,h,w), in float32 in every precision."""
        with in_float32(tokens.device):
            values: Tensor = self.reduce1d(self.fc(tokens.float().mean(dim=(2, 3))))
        return values[:, :, None, None]


class FoundationTwoScaleEncoder(FoundationThresholdEncoder):
    """The encoder of Q-Net: the same tokens at stride 4 and at stride 8, and a threshold (N,1,1,1)."""

    def forward(self, images: Tensor) -> Any:
        """(N,1,H,W) -> maps (N,C,ceil(H/4),ceil(W/4)) and (N,C,ceil(H/8),ceil(W/8)), thresholds."""
        tokens = self.tokens(images)
        fine, coarse = (to_stride(tokens, images, stride) for stride in (FINE_STRIDE, STRIDE))
        return fine, coarse, self.thresholds(tokens)


def encoder_names() -> tuple[str, ...]:
    """Return the names of all encoders."""
    return (*ARCHITECTURES, *TRANSFORMERS, *(f"{name}{FROZEN}" for name in TRANSFORMERS))


def is_foundation(name: str) -> bool:
    """Return whether an encoder of this name is a DINOv2."""
    return base_name(name) in TRANSFORMERS


def base_name(name: str) -> str:
    """Return the name of the network, without "-frozen"."""
    return name.removesuffix(FROZEN)


def one_map_encoder(name: str, seed: int = 0) -> nn.Module:
    """Return the encoder of this name with one map of stride 8; raise `UserError` for an unknown name."""
    if is_foundation(name):
        return FoundationEncoder(name, seed)
    return build_encoder(_known(name), seed)


def two_scale_encoder(name: str, seed: int = 0) -> nn.Module:
    """Return the encoder of this name with maps of stride 4 and 8 and a threshold, for Q-Net."""
    if is_foundation(name):
        return FoundationTwoScaleEncoder(name, seed)
    return TwoScaleEncoder(_known(name), seed=seed)


def to_stride(tokens: Tensor, images: Tensor, stride: int) -> Tensor:
    """Return tokens (N,C,h,w) resized bilinearly to one cell for every `stride` pixels of images."""
    rows, columns = (math.ceil(side / stride) for side in images.shape[-2:])
    return _resized(tokens, (rows, columns))


def snapshot_weights(folder: Path, name: str) -> Path:
    """Return the weights file of a snapshot folder; its configuration must be that of the encoder `name`.

    Raises:
        UserError: a file is missing, or the snapshot is of another network.
    """
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise UserError(
                f"weights {folder}: no file {file}; expected a local snapshot of {base_name(name)} with "
                f"{CONFIG} and {WEIGHTS} (nothing is downloaded), or --weights random"
            )
    known = TRANSFORMERS[base_name(name)].config
    found = _config_of(folder)
    for entry, value in known.items():
        if found.get(entry) != value:
            raise UserError(
                f"{folder / CONFIG} has {entry} {found.get(entry)!r}, expected {value!r} for "
                f"{base_name(name)}; give the snapshot of this encoder, or another --encoder"
            )
    return folder / WEIGHTS


def snapshot_state(folder: Path, name: str) -> dict[str, Tensor]:
    """Return the DINOv2 weights of a snapshot folder, with names as `FoundationEncoder.backbone` has them.

    Raises:
        UserError: the weights cannot be read, or a name is missing or unknown.
    """
    transformers = _library(name)
    from safetensors import SafetensorError

    file = snapshot_weights(folder, name)
    try:
        model, report = transformers.Dinov2Model.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} cannot be read ({reason}); fetch or copy the snapshot again") from None
    faults = [f"{len(report[kind])} {kind.removesuffix('_keys')}" for kind in report if report[kind]]
    if faults:
        raise UserError(
            f"{file} does not fit {base_name(name)}: {', '.join(faults)} weights; give the snapshot of this "
            "encoder's DINOv2 alone"
        )
    state: dict[str, Tensor] = model.state_dict()
    return state


def _config_of(folder: Path) -> dict[str, Any]:
    """Return a snapshot's configuration; the library's defaults stand for entries that it lacks."""
    transformers = _library("dinov2")
    try:
        found, _rest = transformers.PreTrainedConfig.get_config_dict(folder, local_files_only=True)
    except OSError:
        raise UserError(
            f"{folder / CONFIG} is no JSON; expected the configuration of a DINOv2: copy the snapshot again"
        ) from None
    defaults: dict[str, Any] = transformers.Dinov2Config().to_dict()
    return {**defaults, "model_type": None, **found}


def _random_transformer(name: str, seed: int) -> nn.Module:
    """Return a DINOv2 with the library's random weights, drawn from a seed of its name."""
    transformers = _library(name)
    entries = {key: value for key, value in TRANSFORMERS[name].config.items() if key != "model_type"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("encoder", name, seed))
        model: nn.Module = transformers.Dinov2Model(transformers.Dinov2Config(**entries))
    return model.train()


def _library(name: str) -> Any:
    """Return the module `transformers`, without its progress bars and notes.

    Raises:
        UserError: the extra is missing.
    """
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"encoder {name} needs the extra foundation, which is not installed; run "
            "pip install 'fewshot-medseg[foundation]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (N,C,h,w) resized bilinearly to `size`."""
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _known(name: str) -> str:
    if name not in ARCHITECTURES:
        raise unknown_name("encoder", name, encoder_names())
    return name
