"""Narrow backbones for tests: the layers and names of a ResNet, a sixteenth of its work.

As a program it is `fewshot` with such backbones: `python narrow_backbones.py run --dataset tiny ...`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fewshot.encoders.encoder import DILATED, Backbone, build_backbone

WIDTH = 16  # channels of the stem, in place of 64


@contextmanager
def narrow_backbones() -> Iterator[None]:
    """Make backbones narrow in the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backbone.__init__, "__defaults__", (DILATED, WIDTH))
        patch.setattr(build_backbone, "__defaults__", (0, WIDTH))  # seed 0
        yield


if __name__ == "__main__":
    from fewshot.commands.main import main

    with narrow_backbones():
        sys.exit(main())
