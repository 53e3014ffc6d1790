"""The heart of a phantom in short-axis slices: left ventricle with its myocardium, and right ventricle."""

from __future__ import annotations

import math

import numpy as np

from episodes.phantoms.shapes import Canvas, PoseRanges, ellipsoid

ORGANS = ("lv-myo", "lv-bp", "rv")
INF = math.inf
POSES = PoseRanges(  # a width above 1: the field of view is smaller than the body
    width=(0.85, 1.2), aspect=(0.85, 1.05), across=0.2, up=0.2, turn=0.4, rise=0.04, stretch=(0.95, 1.1),
    warp=0.05,
)  # fmt: skip


def paint_heart(canvas: Canvas, draw: np.random.Generator) -> None:
    """Paint chest, lungs, liver and heart; the ventricles taper towards the apex at z = 0."""
    frame = canvas.frame
    chest = ellipsoid(frame, (0, 0, 0), (1.0, 0.95, INF), power=2.6)
    canvas.paint("fat", chest, 1)
    canvas.paint("muscle", chest - 0.1, 1)
    canvas.paint("fat", chest - 0.16, 1)
    for side in (-1, 1):
        lung = ellipsoid(frame, (side * 0.62, draw.uniform(0.0, 0.2), 0.5), (0.36, 0.62, INF))
        canvas.paint("air", np.minimum(lung, chest - 0.16), 0.35)
    liver = ellipsoid(
        frame, (draw.uniform(-0.35, 0.0), -0.75, 0.3), (0.6, 0.38, 0.9), draw.uniform(-0.2, 0.2)
    )
    canvas.paint("liver", np.minimum(liver, chest - 0.12), 0.35)
    stomach = ellipsoid(frame, (draw.uniform(0.4, 0.6), -0.62, 0.2), (0.24, 0.24, 0.7))
    canvas.paint("stomach", np.minimum(stomach, chest - 0.12), 0.24)
    aorta = ellipsoid(frame, (0.28, draw.uniform(-0.55, -0.45), 0), (0.08, 0.08, INF))

    x, y = 0.16 + 0.06 * _unit(draw), 0.02 + 0.06 * _unit(draw)
    outer = 0.33 * math.exp(0.12 * _unit(draw))
    wall = draw.uniform(0.24, 0.4)  # thickness of the muscle as a fraction of the outer radius
    tall = draw.uniform(0.72, 0.85)
    round_ = draw.uniform(0.85, 1.15)
    radii = (outer * round_, outer / round_, tall)
    heart_fat = ellipsoid(frame, (x - 0.16, y, 0.9), (outer + 0.34, outer + 0.2, 1.0))
    canvas.paint("fat", heart_fat, 0.4)
    canvas.paint("blood", aorta, 0.08)
    lean = draw.uniform(-0.5, 0.5)
    right = (x - (outer + 0.06) * math.cos(lean), y - (outer + 0.06) * math.sin(lean), 0.9)
    sizes = (0.28 * math.exp(0.15 * _unit(draw)), 0.36 * math.exp(0.12 * _unit(draw)), tall * 0.95)
    ventricle = ellipsoid(frame, right, sizes, lean)
    canvas.paint("muscle", ventricle + 0.1, 0.3)
    canvas.paint("blood", ventricle, 0.3, "rv")
    muscle = ellipsoid(frame, (x, y, 0.85), radii)
    canvas.paint("myocardium", muscle, outer, "lv-myo")
    cavity = muscle - np.float32(wall)
    canvas.paint("blood", cavity, outer, "lv-bp")
    for angle in draw.uniform(0, 2 * math.pi, 2):  # papillary muscles belong to the cavity
        reach = outer * (1 - wall) * 0.62
        place = (x + reach * math.cos(angle), y + reach * math.sin(angle), 0.55)
        papillary = np.minimum(ellipsoid(frame, place, (0.05, 0.05, 0.3)), cavity)
        canvas.paint("myocardium", papillary, 0.05, "lv-bp")


def _unit(draw: np.random.Generator) -> float:
    return float(np.clip(draw.standard_normal(), -2, 2))
