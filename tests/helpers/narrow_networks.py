"""Narrow networks for tests: the layers and names of the published ones, a tenth of their work or less.

As a program it is `fewshot` with such networks: `python narrow_networks.py run --dataset tiny ...`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from baselines import register_support, universeg
from baselines.gmrd import descriptors, fill, model
from fewshot.encoders.encoder import DILATED, Backbone, build_backbone

WIDTH = 16  # channels of a ResNet's stem, in place of 64
FEATURES = 8  # channels of UniverSeg, in place of 64
DESCRIPTORS = 10, 60  # of GMRD, in place of 100 and 600
SIDE = 64  # pixels a side of a slice that GMRD's linear layers span, in place of 256
FINEST = 16  # pixels a side of the slices that are registered, in place of 64


@contextmanager
def narrow_networks() -> Iterator[None]:
    """Make networks narrow, and registration coarse, in the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backbone.__init__, "__defaults__", (DILATED, WIDTH))
        patch.setattr(build_backbone, "__defaults__", (0, WIDTH))  # seed 0
        patch.setattr(universeg, "FEATURES", FEATURES)
        patch.setattr(universeg._convolution, "__defaults__", (FEATURES,))
        patch.setattr(model, "FOREGROUND", DESCRIPTORS[0])
        patch.setattr(model, "BACKGROUND", DESCRIPTORS[1])
        for module in (fill, descriptors):
            patch.setattr(module, "SIDE", SIDE)
        patch.setattr(register_support, "FINEST", FINEST)
        yield


if __name__ == "__main__":
    from fewshot.commands.main import main

    with narrow_networks():
        sys.exit(main())
