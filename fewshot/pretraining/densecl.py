"""DenseCL: contrastive learning of whole pictures and of their positions, with two encoders and two queues.

Wang et al., CVPR 2021, as DenseMP's first stage uses it (Fan et al., 2023, arXiv 2307.09604): rules M-DCL-1
to M-DCL-8 of docs/methods.md. It has no grid pooling: the dense branch uses every position of the backbone's
map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.base.precision import in_float32
from fewshot.base.seeds import seed_for
from fewshot.learners.learner import LossResult
from fewshot.pretraining.distributed import DistributedContext
from fewshot.pretraining.positive_matches import ViewPair, true_matches

STRIDE = 32  # pixels per position of a plain backbone's map


@dataclass(frozen=True)
class DenseCLRecipe:
    """The published recipe of the pre-training; every number is an option.

    `batch`: pictures per step over all processes; `queue`: keys in each queue; `size`: side of a view in
    pixels; `dense_weight`: share of the dense loss (lambda).
    """

    epochs: int = 50
    batch: int = 256
    queue: int = 65_536
    size: int = 224
    learning_rate: float = 0.0375
    momentum: float = 0.9
    weight_decay: float = 1e-4
    temperature: float = 0.2
    key_momentum: float = 0.999
    dense_weight: float = 0.5
    hidden: int = 2048
    out: int = 128

    def __post_init__(self) -> None:
        """Raise `UserError` for a number that no training can have."""
        for name, least in (("epochs", 1), ("batch", 2), ("size", 32), ("hidden", 1), ("out", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if self.queue < 1 or self.queue % self.batch:
            raise UserError(
                f"a queue of {self.queue} keys is no multiple of the batch of {self.batch} pictures; give "
                f"for instance a queue of {max(1, self.queue // self.batch) * self.batch}"
            )
        if min(self.learning_rate, self.temperature) <= 0:
            raise UserError(
                f"learning_rate {self.learning_rate} and temperature {self.temperature}: expected above 0"
            )
        if min(self.momentum, self.weight_decay) < 0:
            raise UserError(
                f"momentum {self.momentum} and weight_decay {self.weight_decay}: expected 0 or more"
            )
        for name in ("key_momentum", "dense_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}, expected 0 to 1")

    @property
    def cells(self) -> int:
        """Number of positions of a view's map: the backbone halves each side five times and rounds up."""
        return math.ceil(self.size / STRIDE) ** 2


RECIPES = {
    "published": DenseCLRecipe(),
    "small": DenseCLRecipe(batch=64, queue=1024, size=64),
}


class Neck(nn.Module):
    """Projections of a backbone's map (N,C,h,w): global (N,D), dense (N,D,h*w), pooled dense (N,D)."""

    def __init__(self, channels: int, hidden: int, out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out))
        self.mlp2 = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, out, 1)
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,C,h,w) -> (N,D), (N,D,h*w), (N,D), not normalised."""
        dense = self.mlp2(maps)
        return self.mlp(maps.mean((2, 3))), dense.flatten(2), dense.mean((2, 3))


class Projector(nn.Sequential):
    """A backbone (module `0`) and its neck (module `1`); every output is L2-normalised over its channels."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N,3,H,W) -> backbone (N,C,P), global (N,D), dense (N,D,P), pooled dense (N,D); P positions."""
        maps = self[0](images)
        whole, dense, pooled = self[1](maps)
        normalised = (F.normalize(one.float(), dim=1) for one in (maps.flatten(2), whole, dense, pooled))
        backbone, whole, dense, pooled = normalised
        return backbone, whole, dense, pooled


class ContrastLosses(NamedTuple):
    """Both weighted losses (0-dim), the keys to enqueue (N,D), the matches and the rank of the positives."""

    global_loss: Tensor
    dense_loss: Tensor
    keys: Tensor
    dense_keys: Tensor
    matches: Tensor  # (N,P) int64: the matched position of the key view for each position of the query view
    first: Tensor  # 0-dim: share of dense positives above every negative


