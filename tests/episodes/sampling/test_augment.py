"""Random views: known maps by hand, independent resampling by scipy, ranges, repeatability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from episodes.sampling import augment as views
from episodes.sampling.affine import centred_map, corner_map
from episodes.sampling.augment import PRESETS, Draw, apply, apply_gamma, augment, draw, gaussian_blur, preset
from fewshot.base.errors import UserError

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(height: int = 64, width: int = 64) -> tuple[Tensor, Tensor]:
    """Return a smooth image (1,1,H,W) and an off-centre ellipse (1,H,W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.sin(x / 7.0) + torch.cos(y / 5.0) * 2 + x / 30
    mask = ((x - 0.4 * width) / 12) ** 2 + ((y - 0.6 * height) / 8) ** 2 < 1
    return image[None, None].float(), mask[None]


def single(
    angle: float = 0, shift: tuple[float, float] = (0, 0), shear: float = 0, zoom: float = 1
) -> Tensor:
    """Return one forward map; degrees, pixels (x, y)."""

    def one(value: float) -> Tensor:
        return torch.tensor([value], dtype=torch.float64)

    return centred_map(
        one(math.radians(angle)),
        torch.tensor([shift], dtype=torch.float64),
        one(math.radians(shear)),
        one(zoom),
    )


def warped(image: Tensor, mask: Tensor, affine: Tensor, elastic_px: float = 0.0) -> tuple[Tensor, Tensor]:
    noise = torch.rand(1, 2, *image.shape[-2:], generator=seeded(0)) * 2 - 1
    return apply(image, mask, Draw(affine, noise, elastic_px, torch.ones(1)))


def test_no_augmentation_changes_nothing() -> None:
    image, mask = picture(48, 64)
    seen, seen_mask = augment(image, mask, PRESETS["none"], seeded(1))
    torch.testing.assert_close(seen, image, rtol=0, atol=1e-4)
    assert torch.equal(seen_mask, mask)


def test_shift_moves_right_and_down_and_fills_with_zero() -> None:
    image, mask = picture()
    seen, seen_mask = warped(image + 10, mask, single(shift=(5, 3)))
    torch.testing.assert_close(seen[..., 3:, 5:], (image + 10)[..., :-3, :-5], rtol=0, atol=1e-3)
    assert torch.equal(seen_mask[:, 3:, 5:], mask[:, :-3, :-5])
    # gamma 1 is the identity up to its epsilon, so what came from outside is 0
    assert seen[..., :3, :].abs().max() < 1e-4 and seen[..., :, :5].abs().max() < 1e-4
    assert not seen_mask[:, :3].any() and not seen_mask[:, :, :5].any()


def test_quarter_turn_is_clockwise_on_the_screen() -> None:
    image, mask = picture()
    seen, seen_mask = warped(image, mask, single(angle=90))
    torch.testing.assert_close(seen, image.rot90(-1, (-2, -1)), rtol=0, atol=1e-3)
    assert torch.equal(seen_mask, mask.rot90(-1, (-2, -1)))


def test_zoom_above_one_enlarges_about_the_centre() -> None:
    y, x = torch.meshgrid(torch.arange(65), torch.arange(65), indexing="ij")
    disc = ((x - 32) ** 2 + (y - 32) ** 2 < 10.2**2)[None]
    _, seen = warped(disc[:, None].float(), disc, single(zoom=1.5))
    assert int(seen.sum()) == pytest.approx(1.5**2 * int(disc.sum()), rel=0.03)
    assert torch.equal(seen, seen.flip(1)) and torch.equal(seen, seen.flip(2))


def test_shear_moves_rows_along_x() -> None:
    column = torch.zeros(1, 65, 65, dtype=torch.bool)
    column[:, :, 31:34] = True
    _, seen = warped(column[:, None].float(), column, single(shear=45))
    for y in (12, 32, 52):  # tan 45 = 1: a row k below the centre moves k to the right
        assert seen[0, y].nonzero().flatten().tolist() == [31 + y - 32, 32 + y - 32, 33 + y - 32]


def test_affine_is_rotation_then_shift_then_shear_then_zoom() -> None:
    point = np.array([7.0, -4.0])
    angle, shear = math.radians(12), math.radians(-9)
    rotated = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ point
    shifted = rotated + np.array([2.0, -3.0])
    sheared = np.array([shifted[0] + math.tan(shear) * shifted[1], shifted[1]])
    moved = single(12, (2, -3), -9, 1.1)[0].numpy() @ np.array([*point, 1.0])
    np.testing.assert_allclose(moved, 1.1 * sheared, rtol=1e-12)


def test_affine_equals_scipy() -> None:
    image, mask = picture(48, 64)
    affine = single(4, (3.5, -2.25), 3, 1.15)
    forward = affine[0].numpy()
    swap = np.array([[0, 1], [1, 0]])  # to (y, x)
    inverse = swap @ np.linalg.inv(forward[:, :2]) @ swap
    centre = np.array([23.5, 31.5])
    offset = centre - inverse @ (centre + swap @ forward[:, 2])
    expected = ndimage.affine_transform(
        image[0, 0].double().numpy(), inverse, offset, order=1, mode="grid-constant"
    )
    seen, _ = warped(image, mask, affine)
    np.testing.assert_allclose(seen[0, 0].numpy(), expected, atol=2e-4)


def released_by_hand(
    angle: float, shift: tuple[float, float], shear: float, zoom: float, size: tuple[int, int]
) -> np.ndarray:
    """Return M = Z S T R (3,3) on pixel coordinates (x, y) from the first pixel; degrees, pixels."""
    x, y, a, s = size[0] / 2, size[1] // 2, math.radians(angle), math.radians(shear)
    to, back = (np.array([[1, 0, sign * x], [0, 1, sign * y], [0, 0, 1]]) for sign in (1, -1))
    turned = np.array([[math.cos(a), math.sin(a), 0], [-math.sin(a), math.cos(a), 0], [0, 0, 1]])
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    sheared = np.array([[1, -math.sin(s), 0], [0, math.cos(s), 0], [0, 0, 1]])
    larger = np.diag([zoom, zoom, 1])
    product: np.ndarray = to @ larger @ back @ sheared @ moved @ to @ turned @ back
    return product


RELEASED = (4.0, (3.5, -2.25), -3.0, 1.15)


def corner(
    angle: float, shift: tuple[float, float], shear: float, zoom: float, size: tuple[int, int]
) -> Tensor:
    one = [torch.tensor([value], dtype=torch.float64) for value in (angle, shear, zoom)]
    moved = torch.tensor([shift], dtype=torch.float64)
    return corner_map(torch.deg2rad(one[0]), moved, torch.deg2rad(one[1]), one[2], size)


@pytest.mark.parametrize("size", [(256, 256), (48, 64), (33, 33)])
def test_the_published_matrix_by_hand(size: tuple[int, int]) -> None:
    """A point in centred pixels goes where M sends the pixel."""
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    matrix = corner(*RELEASED, size)[0].numpy()
    for point in ((0.0, 0.0), (7.0, -4.0), (-20.5, 11.0)):
        wanted = released_by_hand(*RELEASED, size) @ np.array([*(np.array(point) + middle), 1.0])
        np.testing.assert_allclose(matrix @ np.array([*point, 1.0]) + middle, wanted[:2], rtol=1e-12)


def test_the_published_shear_fixes_the_corner_and_moves_the_centre() -> None:
    size, middle = (256, 256), np.array([127.5, 127.5])
    matrix = corner(0.0, (0.0, 0.0), 5.0, 1.0, size)[0].numpy()
    np.testing.assert_allclose(matrix @ np.array([*-middle, 1.0]), -middle, atol=1e-9)
    sideways, down = matrix @ np.array([0.0, 0.0, 1.0])
    assert sideways == pytest.approx(-math.sin(math.radians(5)) * 127.5) and -11.2 < sideways < -11.0
    assert down == pytest.approx((math.cos(math.radians(5)) - 1) * 127.5)


@pytest.mark.parametrize(("name", "expected"), [("published", (7.4, 3.0)), ("centred", (3.04, 3.04))])
def test_how_far_the_centre_moves(
    name: str, expected: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_noise", lambda shape, device, _seed: torch.zeros(1))
    moves = draw(preset(name), 40_000, (256, 256), CPU, seeded(12)).affine[:, :, 2]
    assert moves.std(dim=0).tolist() == pytest.approx(expected, abs=0.06)


def test_the_published_map_equals_scipy() -> None:
    image, mask = picture(64, 64)
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])  # to (y, x)
    inverse = swap @ np.linalg.inv(released_by_hand(*RELEASED, (64, 64))) @ swap
    expected = ndimage.affine_transform(
        image[0, 0].double().numpy(), inverse[:2, :2], inverse[:2, 2], order=1, mode="grid-constant"
    )
    seen, _ = warped(image, mask, corner(*RELEASED, (64, 64)))
    np.testing.assert_allclose(seen[0, 0].numpy(), expected, atol=2e-4)


