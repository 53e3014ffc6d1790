"""Load checkpoints of the released program: its parameter names and ours, one to one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from fewshot.encoders.checkpoints import load_state, plain_weights, read_checkpoint

WEIGHTS = "model_weights"  # entry of a released file, beside the validation loss


def load_published(path: Path, learner: nn.Module) -> None:
    """Load all weights of a learner from a released file, or from one of ours.

    The file must have every name in its shape and no other. Raises `UserError` with up to three names that
    differ.
    """
    content = read_checkpoint(path)
    inner = content.get(WEIGHTS)
    state = plain_weights(inner if isinstance(inner, Mapping) else content, path)
    own = {published_name(name): name for name in learner.state_dict()}
    if any(name.startswith(("input_block.", "down_blocks.")) for name in state):
        state = {own.get(name, name): value for name, value in state.items()}
    load_state(learner, state, path)


def published_state(learner: nn.Module) -> dict[str, Tensor]:
    """Return a learner's weights under the names of the released program."""
    return {published_name(name): value for name, value in learner.state_dict().items()}


def published_name(name: str) -> str:
    """Return the released program's name of one of the learner's parameters or buffers."""
    if name.startswith("encoder.backbone."):
        return _trunk_name(name.removeprefix("encoder.backbone."))
    return name.removeprefix("network.")


def _trunk_name(name: str) -> str:
    """Return the released name of a parameter of the ResNet: a stem of three modules, then four layers."""
    for own, place in (("conv1.", 0), ("bn1.", 1)):
        if name.startswith(own):
            return f"input_block.{place}.{name.removeprefix(own)}"
    layer, _, rest = name.partition(".")
    return f"down_blocks.{int(layer.removeprefix('layer')) - 1}.{rest}"
