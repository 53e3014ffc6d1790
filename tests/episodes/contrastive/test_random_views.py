"""Random views: each pixel operation against its closed form, the crop's rule, the draws' ranges."""

from __future__ import annotations

import colorsys
import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from episodes.contrastive.view_transforms import MEAN, STD, ViewDraw, crop, crop_box, draw_views, recolour

GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def still(count: int = 1, **changed: object) -> ViewDraw:
    """Return a draw that changes no colour, with `changed` in the place of some of it."""
    drawn = draw_views(count, torch.Generator().manual_seed(0))
    settings: dict[str, object] = dict.fromkeys(
        ("jittered", "greyed", "blurred", "flipped"), torch.zeros(count, dtype=torch.bool)
    )
    settings["factors"] = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64).repeat(count, 1)
    return dataclasses.replace(drawn, **settings | changed)


def jitter(order: list[int], *factors: float) -> ViewDraw:
    return still(
        jittered=torch.tensor([True]),
        order=torch.tensor([order]),
        factors=torch.tensor([factors], dtype=torch.float64),
    )


def seen(views: Tensor, drawn: ViewDraw) -> Tensor:
    """Return recolour's views before the means and deviations of ImageNet."""
    return recolour(views, drawn) * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


@pytest.fixture
def view() -> Tensor:
    return torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def close(found: Tensor, wanted: Tensor, atol: float = 1e-6) -> bool:
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=0, atol=atol)


def test_imagenets_mean_and_deviation(view: Tensor) -> None:
    values = recolour(view, still())
    assert values.dtype == torch.float32
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        assert close(values[:, channel], (view[:, channel] - mean) / std, 2e-6)


def test_what_comes_in_stays_as_it_was(view: Tensor) -> None:
    before = view.clone()
    recolour(view, jitter([0, 1, 2, 3], 1.4, 1.4, 1.4, 0.1))
    assert torch.equal(view, before)


def test_brightness_multiplies_and_is_clamped(view: Tensor) -> None:
    found = seen(view, jitter([0, 1, 2, 3], 1.4, 1, 1, 0))
    assert close(found, (1.4 * view).clamp(max=1)) and (1.4 * view).max() > 1


def test_contrast_is_about_the_mean_of_the_grey_view(view: Tensor) -> None:
    mean = (view * GREY).sum(1).mean()
    assert close(seen(view, jitter([0, 1, 2, 3], 1, 0.6, 1, 0)), 0.6 * view + 0.4 * mean)
    assert close(seen(view, jitter([0, 1, 2, 3], 1, 1.4, 1, 0)), (1.4 * view - 0.4 * mean).clamp(0, 1))


def test_saturation_blends_with_grey(view: Tensor) -> None:
    grey = (view * GREY).sum(1, keepdim=True)
    assert close(seen(view, jitter([0, 1, 2, 3], 1, 1, 0.6, 0)), 0.6 * view + 0.4 * grey)
    assert close(seen(view, jitter([0, 1, 2, 3], 1, 1, 1.4, 0)), (1.4 * view - 0.4 * grey).clamp(0, 1))


