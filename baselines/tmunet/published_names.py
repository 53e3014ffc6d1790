"""Load checkpoints of the released program: its parameter names and ours, one to one.

Outside the patch branch every released name is known. Inside it the names of the patch embedding and of the
map are not, so the branch's entries are matched in their order in the file, each with its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import load_state, plain_weights, read_checkpoint

WEIGHTS = "model_weights"  # entry of a released file, beside the validation loss
BRANCH = "transformer."
# layers of a transformer block: ours -> the released name
LAYERS = {
    "norm1": "0.fn.0", "attention.qkv": "0.fn.1.qkv", "attention.projection": "0.fn.1.projection",
    "norm2": "1.fn.0", "feed_forward.0": "1.fn.1.0", "feed_forward.2": "1.fn.1.3",
}  # fmt: skip


def load_published(path: Path, learner: nn.Module) -> None:
    """Load all weights of a learner from a released file, or from one of ours.

    The file must have every name in its shape and no other. Raises `UserError` with up to three names that
    differ.
    """
    content = read_checkpoint(path)
    inner = content.get(WEIGHTS)
    state = plain_weights(inner if isinstance(inner, Mapping) else content, path)
    if any(name.startswith(("input_block.", "down_blocks.")) for name in state):
        state = _own_names(state, learner, path)
    load_state(learner, state, path)


def published_state(learner: nn.Module) -> dict[str, Tensor]:
    """Return a learner's weights under the released names, where these are known, in their order."""
    return {published_name(name): value for name, value in learner.state_dict().items()}


def published_name(name: str) -> str:
    """Return the released name of one of the learner's parameters or buffers, as far as it is known."""
    if name.startswith("encoder.backbone."):
        return _trunk_name(name.removeprefix("encoder.backbone."))
    return _block_name(name.removeprefix("network."))


def _own_names(state: Mapping[str, Tensor], learner: nn.Module, path: Path) -> dict[str, Tensor]:
    """Return the weights of a released file under the learner's names."""
    own = {published_name(name): name for name in learner.state_dict()}
    ours = [name for name in own if name.startswith(BRANCH)]
    theirs = [name for name in state if name.startswith(BRANCH)]
    if len(ours) != len(theirs):
        raise UserError(
            f"checkpoint {path} has {len(theirs)} entries under {BRANCH}, expected {len(ours)}; choose the "
            "options it was made with"
        )
    place = dict(zip(theirs, ours, strict=True))
    known = {name: place.get(name, name) for name in state}
    return {own.get(known[name], known[name]): value for name, value in state.items()}


def _trunk_name(name: str) -> str:
    """Return the released name of a parameter of the ResNet: a stem of three modules, then four layers."""
    for own, place in (("conv1.", 0), ("bn1.", 1)):
        if name.startswith(own):
            return f"input_block.{place}.{name.removeprefix(own)}"
    layer, _, rest = name.partition(".")
    return f"down_blocks.{int(layer.removeprefix('layer')) - 1}.{rest}"


def _block_name(name: str) -> str:
    """Return the released name of a parameter of a transformer block; another name unchanged."""
    blocks = "transformer.0.blocks."
    if not name.startswith(blocks):
        return name
    number, _, rest = name.removeprefix(blocks).partition(".")
    layer, _, kind = rest.rpartition(".")
    return f"transformer.1.{number}.{LAYERS[layer]}.{kind}"