def test_elastic_equals_scipy() -> None:
    image, mask = picture(48, 64)
    noise = torch.rand(1, 2, 48, 64, generator=seeded(3)) * 2 - 1
    # large displacements, so that the reflecting border is reached as well
    seen, _ = apply(image, mask, Draw(single(), noise, 80.0, torch.ones(1)))
    dx, dy = (
        80 * ndimage.gaussian_filter(field.double().numpy(), 5.0, mode="mirror", radius=10)
        for field in noise[0]
    )
    assert max(np.abs(dx).max(), np.abs(dy).max()) > 4
    y, x = np.mgrid[:48, :64]
    expected = ndimage.map_coordinates(
        image[0, 0].double().numpy(), [y + dy, x + dx], order=1, mode="reflect"
    )
    np.testing.assert_allclose(seen[0, 0].numpy(), expected, atol=5e-4)


def test_blur_equals_scipy() -> None:
    fields = torch.rand(2, 2, 40, 48, generator=seeded(4))
    expected = ndimage.gaussian_filter(
        fields.double().numpy(), (0, 0, 5, 5), mode="mirror", radius=(0, 0, 10, 10)
    )
    np.testing.assert_allclose(gaussian_blur(fields).numpy(), expected, atol=1e-6)


def test_gamma_by_hand() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0, 3.0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    seen = apply_gamma(images, torch.tensor([2.0, 0.5]))
    # r = 4: 4 (x + 1)^2 / 16 - 1 and 4 sqrt((x + 1) / 4) - 1
    torch.testing.assert_close(seen[0].flatten(), torch.tensor([-1.0, -0.75, 0.0, 3.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        seen[1].flatten(),
        torch.tensor([-1 + 4 * (1e-5 / 4) ** 0.5, 1.0, 2 * 2**0.5 - 1, 3.0]),
        rtol=0,
        atol=1e-4,
    )


def test_gamma_leaves_a_flat_image_flat() -> None:
    torch.testing.assert_close(
        apply_gamma(torch.full((1, 1, 4, 4), 0.5), torch.tensor([0.5])),
        torch.full((1, 1, 4, 4), 0.5),
        atol=2e-5,
        rtol=0,
    )


@pytest.mark.parametrize("name", ["published", "strong"])
def test_views_keep_shapes_types_and_differ(name: str) -> None:
    image, mask = picture()
    seen, seen_mask = augment(image.repeat(3, 1, 1, 1), mask.repeat(3, 1, 1), preset(name), seeded(5))
    assert seen.shape == (3, 1, 64, 64) and seen.dtype == torch.float32 and seen.isfinite().all()
    assert (
        seen_mask.shape == (3, 64, 64) and seen_mask.dtype == torch.bool and seen_mask.flatten(1).any(1).all()
    )
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen_mask[1], seen_mask[2])


def test_mask_follows_the_image() -> None:
    _, mask = picture()
    noise = torch.rand(1, 2, 64, 64, generator=seeded(6)) * 2 - 1
    image = mask[:, None].float()
    seen, seen_mask = apply(image, mask, Draw(single(5, (4, -4), 5, 1.1), noise, 10.0, torch.ones(1)))
    assert torch.equal(seen_mask, seen[:, 0] > 0.5)


def test_same_generator_same_view_and_the_inputs_are_untouched() -> None:
    image, mask = picture()
    before = image.clone(), mask.clone()
    first = augment(image, mask, preset("published"), seeded(8))
    again = augment(image, mask, preset("published"), seeded(8))
    other = augment(image, mask, preset("published"), seeded(9))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(image, before[0]) and torch.equal(mask, before[1])


def test_a_batch_equals_its_views_one_by_one() -> None:
    image, mask = picture()
    images = torch.cat((image, image.flip(2), image * 2))
    masks = torch.cat((mask, mask.flip(1), mask))
    drawn = draw(preset("strong"), 3, (64, 64), CPU, seeded(10))
    together, together_masks = apply(images, masks, drawn)
    for i in range(3):
        one = Draw(drawn.affine[i : i + 1], drawn.noise[i : i + 1], drawn.elastic_px, drawn.gamma[i : i + 1])
        alone, alone_mask = apply(images[i : i + 1], masks[i : i + 1], one)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)
        assert torch.equal(together_masks[i : i + 1], alone_mask)


def test_draws_fill_their_ranges_and_stay_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[Tensor] = []

    def watched(angle: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor, size: tuple[int, int]) -> Tensor:
        caught.extend((angle.rad2deg(), shift[:, 0], shift[:, 1], shear.rad2deg(), zoom))
        return corner_map(angle, shift, shear, zoom, size)

    monkeypatch.setattr(views, "corner_map", watched)
    drawn = draw(preset("published"), 4000, (2, 2), CPU, seeded(11))
    ranges = [(-5, 5), (-5, 5), (-5, 5), (-5, 5), (0.9, 1.2), (0.5, 1.5), (-1, 1)]
    for values, (low, high) in zip([*caught, drawn.gamma, drawn.noise.flatten()], ranges, strict=True):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
        assert values.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.03)
    independent = torch.corrcoef(torch.stack([*caught, drawn.gamma])) - torch.eye(6)
    assert independent.abs().max() < 0.06


def test_unknown_preset_is_answered_with_the_near_name() -> None:
    with pytest.raises(UserError, match="unknown augmentation 'publshed': did you mean 'published'"):
        preset("publshed")