class DenseCL(nn.Module):
    """Query and key encoder with their queues; `loss` also moves the key encoder and fills the queues.

    `encoder_q.0` and `encoder_k.0` are the backbone, `.1` the neck. `queue` (D,K) stores the global keys of
    earlier pictures in columns, `queue2` the pooled dense keys; `*_ptr` is the column of the next key and
    `seen` the number of keys ever stored. The first keys are random. With several processes each process has
    its share of a batch and the same queues. Key batches are shuffled between the processes, so that
    BatchNorm's statistics leak no information.

    Args:
        query: the backbone that is trained.
        key: the backbone that follows by momentum.
        channels: channels of the backbone's map.
        recipe: the numbers of the training.
        seed: of the neck, the first keys and the shuffle.
        together: this process's place among several; default: one process.
    """

    queue: Tensor
    queue2: Tensor
    queue_ptr: Tensor
    queue2_ptr: Tensor
    seen: Tensor

    def __init__(
        self, query: nn.Module, key: nn.Module, channels: int, recipe: DenseCLRecipe, seed: int,
        together: DistributedContext | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.recipe = recipe
        self._seed = seed
        self._together = DistributedContext() if together is None else together
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("densecl-neck", seed))
            neck = Neck(channels, recipe.hidden, recipe.out)
            self.encoder_q = Projector(query, neck)
            self.encoder_k = Projector(key, Neck(channels, recipe.hidden, recipe.out))
        self.encoder_k.load_state_dict(self.encoder_q.state_dict())
        self.encoder_k.requires_grad_(False)
        for name in ("queue", "queue2"):
            generator = torch.Generator().manual_seed(seed_for("densecl", name, seed))
            keys = torch.randn(recipe.out, recipe.queue, generator=generator)
            self.register_buffer(name, F.normalize(keys, dim=0))
            self.register_buffer(f"{name}_ptr", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group, the query encoder's parameters; the key encoder follows by momentum."""
        return [{"params": list(self.encoder_q.parameters()), "rate": 1.0}]

    def loss(self, pair: ViewPair) -> LossResult:
        """Return the loss of a step: the key encoder moves first, the keys are enqueued last.

        Parts: `global` and `dense`, the two weighted losses; `match`, the share of the positions visible in
        both views whose match is the true one (NaN without such a position); `first`, the share of dense
        positives above all negatives; `fill`, the share of the queues that stores keys of pictures. With
        several processes every process reports the numbers of the whole batch, and the gradient is that of
        its own share.
        """
        self.move_key_encoder()
        found = self.contrast(pair.views[:, 0], pair.views[:, 1])
        self.enqueue(found.keys, found.dense_keys)
        total = found.global_loss + found.dense_loss
        side = int(found.matches.shape[1] ** 0.5)
        with torch.no_grad():
            true, shared = true_matches(pair.boxes, (side, side))
            means = [found.global_loss, found.dense_loss, found.first, total]
            counts = [((found.matches == true) & shared).sum().float(), shared.sum().float()]
            if self._together.size > 1:
                told = self._together.all_gather(torch.stack([*means, *counts]).unsqueeze(0))
                means, counts = list(told[:, :4].mean(0)), list(told[:, 4:].sum(0))
            fill = (self.seen[0] / self.recipe.queue).clamp(max=1)
        parts = {
            "global": means[0], "dense": means[1], "match": counts[0] / counts[1], "first": means[2],
            "fill": fill,
        }  # fmt: skip
        if self._together.size > 1:
            total = total + (means[3] - total).detach()
        defined = torch.ones((), dtype=torch.bool, device=total.device)
        return LossResult(total, parts, defined, (~defined).sum())

    @torch.no_grad()
    def move_key_encoder(self) -> None:
        """Move every parameter of the key encoder: m * key + (1 - m) * query."""
        m = self.recipe.key_momentum
        for key, query in zip(self.encoder_k.parameters(), self.encoder_q.parameters(), strict=True):
            key.mul_(m).add_(query.detach(), alpha=1 - m)

    def contrast(self, queries: Tensor, keys: Tensor) -> ContrastLosses:
        """Return losses and keys of two views (N,3,H,W); only BatchNorm's statistics change.

        A position's positive is the key position whose backbone feature has the largest cosine with its own.
        Its negatives are the queue of pooled dense keys. The comparison runs in float32, whatever the
        encoders' precision.
        """
        backbone_q, whole_q, dense_q, _ = self._together.average_gradients(self.encoder_q)(queries)
        with torch.no_grad():
            backbone_k, whole_k, dense_k, pooled_k = self._keys(keys)
        with in_float32(queries.device):
            with torch.no_grad():
                matches = torch.einsum("ncp,ncq->npq", backbone_q, backbone_k).argmax(2)
                index = matches.unsqueeze(1).expand(-1, dense_k.shape[1], -1)
                positives = dense_k.gather(2, index)
            weight = self.recipe.dense_weight
            whole = (whole_q * whole_k).sum(1, keepdim=True), whole_q @ self.queue.clone().detach()
            ours = dense_q.transpose(1, 2).flatten(0, 1)
            dense = (
                (dense_q * positives).sum(1).reshape(-1, 1),
                ours @ self.queue2.clone().detach(),
            )
            return ContrastLosses(
                (1 - weight) * self._loss_of_first(*whole),
                weight * self._loss_of_first(*dense),
                whole_k,
                pooled_k,
                matches,
                (dense[0] > dense[1].amax(1, keepdim=True)).float().mean().detach(),
            )

    @torch.no_grad()
    def enqueue(self, keys: Tensor, dense_keys: Tensor) -> None:
        """Replace the oldest keys of both queues with the keys (N,D) of all processes."""
        for name, new in (("queue", keys), ("queue2", dense_keys)):
            queue, pointer = getattr(self, name), getattr(self, f"{name}_ptr")
            new = self._together.all_gather(new)
            count = len(new)
            if queue.shape[1] % count:
                raise ValueError(f"{count} keys for a queue of {queue.shape[1]}, expected a divisor of it")
            places = (pointer + torch.arange(count, device=queue.device)) % queue.shape[1]
            queue.index_copy_(1, places, new.T)
            pointer.add_(count).remainder_(queue.shape[1])
        self.seen.add_(count)

    def _keys(self, views: Tensor) -> list[Tensor]:
        """Return the key encoder's outputs; several processes shuffle the pictures before the encoder."""
        if self._together.size == 1:
            return list(self.encoder_k(views))
        everyones = self._together.all_gather(views)
        generator = torch.Generator().manual_seed(seed_for("densecl-shuffle", self._seed, int(self.seen)))
        order = torch.randperm(len(everyones), generator=generator).to(views.device)
        mine = order.chunk(self._together.size)[self._together.rank]
        shuffled = self.encoder_k(everyones[mine])
        back = order.argsort().chunk(self._together.size)[self._together.rank]
        return [self._together.all_gather(one)[back] for one in shuffled]

    def _loss_of_first(self, positive: Tensor, negatives: Tensor) -> Tensor:
        """Return the mean InfoNCE loss (0-dim) of positives (M,1) against negatives (M,K)."""
        logits = torch.cat((positive, negatives), dim=1) / self.recipe.temperature
        wanted = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        return F.cross_entropy(logits, wanted)
