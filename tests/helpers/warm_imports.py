"""What the warm process does once for its children: it imports all modules, and compiles what is compiled."""

import importlib
import inspect
import pkgutil

import faiss  # noqa: F401 - loaded, like the next ones, for the children
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg  # noqa: F401
import monai.metrics  # noqa: F401
import numpy as np
import pandas  # noqa: F401
import sacred.observers  # noqa: F401
import scipy.stats  # noqa: F401
import torch

import baselines
import episodes
import fewshot
import protocols
import results
from episodes.pseudo_labels.supervoxels import volume_supervoxels
from fewshot.encoders import encoder

torch.set_num_threads(1)
for package in (fewshot, episodes, protocols, baselines, results):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
volume_supervoxels(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), (1.0, 1.0, 1.0), 10)
inspect.stack()  # as sacred does, which reads the files of all modules first


class NarrowBackbone(torch.nn.Module):
    """A backbone of one convolution of 16 channels: files of kilobytes, steps of milliseconds."""

    def __init__(
        self, _architecture: object, dilated: tuple[bool, bool, bool] = encoder.DILATED, _width: int = 64
    ) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 16, 8, stride=8, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.channels = 16
        self.pool = 1 if any(dilated) else 4  # a plain one has stride 32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.later_maps(x)[1]

    def later_maps(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps: torch.Tensor = torch.nn.functional.avg_pool2d(self.bn1(self.conv1(x)), self.pool)
        return maps[:, :8], maps


encoder.Backbone = NarrowBackbone  # type: ignore[misc,assignment]
