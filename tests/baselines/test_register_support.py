"""register-support: recovers known transforms, repeats, and says what it cannot register."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.register_support import RegisterSupport, Registration
from fewshot.base.errors import UserError
from fewshot.base.types import Support

SIDE = 64
Y, X = np.mgrid[:SIDE, :SIDE].astype(np.float32)


def body(
    shift: tuple[float, float] = (0, 0), bulge: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a slice with a body, two organs and texture, and the mask of one organ, moved (y,x)."""
    y, x = Y - shift[0], X - shift[1]
    ellipse = ((y - 32) / 24) ** 2 + ((x - 32) / 27) ** 2 < 1
    organ = ((y - 28) / 8) ** 2 + ((x - 22) / (7 + bulge)) ** 2 < 1
    other = ((y - 38) / 6) ** 2 + ((x - 44) / 5) ** 2 < 1
    grey = 100.0 * ellipse + 80.0 * organ + 40.0 * other + 10 * np.sin(y / 3) * np.cos(x / 4) * ellipse
    return grey.astype(np.float32), organ


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


def support_of(*pairs: tuple[NDArray[np.float32], NDArray[np.bool_]]) -> Support:
    images = torch.from_numpy(np.stack([image for image, _mask in pairs]))[:, None]
    return Support(images, torch.from_numpy(np.stack([mask for _image, mask in pairs])))


def segmented(
    support: Support, query: NDArray[np.float32], options: Registration | None = None
) -> NDArray[np.bool_]:
    probability = RegisterSupport(options).segment(support, torch.from_numpy(query)[None, None])
    found: NDArray[np.bool_] = probability[0].numpy() > 0.5
    return found


@pytest.mark.parametrize("metric", ["correlation", "mutual-information"])
def test_a_moved_body_is_found_again(metric: str) -> None:
    moving, query = body(), body((5, -6))
    assert dice(moving[1], query[1]) < 0.5
    found = segmented(support_of(moving), query[0], Registration(metric=metric))  # type: ignore[arg-type]
    assert dice(found, query[1]) > 0.93


def test_the_b_spline_follows_what_an_affine_transform_cannot() -> None:
    moving, query = body(), body((0, 0), bulge=4)
    affine = segmented(support_of(moving), query[0], Registration(mesh=0))
    assert dice(segmented(support_of(moving), query[0]), query[1]) > dice(affine, query[1]) + 0.02


def test_equal_questions_have_equal_masks_and_shots_are_averaged() -> None:
    one, two, query = body(), body((3, 3)), torch.from_numpy(body((1, 2))[0])[None, None]
    learner = RegisterSupport(Registration(iterations=5))
    both = learner.segment(support_of(one, two), query)
    assert torch.equal(both, learner.segment(support_of(one, two), query))
    single = [learner.segment(support_of(shot), query) for shot in (one, two)]
    assert torch.allclose(both, (single[0] + single[1]) / 2, atol=1e-6)


def test_an_empty_mask_and_a_flat_slice_need_no_registration() -> None:
    image, mask = body()
    assert not segmented(support_of((image, np.zeros_like(mask))), image).any()
    assert np.array_equal(segmented(support_of((image, mask)), np.full_like(image, 7.0)), mask)


def test_other_sizes_and_options_are_refused() -> None:
    with pytest.raises(UserError, match="must have the same size"):
        RegisterSupport().segment(support_of(body()), torch.zeros(1, 1, SIDE, SIDE + 8))
    with pytest.raises(UserError, match="mesh 65 and iterations 20"):
        dataclasses.replace(Registration(), mesh=65)
