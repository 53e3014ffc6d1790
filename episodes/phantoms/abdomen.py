"""The abdomen of a phantom: organs in anatomical order, with position and shape drawn for each subject."""

from __future__ import annotations

import math

import numpy as np

from episodes.phantoms.shapes import Canvas, Field, PoseRanges, ellipsoid

ORGANS = ("liver", "right-kidney", "left-kidney", "spleen", "stomach", "aorta")
INF = math.inf
POSES = PoseRanges(
    width=(0.77, 0.97), aspect=(0.74, 0.88), across=0.16, up=0.2, turn=0.2, rise=0.06, stretch=(0.9, 1.1),
    warp=0.07,
)  # fmt: skip


def paint_abdomen(canvas: Canvas, draw: np.random.Generator) -> None:
    """Paint the body from the outside in; later shapes cover earlier ones."""
    frame = canvas.frame
    fat = draw.uniform(0.06, 0.2)
    body = ellipsoid(frame, (0, 0, 0), (1, 1, INF), power=2.4)
    wall = ellipsoid(frame, (0, 0, 0), (1 - fat, 1 - fat, INF), power=2.4)
    inner = ellipsoid(frame, (0, 0, 0), (0.93 - fat, 0.93 - fat, INF), power=2.4)
    canvas.paint("fat", body, 1)
    canvas.paint("muscle", wall, 1)
    canvas.paint("mesentery", inner, 1)
    _bowel(canvas, draw, inner)
    _back(canvas, draw, fat)
    for side in (-1, 1):  # bases of the lungs
        centre = _near(draw, (side * 0.5, -0.3, 1.1), 0.05)
        canvas.paint("air", _within(ellipsoid(frame, centre, (0.4, 0.45, 0.22)), inner), 0.3)
    _upper(canvas, draw, inner)
    _kidneys(canvas, draw, inner)


def _upper(canvas: Canvas, draw: np.random.Generator, inner: Field) -> None:
    frame = canvas.frame
    centre = _near(draw, (0.34, 0.34, 0.66), 0.07)
    stomach = ellipsoid(frame, centre, _sizes(draw, (0.27, 0.23, 0.24)), draw.uniform(-0.6, 0.6))
    canvas.paint("stomach-wall", _within(stomach, inner), 0.25, "stomach")
    canvas.paint("stomach", _within(stomach - 0.2, inner), 0.25, "stomach")
    centre = _near(draw, (0.08, 0.08, 0.48), 0.05)
    canvas.paint("pancreas", ellipsoid(frame, centre, _sizes(draw, (0.3, 0.08, 0.09)), 0.3), 0.1)
    _liver(canvas, draw, inner)
    centre = _near(draw, (0.62, -0.16, 0.7), 0.06)
    radii, tilt = _sizes(draw, (0.25, 0.4, 0.24)), draw.uniform(-0.1, 0.6)
    hollow = ellipsoid(frame, (centre[0] - 0.34, centre[1] + 0.16, centre[2]), (0.25, 0.28, 0.5))
    spleen = _within(ellipsoid(frame, centre, radii, tilt), -hollow)
    canvas.paint("spleen", _within(spleen, inner), 0.25, "spleen")


def _liver(canvas: Canvas, draw: np.random.Generator, inner: Field) -> None:
    frame = canvas.frame
    centre = _near(draw, (-0.42, 0.08, 0.68), 0.07)
    right = ellipsoid(frame, centre, _sizes(draw, (0.4, 0.56, 0.34)), draw.uniform(-0.5, 0.3), 2.3)
    lobe = (centre[0] + draw.uniform(0.28, 0.48), centre[1] + draw.uniform(0.15, 0.38), centre[2] + 0.08)
    left = ellipsoid(frame, lobe, _sizes(draw, (0.36, 0.22, 0.2)), draw.uniform(-0.3, 0.5))
    liver = _within(np.maximum(right, left), inner)
    canvas.paint("liver", liver, 0.35, "liver")
    for _vessel in range(5):
        start = _near(draw, (centre[0] + 0.08, centre[1], centre[2]), 0.14)
        radii = (draw.uniform(0.15, 0.3), 0.035, 0.05)
        vessel = ellipsoid(frame, start, radii, draw.uniform(-1.5, 1.5))
        canvas.paint("liver-vessel", _within(vessel, liver), 0.05, "liver")
    bed = (centre[0] + 0.18, centre[1] + 0.22, centre[2] - 0.22)
    canvas.paint(
        "gallbladder", ellipsoid(frame, _near(draw, bed, 0.03), _sizes(draw, (0.09, 0.12, 0.1))), 0.1
    )