def test_grey_is_the_luma_in_all_channels(view: Tensor) -> None:
    found = seen(view, still(greyed=torch.tensor([True])))
    assert close(found, (view * GREY).sum(1, keepdim=True).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("turns", [-0.1, 0.07, 0.1])
def test_hue_turns_as_colorsys_says(view: Tensor, turns: float) -> None:
    found = seen(view, jitter([0, 1, 2, 3], 1, 1, 1, turns))[0].flatten(1).T
    for (red, green, blue), rgb in zip(view[0].flatten(1).T.tolist(), found.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        wanted = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
        assert rgb == pytest.approx(wanted, abs=3e-6)


def test_hue_of_a_known_colour_and_of_grey() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(-1, -1, 9, 9)
    found = seen(red, jitter([0, 1, 2, 3], 1, 1, 1, 1 / 12))  # 30 degrees: halfway to yellow
    assert close(found, torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(-1, -1, 9, 9), 2e-6)
    grey = torch.rand(1, 1, 9, 9).expand(-1, 3, -1, -1)
    assert close(seen(grey, jitter([0, 1, 2, 3], 1, 1, 1, 0.1)), grey)


def test_colours_change_in_the_drawn_order() -> None:
    view = torch.full((1, 3, 9, 9), 0.9)
    view[:, :, :4] = 0.5
    mean = view[0, 0].mean()
    lit_first = 0.6 * (1.4 * view).clamp(max=1) + 0.4 * (1.4 * view).clamp(max=1)[0, 0].mean()
    lit_last = (1.4 * (0.6 * view + 0.4 * mean)).clamp(max=1)
    assert (lit_first - lit_last).abs().max() > 0.05
    assert close(seen(view, jitter([BRIGHTNESS, HUE, CONTRAST, SATURATION], 1.4, 0.6, 1, 0)), lit_first)
    # the permutation's inverse would light it first
    assert close(seen(view, jitter([CONTRAST, HUE, BRIGHTNESS, SATURATION], 1.4, 0.6, 1, 0)), lit_last)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_scipys(view: Tensor, sigma: float) -> None:
    drawn = still(blurred=torch.tensor([True]), sigma=torch.tensor([sigma], dtype=torch.float64))
    wanted = ndimage.gaussian_filter(
        view.double().numpy(), (0, 0, sigma, sigma), mode="mirror", radius=(0, 0, 8, 8)
    )
    assert close(seen(view, drawn).double(), torch.from_numpy(wanted), 2e-6)


def test_flip_turns_left_and_right() -> None:
    view = torch.linspace(0, 1, 81).view(1, 1, 9, 9).expand(-1, 3, -1, -1)
    assert close(seen(view, still(flipped=torch.tensor([True])))[..., 0], view[..., 8])


def test_every_view_has_its_own_draw() -> None:
    drawn = draw_views(40, torch.Generator().manual_seed(3))
    views = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    together = recolour(views, drawn)
    for number in range(40):
        own = ViewDraw(**{name: values[number : number + 1] for name, values in vars(drawn).items()})
        assert close(recolour(views[number : number + 1], own)[0], together[number], 1e-5)


def test_ranges_and_probabilities_of_what_is_drawn() -> None:
    count = 20000
    drawn = draw_views(count, torch.Generator().manual_seed(11))
    for name, chance in (("jittered", 0.8), ("greyed", 0.2), ("blurred", 0.5), ("flipped", 0.5)):
        found = getattr(drawn, name).double().mean().item()
        assert abs(found - chance) < 4 * math.sqrt(chance * (1 - chance) / count), name
    logs = drawn.ratio.log() / math.log(4 / 3)
    ranges = [(drawn.area, 0.2, 1.0), (logs, -1.0, 1.0), (drawn.place, 0.0, 1.0), (drawn.sigma, 0.1, 2.0)]
    ranges += [(drawn.factors[:, number], 0.6, 1.4) for number in (BRIGHTNESS, CONTRAST, SATURATION)]
    ranges.append((drawn.factors[:, HUE], -0.1, 0.1))
    for values, low, high in ranges:
        unit = (values.flatten()[:count] - low) / (high - low)
        assert 0 <= unit.min() < 0.001 and 0.999 < unit.max() <= 1
        assert abs(unit.mean() - 0.5) < 4 / math.sqrt(12 * count)
    orders = {tuple(order) for order in drawn.order.tolist()}
    assert len(orders) == 24 and all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_the_first_try_that_fits_is_taken() -> None:
    area, ratio = torch.full((1, 10), 1.0).double(), torch.full((1, 10), 4 / 3).double()
    area[0, 3], ratio[0, 3] = 0.25, 1.0  # the others want 115 columns of 100
    area[0, 4], ratio[0, 4] = 0.3, 1.0
    place = torch.tensor([[0.999, 0.5]], dtype=torch.float64)
    drawn = still(area=area, ratio=ratio, place=place)
    assert crop_box(drawn, 0, 100, 100) == (50, 25, 50, 50)
    wide = still(area=torch.full((1, 10), 0.3).double(), ratio=ratio, place=torch.zeros(1, 2).double())
    # sqrt(0.3 * 60 * 100 / (4/3)) = 36.74, and 48.99 columns
    assert crop_box(wide, 0, 60, 100) == (0, 0, 37, 49)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(300, 30, (130, 0, 40, 30)), (30, 300, (0, 130, 30, 40)), (50, 50, (0, 0, 50, 50))],
)
def test_the_central_crop_where_no_try_fits(height: int, width: int, box: tuple[int, ...]) -> None:
    none = torch.full((1, 10), 1.0).double()
    assert crop_box(still(area=none * 1.2, ratio=none), 0, height, width) == box


def test_boxes_lie_within_and_reach_every_border() -> None:
    drawn = draw_views(3000, torch.Generator().manual_seed(2))
    boxes = torch.tensor([crop_box(drawn, view, 40, 50) for view in range(3000)])
    top, left, tall, wide = boxes.unbind(1)
    assert top.min() == 0 and left.min() == 0 and (top + tall).max() == 40 and (left + wide).max() == 50
    share = tall * wide / 2000
    assert 0.18 < share.min() < 0.22 and 0.95 < share.max() <= 1
    assert 0.7 < (wide / tall).min() < 0.8 and 1.25 < (wide / tall).max() < 1.42


def test_a_crop_of_a_ramp_has_the_ramp_at_its_pixels() -> None:
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    picture = torch.stack((rows, columns, rows + columns)) / 140
    # enlarged: each pixel's centre on the ramp, away from the border where there is nothing beyond
    large = crop(picture, (10, 20, 20, 40), 80) * 140
    at_row, at_column = 10 + (torch.arange(80) + 0.5) / 4 - 0.5, 20 + (torch.arange(80) + 0.5) / 2 - 0.5
    assert close(large[0, 2:-2], at_row[2:-2, None].expand(-1, 80), 1e-4)
    assert close(large[1, :, 2:-2], at_column[None, 2:-2].expand(80, -1), 1e-4)
    assert large[0, 0, 0] == pytest.approx(10, abs=1e-4) and large[1, -1, -1] == pytest.approx(59, abs=1e-4)
    same = crop(picture, (3, 5, 20, 20), 20)
    assert close(same, picture[:, 3:23, 5:25])
    eight = crop((picture * 255).round().to(torch.uint8), (3, 5, 20, 20), 20)
    assert eight.dtype == torch.float32 and close(eight, picture[:, 3:23, 5:25], 0.5 / 255 + 1e-6)


def test_a_shrinking_crop_is_antialiased() -> None:
    lines = torch.isin(torch.arange(96) % 8, torch.tensor([3, 4])).float().expand(3, 96, -1)
    # plain bilinear reads the lines alone, 1; the mean is 1/4
    assert (crop(lines, (0, 0, 96, 96), 12)[..., 1:-1] - 0.25).abs().max() < 0.03


def test_drawing_leaves_the_global_state_alone() -> None:
    before, state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    drawn = draw_views(8, torch.Generator().manual_seed(1))
    recolour(torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(2)), drawn)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
