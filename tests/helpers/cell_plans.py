"""Plans, readers and learners that tests of the evaluation share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.qnet import QNet
from baselines.ssl_alpnet import SSLALPNet
from episodes.plan.plan import EvaluationPlan, make_plan
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.learner import PrototypeLearner
from protocols.rules.spec import load_protocol

CPU = torch.device("cpu")


def plans_of(store: Store, fold: int = 0) -> list[EvaluationPlan]:
    protocol = load_protocol("alpnet-ep1")
    return [
        make_plan(
            store.index, store.spec, store.hash, protocol.evaluation, 1, fold, group, classes
        ).evaluation
        for group, classes in protocol.groups_for(store.spec).items()
    ]


def reader_of(store: Store, plan: EvaluationPlan) -> SliceReader:
    return SliceReader(store, normalisation(store, "per-scan", ()))


class Counting(nn.Module):
    """An encoder that remembers every image it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []
        self.inner = build_encoder("resnet18", 0)

    def forward(self, images: Tensor) -> Tensor:
        self.seen += [image.numpy().tobytes() for image in images]
        features: Tensor = self.inner(images)
        return features


class TwoMaps(nn.Module):
    """An encoder of maps of two sizes and a threshold, for a learner that takes gradients at test time."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 4, 7, 4, padding=3), nn.Conv2d(1, 4, 9, 8, padding=4)
        for number, parameter in enumerate(self.parameters()):
            parameter.data.normal_(generator=torch.Generator().manual_seed(number))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.fine(images), self.coarse(images), torch.full((len(images), 1, 1, 1), -18.0)


LEARNERS = {
    "ssl-alpnet": lambda: SSLALPNet(build_encoder("resnet18", 3)),
    "qnet": lambda: QNet(TwoMaps()),
}


class LastUndefined(PrototypeLearner):
    """A method that has no answer of its own where it is asked about a single slice."""

    def logits(self, support_features, support_masks, query_features, *, prepared, branch):  # type: ignore[no-untyped-def]
        scores = query_features.new_zeros((len(query_features), 2, *query_features.shape[-2:]))
        return scores, torch.tensor(len(query_features) > 1)