def _kidneys(canvas: Canvas, draw: np.random.Generator, inner: Field) -> None:
    frame = canvas.frame
    for side, name, height in ((-1, "right-kidney", 0.36), (1, "left-kidney", 0.43)):
        centre = _near(draw, (side * 0.43, -0.35, height), 0.07)
        tilt = side * draw.uniform(-0.9, 0.1)
        radii = _sizes(draw, (0.22, 0.29, 0.25))
        kidney = _within(ellipsoid(frame, centre, radii, tilt), inner)
        canvas.paint("mesentery", kidney + 0.15, 0.22)
        hilum = ellipsoid(frame, (centre[0] - side * 0.2, centre[1] + 0.05, centre[2]), (0.1, 0.07, 0.1))
        canvas.paint("cortex", _within(kidney, -hilum), 0.2, name)
        canvas.paint("medulla", _within(kidney - 0.35, -hilum), 0.2, name)


def _back(canvas: Canvas, draw: np.random.Generator, fat: float) -> None:
    frame = canvas.frame
    back = -0.62 + 0.5 * fat
    for side in (-1, 1):
        centre = (side * draw.uniform(0.24, 0.3), back - 0.15, 0.0)
        canvas.paint("muscle", ellipsoid(frame, centre, (0.21, 0.16, INF)), 0.16)
        psoas = ellipsoid(frame, (side * 0.22, back + 0.13, 0.0), (0.1, 0.14, 0.55))
        canvas.paint("muscle", psoas, 0.1)
    canvas.paint("bone", ellipsoid(frame, (0, back + 0.02, 0), (0.15, 0.15, INF)), 0.15)
    canvas.paint("marrow", ellipsoid(frame, (0, back + 0.02, 0), (0.12, 0.12, INF)), 0.12)
    canvas.paint("bone", ellipsoid(frame, (0, back - 0.2, 0), (0.1, 0.08, INF)), 0.08)
    canvas.paint("csf", ellipsoid(frame, (0, back - 0.18, 0), (0.06, 0.05, INF)), 0.05)
    aorta = ellipsoid(frame, _near(draw, (0.07, back + 0.26, 0), 0.02), (0.075, 0.085, INF))
    canvas.paint("aorta", aorta, 0.08, "aorta")
    cava = ellipsoid(frame, _near(draw, (-0.14, back + 0.27, 0), 0.02), (0.09, 0.07, INF))
    canvas.paint("vein", cava, 0.08)


def _bowel(canvas: Canvas, draw: np.random.Generator, inner: Field) -> None:
    for loop in range(11):
        centre = (draw.uniform(-0.65, 0.65), draw.uniform(-0.05, 0.7), draw.uniform(-0.05, 0.5))
        radii = _sizes(draw, (0.2, 0.13, 0.14))
        shape = _within(ellipsoid(canvas.frame, centre, radii, draw.uniform(-1.5, 1.5)), inner)
        canvas.paint("stomach-wall", shape, 0.15)
        canvas.paint(("bowel", "bowel-bright", "bowel-gas")[loop % 3], shape - 0.25, 0.15)


def _within(shape: Field, *others: Field) -> Field:
    """Return the intersection of all the shapes."""
    for other in others:
        shape = np.minimum(shape, other).astype(np.float32)
    return shape


def _near(
    draw: np.random.Generator, centre: tuple[float, float, float], spread: float
) -> tuple[float, float, float]:
    """Draw a point near `centre`; offsets are clipped at two deviations, so that every organ stays inside."""
    x, y, z = spread * np.clip(draw.standard_normal(3), -2, 2)
    return centre[0] + float(x), centre[1] + float(y), centre[2] + 0.6 * float(z)


def _sizes(draw: np.random.Generator, radii: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = np.exp(0.13 * np.clip(draw.standard_normal(3), -2, 2))
    return radii[0] * float(x), radii[1] * float(y), radii[2] * float(z)
