"""A second renderer that shares nothing with the first: signed distances in numpy, no Pillow.

The weights never learn from it, so that figures on its pictures tell whether they know shapes or
only know one way of drawing them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_scoring.sample.scenes import Colour, Kind, Pattern, Scene, Size

Field = NDArray[np.float64]
"""Height x width; negative inside a shape, in units of its radius."""

SHADES: dict[Colour, tuple[int, int, int]] = {
    Colour.RED: (214, 28, 44),
    Colour.GREEN: (26, 152, 58),
    Colour.BLUE: (38, 84, 208),
    Colour.YELLOW: (247, 229, 32),
    Colour.PURPLE: (132, 36, 166),
    Colour.ORANGE: (251, 146, 22),
    Colour.BLACK: (10, 11, 14),
    Colour.WHITE: (250, 251, 247),
}
RADII: dict[Size, float] = {Size.SMALL: 0.11, Size.MEDIUM: 0.185, Size.LARGE: 0.275}


def render_foreign(scene: Scene, numbers: np.random.Generator, *, longer_side: int) -> Image.Image:
    """An RGB picture of `scene`, with shades and noise drawn from `numbers`."""
    width = round(longer_side * min(scene.aspect, 1.0))
    height = round(longer_side / max(scene.aspect, 1.0))
    down, right = np.mgrid[0:height, 0:width] + 0.5
    canvas = _ground(scene, numbers, down, right)
    for shape in scene.shapes:
        radius = RADII[shape.size] * min(width, height)
        x, y = (right - shape.x * width) / radius, (down - shape.y * height) / radius
        turn = numbers.normal(0, 0.05)
        turned = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        cover = np.clip(0.5 - DISTANCES[shape.kind](*turned) * radius, 0, 1)[..., None]
        canvas += cover * (_shade(shape.colour, numbers) - canvas)
    canvas += numbers.laplace(0, 1.5, (height, width, 1))
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8), "RGB")


def _shade(colour: Colour, numbers: np.random.Generator) -> NDArray[np.float64]:
    return np.clip(np.array(SHADES[colour]) + numbers.uniform(-14, 14, 3), 0, 255)


def _ground(scene: Scene, numbers: np.random.Generator, down: Field, right: Field) -> Field:
    shade = _shade(scene.background, numbers)
    canvas = np.broadcast_to(shade, (*down.shape, 3)).copy()
    match scene.pattern:
        case Pattern.STRIPED:
            angle = numbers.uniform(0, np.pi)
            period = min(down.shape) * numbers.uniform(0.09, 0.24)
            wave = np.sin((right * np.cos(angle) + down * np.sin(angle)) * 2 * np.pi / period)
            other = shade * 0.62 if shade.mean() > 90 else shade + 75
            canvas += np.clip(2 * wave, 0, 1)[..., None] * (other - shade)
        case Pattern.NOISY:
            cells = np.maximum(np.array(down.shape) // numbers.integers(2, 5), 1)
            speckle = numbers.gamma(2.0, 26.0, tuple(cells)) - 52
            rows = (down[:, :1] * cells[0] / down.shape[0]).astype(int)
            columns = (right[:1] * cells[1] / down.shape[1]).astype(int)
            canvas += speckle[rows, columns][..., None]
        case Pattern.PLAIN:
            pass
    return canvas


def _circle(x: Field, y: Field) -> Field:
    return np.hypot(x, y) - 0.97


def _ring(x: Field, y: Field) -> Field:
    return np.abs(np.hypot(x, y) - 0.8) - 0.19


def _box(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _square(x: Field, y: Field) -> Field:
    return _box(x, y, 0.83, 0.83)


def _cross(x: Field, y: Field) -> Field:
    return np.minimum(_box(x, y, 0.29, 0.95), _box(x, y, 0.95, 0.29))


def _triangle(x: Field, y: Field) -> Field:
    """Three half planes around an upright equilateral triangle."""
    slanted = 0.866 * np.abs(x) - 0.5 * y
    return np.maximum(slanted - 0.5, y - 0.5)


def _star(x: Field, y: Field) -> Field:
    """Five points: folded to one of ten wedges, bounded by the line from tip to notch."""
    angle = np.abs((np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    along, across = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.sin(angle)
    notch_along, notch_across = 0.42 * np.cos(np.pi / 5), 0.42 * np.sin(np.pi / 5)
    edge = np.array([notch_along - 1.0, notch_across])
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    distance: Field = (along - 1.0) * normal[0] + across * normal[1]
    return distance


def _heart(x: Field, y: Field) -> Field:
    """The sextic heart curve; its value over its slope is near enough to a distance."""
    u, v = 1.15 * x, -1.15 * y + 0.1
    inner = u**2 + v**2 - 1
    value = inner**3 - u**2 * v**3
    across = 6 * u * inner**2 - 2 * u * v**3
    along = 6 * v * inner**2 - 3 * u**2 * v**2
    distance: Field = value / (np.hypot(across, along) + 0.05)
    return distance


def _arrow(x: Field, y: Field) -> Field:
    """A shaft and a head that points to the right."""
    shaft = _box(x + 0.3, y, 0.65, 0.2)
    head = np.maximum(0.1 - x, (x - 0.95) * 0.6 + np.abs(y) * 0.8)
    return np.minimum(shaft, head)


DISTANCES: dict[Kind, Callable[[Field, Field], Field]] = {
    Kind.CIRCLE: _circle,
    Kind.RING: _ring,
    Kind.SQUARE: _square,
    Kind.CROSS: _cross,
    Kind.TRIANGLE: _triangle,
    Kind.STAR: _star,
    Kind.HEART: _heart,
    Kind.ARROW: _arrow,
}
