"""Draws a scene with Pillow and numpy, with the nuisances real pictures have."""

from __future__ import annotations

import io
import math
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from clip_scoring.sample.outlines import Polygon, random_outline
from clip_scoring.sample.scenes import RADIUS, Colour, Pattern, Scene, Shape

Pixels = NDArray[np.float32]
"""Height x width x 3, 0 to 255, sRGB."""

SHADES: dict[Colour, tuple[tuple[int, int, int], ...]] = {
    Colour.RED: ((255, 0, 0), (220, 20, 60), (200, 30, 30), (230, 50, 40), (178, 34, 34)),
    Colour.GREEN: ((0, 128, 0), (0, 255, 0), (34, 139, 34), (50, 205, 50), (40, 180, 70)),
    Colour.BLUE: ((0, 0, 255), (30, 60, 220), (65, 105, 225), (31, 119, 180), (20, 40, 160)),
    Colour.YELLOW: ((255, 255, 0), (255, 220, 0), (240, 220, 40), (250, 235, 90), (230, 215, 20)),
    Colour.PURPLE: ((128, 0, 128), (160, 32, 240), (148, 103, 189), (138, 43, 226), (110, 40, 150)),
    Colour.ORANGE: ((255, 165, 0), (255, 140, 0), (255, 127, 14), (240, 130, 30), (230, 120, 0)),
    Colour.BLACK: ((0, 0, 0), (0, 0, 0), (15, 15, 15), (30, 30, 30), (40, 40, 40)),
    Colour.WHITE: ((255, 255, 255), (255, 255, 255), (245, 245, 245), (235, 235, 230)),
}


def render(scene: Scene, rng: random.Random, *, longer_side: int) -> Image.Image:
    """An RGB picture of `scene` whose longer side has `longer_side` pixels.

    Shades, proportions, textures and the faults of a camera are drawn from `rng`; the facts
    that a caption can name are those of the scene.
    """
    width = round(longer_side * min(scene.aspect, 1.0))
    height = round(longer_side / max(scene.aspect, 1.0))
    numbers = np.random.default_rng(rng.getrandbits(64))
    canvas = _background(scene, rng, numbers, width=width, height=height)
    for shape in scene.shapes:
        _draw(canvas, shape, rng)
    _relight(canvas, rng, numbers)
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8), "RGB")
    return _worn(picture, rng)


def random_shade(colour: Colour, rng: random.Random) -> NDArray[np.float32]:
    """One of the RGB values that people call `colour`, 0 to 255."""
    spread = 0.0 if rng.random() < 0.3 else 9.0
    near = [channel + rng.gauss(0, spread) for channel in rng.choice(SHADES[colour])]
    return np.clip(np.array(near, np.float32), 0, 255)


def _background(
    scene: Scene, rng: random.Random, numbers: np.random.Generator, *, width: int, height: int
) -> Pixels:
    shade = random_shade(scene.background, rng)
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = shade
    match scene.pattern:
        case Pattern.STRIPED:
            stripe = _second_shade(scene, shade, rng)
            canvas += _stripes(rng, width=width, height=height)[..., None] * (stripe - shade)
        case Pattern.NOISY:
            canvas += _noise(rng, numbers, width=width, height=height)
        case Pattern.PLAIN:
            pass
    if rng.random() < 0.25:
        ramp = np.linspace(-1, 1, width if rng.random() < 0.5 else height, dtype=np.float32)
        along = ramp[None, :, None] if len(ramp) == width else ramp[:, None, None]
        canvas += along * rng.uniform(-18, 18)
    return canvas


def _second_shade(
    scene: Scene, shade: NDArray[np.float32], rng: random.Random
) -> NDArray[np.float32]:
    """A shade for the stripes: mostly a lighter or darker one, else white, black or grey."""
    if rng.random() < 0.65:
        towards = 255.0 if shade.mean() < 60 or (shade.mean() < 190 and rng.random() < 0.5) else 0.0
        return shade + (np.float32(towards) - shade) * np.float32(rng.uniform(0.18, 0.5))
    taken = {scene.background, *(shape.colour for shape in scene.shapes)}
    free = [colour for colour in (Colour.WHITE, Colour.BLACK) if colour not in taken]
    if free and rng.random() < 0.7:
        return random_shade(rng.choice(free), rng)
    return np.full(3, rng.uniform(100, 180), np.float32)


def _stripes(rng: random.Random, *, width: int, height: int) -> Pixels:
    """Height x width, 1 on a stripe; stripes cover at most half, so the colour's name holds."""
    short = min(width, height)
    angle = rng.choice((0.0, 0.0, 0.5, 0.5, 0.25, 0.75)) * math.pi + rng.gauss(0, 0.03)
    across = np.arange(width, dtype=np.float32)[None, :] * math.cos(angle) + np.arange(
        height, dtype=np.float32
    )[:, None] * math.sin(angle)
    period = max(4.0, short * 2 ** rng.uniform(-4.0, -1.6))
    phase = (across / period + rng.random()) % 1.0
    return (phase < rng.uniform(0.3, 0.5)).astype(np.float32)


