"""DSPNet by rules M-DSP-1 to M-DSP-7, position by position and prototype by prototype: slow and readable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def seeds_by_hand(region: Tensor) -> list[tuple[int, int]]:
    """Return the seeds of a mask (h,w) bool, by distances to every background pixel of its box."""
    count = min(round(int(region.sum()) / 100), 5)
    if count < 2:
        return []
    at = region.nonzero()
    (top, left), (bottom, right) = at.min(0).values.tolist(), at.max(0).values.tolist()
    box = region[top : bottom + 1, left : right + 1].clone()
    seeds = []
    for _ in range(count):
        ground = (~box).nonzero() if (~box).any() else torch.tensor([[-1, 0]])
        places = box.nonzero()
        nearest = (places[:, None] - ground[None]).square().sum(2).min(1).values
        where = tuple(places[(nearest == nearest.max()).nonzero()[0, 0]].tolist())
        box[where] = False
        seeds.append((top + where[0], left + where[1]))
    return seeds


def centres_by_hand(s: Tensor, mask: Tensor, seeds: list[tuple[int, int]]) -> list[Tensor]:
    """Return the detail prototypes of features (C,h,w) in a mask (h,w); none without seeds or points."""
    rows, columns = torch.meshgrid(*(torch.arange(n).float() for n in s.shape[1:]), indexing="ij")
    vectors = torch.cat([s.detach(), rows[None], columns[None]])
    points = vectors[:, mask >= 1 - 1e-6].T
    if not len(points) or not seeds:
        return []
    centres = [vectors[:, row, column] for row, column in seeds]
    for _ in range(10):
        moved = []
        for centre in centres:
            apart = points - centre
            distance = (apart[:, :-2].square().sum(1) / 100 + apart[:, -2:].square().sum(1) / 100).sqrt()
            weights = torch.exp(-distance)
            moved.append((weights / weights.sum()) @ points)
        centres = moved
    return [centre[:-2] for centre in centres]


def prototype_by_hand(s: Tensor, mask: Tensor, q: Tensor, centres: list[Tensor]) -> Tensor:
    """Return FSPA's prototype (C,) of one shot (C,h,w) for one query (C,h,w)."""
    support, query, share = s.flatten(1).T, q.flatten(1).T, mask.flatten()
    norms = support.norm(dim=1)[:, None] * query.norm(dim=1)[None]
    weights = ((support @ query.T) / (norms + 1e-5)).softmax(1)
    g = support + weights @ support
    if not centres:
        centres = [(g * share[:, None]).sum(0) / (share.sum() + 1e-5)]
    fused = support
    for centre in centres:
        fused = fused + (g @ centre).softmax(0)[:, None] * centre
    return (fused * share[:, None]).sum(0) / (share.sum() + 1e-5)


def cells_by_hand(s: Tensor, window: int, alpha: float, cal: Tensor) -> Tensor:
    """Return the cells (n,C) of one shot (C,h,w) after the channel matrix."""
    x = F.avg_pool2d(s, window).flatten(1)
    channels = len(x)
    structure = (x @ x.T).softmax(1)
    t = torch.zeros(channels, channels)
    for i in range(1, channels - 1):
        t[i, i - 1 : i + 2] = 1
    t[0, 0] = t[-1, -1] = 1
    return (((1 + alpha * t * structure) * cal) @ x).T


def scores_by_hand(
    support: Tensor, masks: Tensor, query: Tensor, window: int, cal: Tensor, alphas: tuple[float, float], *,
    seeds: bool = True,
) -> Tensor:  # fmt: skip
    """Return scores (Q,2,h,w); masks (S,8h,8w) or (S,h,w), `alphas` of foreground and background."""
    size = support.shape[-2:]
    small = F.interpolate(masks[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
    large = F.avg_pool2d(small[:, None], 4).max() >= 0.95
    found = []
    for q in query:
        of_classes = []
        for foreground in (False, True):
            local, semantic = [], []
            for s, mask, m in zip(support, masks, small, strict=True):
                share = F.avg_pool2d((m if foreground else 1 - m)[None], window).flatten()
                local += cells_by_hand(s, window, alphas[0 if foreground else 1], cal)[share > 0.95]
                centres = centres_by_hand(s, m, seeds_by_hand(mask[::8, ::8])) if seeds else []
                semantic.append(prototype_by_hand(s, m, q, centres))
            chosen = local
            if foreground:
                chosen = [*local, *semantic] if large else [torch.stack(semantic).mean(0)]
            d = 20 * F.cosine_similarity(q[None], torch.stack(list(chosen))[:, :, None, None], dim=1)
            of_classes.append((d.softmax(0) * d).sum(0))
        found.append(torch.stack(of_classes))
    return torch.stack(found)
