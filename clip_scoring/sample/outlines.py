"""The outlines of the shapes, as polygons around the origin with radius about 1."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from clip_scoring.sample.scenes import Kind

Polygon = list[tuple[float, float]]


def random_outline(kind: Kind, rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    """The polygons to fill and the holes to leave, with proportions drawn from `rng`; y is down."""
    filled, holes = _OUTLINES[kind](rng)
    angle = math.radians(rng.gauss(0, 6) if rng.random() < 0.6 else 0.0)
    return [_turned(part, angle) for part in filled], [_turned(part, angle) for part in holes]


def _circle(rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    return [_regular(48, rng.uniform(0.92, 1.02))], []


def _ring(rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    return [_regular(48, 1.0)], [_regular(48, rng.uniform(0.42, 0.8))]


def _square(rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    half = rng.choice((0.71, 0.8, 0.886, 1.0)) * rng.uniform(0.97, 1.03)
    return [[(-half, -half), (half, -half), (half, half), (-half, half)]], []


def _triangle(rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    base, foot = rng.uniform(0.8, 1.1), rng.uniform(0.5, 1.0)
    down = -1 if rng.random() < 0.08 else 1
    return [[(0, -down * rng.uniform(0.9, 1.1)), (base, down * foot), (-base, down * foot)]], []


def _star(rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    points = rng.choices((5, 6, 4, 8), weights=(16, 3, 2, 1))[0]
    inner = rng.uniform(0.33, 0.56)
    turn = math.pi / points if rng.random() < 0.1 else 0.0
    corners = range(2 * points)
    return [
        [_polar(math.pi * i / points + turn, inner if i % 2 else 1.08) for i in corners],
    ], []


def _cross(rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    half, arm = rng.uniform(0.17, 0.42), rng.uniform(0.88, 1.02)
    upright = [(-half, -arm), (half, -arm), (half, arm), (-half, arm)]
    across = [(y, x) for x, y in upright]
    angle = math.pi / 4 if rng.random() < 0.12 else 0.0
    return [_turned(upright, angle), _turned(across, angle)], []


def _heart(rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    if rng.random() < 0.4:
        return _heart_of_circles(rng), []
    wide, high = rng.uniform(0.9, 1.1), rng.uniform(0.9, 1.1)
    around = [2 * math.pi * i / 40 for i in range(40)]
    return [[(wide * math.sin(t) ** 3, -high * _heart_height(t)) for t in around]], []


def _heart_height(t: float) -> float:
    """The heart curve of the textbooks, over 17 so that its tip is at -1."""
    terms = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return terms / 17


def _heart_of_circles(rng: random.Random) -> list[Polygon]:
    radius = rng.uniform(0.46, 0.54)
    lobes = [
        [(x + side * radius * 0.95, y - 0.35) for x, y in _regular(24, radius)] for side in (-1, 1)
    ]
    edge = radius * 1.82
    return [*lobes, [(-edge, -0.15), (0, -0.42), (edge, -0.15), (0, rng.uniform(0.85, 1.05))]]


def _arrow(rng: random.Random) -> tuple[list[Polygon], list[Polygon]]:
    half, wide = rng.uniform(0.12, 0.32), rng.uniform(0.5, 0.85)
    neck = rng.uniform(-0.15, 0.4)
    shaft = [(-1.0, -half), (neck, -half), (neck, half), (-1.0, half)]
    tip = [(neck, -wide), (1.0, 0.0), (neck, wide)]
    angle = rng.choices((0, 1, 2, 3, 0.5), weights=(6, 3, 2, 3, 1))[0] * math.pi / 2
    return [_turned(shaft, angle), _turned(tip, angle)], []


def _regular(corners: int, radius: float) -> Polygon:
    return [_polar(2 * math.pi * i / corners, radius) for i in range(corners)]


def _polar(angle: float, radius: float) -> tuple[float, float]:
    """The point at `angle` clockwise from straight up."""
    return radius * math.sin(angle), -radius * math.cos(angle)


def _turned(polygon: Polygon, angle: float) -> Polygon:
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in polygon]


_Outline = Callable[[random.Random], tuple[list[Polygon], list[Polygon]]]
_OUTLINES: dict[Kind, _Outline] = {
    Kind.CIRCLE: _circle,
    Kind.SQUARE: _square,
    Kind.TRIANGLE: _triangle,
    Kind.STAR: _star,
    Kind.CROSS: _cross,
    Kind.RING: _ring,
    Kind.HEART: _heart,
    Kind.ARROW: _arrow,
}