def _noise(
    rng: random.Random, numbers: np.random.Generator, *, width: int, height: int
) -> NDArray[np.float32]:
    """Noise to add: grains of one or more pixels, grey or coloured, normal, uniform or specks."""
    grain = max(1, round(max(width, height) / 64 * rng.choice((0.25, 0.5, 1, 1, 1.5, 2))))
    size = (-(-height // grain), -(-width // grain), 1 if rng.random() < 0.4 else 3)
    strength = rng.uniform(25, 70)
    match rng.choice(("normal", "normal", "uniform", "specks")):
        case "normal":
            noise = numbers.standard_normal(size, np.float32) * strength
        case "uniform":
            noise = (numbers.random(size, np.float32) - 0.5) * (3.4 * strength)
        case _:
            hit = numbers.random(size, np.float32)
            noise = (hit < 0.08) * np.float32(200) - (hit > 0.92) * np.float32(200)
    return noise.repeat(grain, 0).repeat(grain, 1)[:height, :width].astype(np.float32)


def _draw(canvas: Pixels, shape: Shape, rng: random.Random) -> None:
    """Paints `shape` into `canvas`."""
    height, width, _ = canvas.shape
    radius = RADIUS[shape.size] * min(width, height) * rng.uniform(0.92, 1.08)
    filled, holes = random_outline(shape.kind, rng)
    finer = rng.choice((1, 2, 3)) if max(width, height) < 400 else rng.choice((1, 2))
    left, top = int(shape.x * width - 1.3 * radius), int(shape.y * height - 1.3 * radius)
    side = math.ceil(2.6 * radius) + 2
    centre = (shape.x * width - left, shape.y * height - top)
    parts = [_moved(part, centre, radius, finer) for part in filled]
    gaps = [_moved(part, centre, radius, finer) for part in holes]
    shade = random_shade(shape.colour, rng)
    _paint(canvas, _mask(parts, gaps, side, finer), left, top, shade)
    if rng.random() < 0.12 and len(parts) == 1:
        rim = _rim(shade, rng)
        edge = _edge(parts[0], side, finer, max(1, round(radius * finer * 0.06)))
        _paint(canvas, edge, left, top, rim)


def _rim(shade: NDArray[np.float32], rng: random.Random) -> NDArray[np.float32]:
    """The shade of an outline: black, white or darker than the shape."""
    if rng.random() < 0.5:
        return np.full(3, rng.choice((0.0, 0.0, 255.0)), np.float32)
    return shade * np.float32(0.5)


def _moved(polygon: Polygon, centre: tuple[float, float], radius: float, finer: int) -> Polygon:
    return [
        ((x * radius + centre[0]) * finer, (y * radius + centre[1]) * finer) for x, y in polygon
    ]


def _mask(parts: list[Polygon], gaps: list[Polygon], side: int, finer: int) -> Pixels:
    mask = Image.new("L", (side * finer, side * finer))
    pen = ImageDraw.Draw(mask)
    for polygon, ink in [*((part, 255) for part in parts), *((gap, 0) for gap in gaps)]:
        pen.polygon(polygon, fill=ink)
    return _coverage(mask, finer)


def _edge(polygon: Polygon, side: int, finer: int, thickness: int) -> Pixels:
    mask = Image.new("L", (side * finer, side * finer))
    ImageDraw.Draw(mask).line([*polygon, polygon[0]], fill=255, width=thickness)
    return _coverage(mask, finer)


def _coverage(mask: Image.Image, finer: int) -> Pixels:
    cover = np.asarray(mask.reduce(finer) if finer > 1 else mask, np.float32)
    return cover / np.float32(255)


def _paint(canvas: Pixels, mask: Pixels, left: int, top: int, shade: NDArray[np.float32]) -> None:
    """Blends `shade` into `canvas` by `mask`, whose corner lies at (left, top), maybe outside."""
    height, width, _ = canvas.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + mask.shape[1], width), min(top + mask.shape[0], height)
    cover = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
    under = canvas[y0:y1, x0:x1]
    under += cover * (shade - under)


def _relight(canvas: Pixels, rng: random.Random, numbers: np.random.Generator) -> None:
    """Changes brightness and contrast a little and adds the faint noise of a sensor."""
    if rng.random() < 0.4:
        canvas -= 128
        canvas *= rng.uniform(0.82, 1.1)
        canvas += 128 + rng.uniform(-12, 12)
    if rng.random() < 0.25:
        canvas += numbers.standard_normal(canvas.shape, np.float32) * rng.uniform(1, 5)


def _worn(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The picture after some blur and a lossy copy, or untouched."""
    if rng.random() < 0.15:
        longer = max(picture.size)
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7) * longer / 64))
    if rng.random() < 0.25:
        copy = io.BytesIO()
        picture.save(copy, "JPEG", quality=rng.randint(40, 95))
        picture = Image.open(copy).convert("RGB")
    return picture
