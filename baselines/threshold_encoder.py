"""The encoder of Q-Net's descendants: one map of stride 4 and a threshold for every slice.

RPT and GMRD use the encoder of Q-Net (Shen et al., IntelliSys 2023, arXiv 2208.11451) without its coarse map.
"""

from __future__ import annotations

from torch import Tensor, nn

from fewshot.encoders.encoder import TwoScaleEncoder
from fewshot.encoders.foundation import FoundationThresholdEncoder, is_foundation


class ThresholdEncoder(TwoScaleEncoder):
    """Encode grey slices (N,1,H,W) float32 to a map (N,512,H/4,W/4) and thresholds (N,1,1,1).

    Layers, parameter names and initial weights are those of `TwoScaleEncoder`, so that released checkpoints
    load. `reduce2`, for the coarse map, exists but is never used. A backbone file contains neither `fc` nor
    `reduce1d`, so the thresholds start near 0.
    """

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return the fine map (N,out_channels,H/4,W/4) and the thresholds (N,1,1,1) float32."""
        third, fourth = self.backbone.later_maps(images.expand(-1, 3, -1, -1))
        return self.reduce1(third), self.thresholds(fourth)


def threshold_encoder(name: str, seed: int = 0) -> nn.Module:
    """Return the encoder of this name with a map of stride 4 and a threshold for every slice."""
    if is_foundation(name):
        return FoundationThresholdEncoder(name, seed)
    return ThresholdEncoder(name, seed=seed)
