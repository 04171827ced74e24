"""A pool of rendered scenes to train from, with the facts that say what is where."""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_scoring.sample.drawing import render
from clip_scoring.sample.scene_captions import Wording
from clip_scoring.sample.scenes import (
    RADIUS,
    Colour,
    Kind,
    Pattern,
    Relation,
    Scene,
    Size,
    neighbour_of,
    random_scene,
)

SIDE, PATCH = 64, 8
GRID = SIDE // PATCH
NONE_KIND, NONE_COLOUR, NONE_SIZE = len(Kind), len(Colour), len(Size)
FACTS = (3, len(Kind), len(Colour), len(Size), len(Kind) + 1, len(Colour) + 1, len(Size) + 1)
"""How many values each fact of the shapes has: axis, then kind, colour, size of each shape."""
ALL_FACTS = (*FACTS, len(Colour), len(Pattern))

_BLOCK = 500
_KINDS, _COLOURS, _SIZES, _PATTERNS = list(Kind), list(Colour), list(Size), list(Pattern)
_KERNELS = (
    *[Image.Resampling.BICUBIC] * 4,
    Image.Resampling.BILINEAR,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
)


@dataclass(frozen=True)
class Pool:
    """Scenes 2i and 2i+1 are often neighbours, which makes them each other's hard negatives.

    `pixels` is uint8 [scenes, 3, 64, 64]; `facts` int64 [scenes, 9] in the order of `ALL_FACTS`;
    `patches` int64 [scenes, 64, 3] says kind, colour and size of the shape in each patch.
    """

    scenes: list[Scene]
    pixels: NDArray[np.uint8]
    facts: NDArray[np.int64]
    patches: NDArray[np.int64]


def render_pool(count: int, *, seed: int, workers: int) -> Pool:
    """`count` scenes (a multiple of 500) and their pictures, the same for the same seed."""
    blocks = range(count // _BLOCK)
    pixels = np.empty((count, 3, SIDE, SIDE), np.uint8)
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as executor:
        rendered = executor.map(_render_block, [f"{seed}/{block}" for block in blocks])
        for block, pictures in enumerate(rendered):
            pixels[block * _BLOCK : (block + 1) * _BLOCK] = pictures
    scenes = [scene for block in blocks for scene in _block_scenes(f"{seed}/{block}")]
    facts = np.array([facts_of(scene) for scene in scenes], np.int64)
    return Pool(scenes, pixels, facts, np.stack([patches_of(scene) for scene in scenes]))


def squashed(picture: Image.Image, rng: random.Random) -> NDArray[np.uint8]:
    """The picture at 64 x 64, channels first, resized with a kernel drawn from `rng`."""
    return np.asarray(picture.resize((SIDE, SIDE), rng.choice(_KERNELS))).transpose(2, 0, 1)


def facts_of(scene: Scene) -> list[int]:
    """The facts of `scene` as numbers, in the order of `ALL_FACTS`; the axis is 0 without a pair.

    The first shape is the left or the upper one, as `random_scene` makes it.
    """
    axis = {None: 0, Relation.LEFT_OF: 1, Relation.ABOVE: 2}[scene.relation]
    shapes = [
        number
        for shape in scene.shapes
        for number in (
            _KINDS.index(shape.kind),
            _COLOURS.index(shape.colour),
            _SIZES.index(shape.size),
        )
    ]
    absent = [NONE_KIND, NONE_COLOUR, NONE_SIZE] * (2 - len(scene.shapes))
    ground = [_COLOURS.index(scene.background), _PATTERNS.index(scene.pattern)]
    return [axis, *shapes, *absent, *ground]


def named_facts(wording: Wording) -> list[bool]:
    """Which of the facts of `facts_of` a caption in this wording tells."""
    shape = [True, True, wording.sizes]
    return [wording.relation, *shape, *shape, wording.background, wording.pattern]


def patches_of(scene: Scene) -> NDArray[np.int64]:
    """Kind, colour, size of the shape over each patch's centre, [64, 3]; else the none values."""
    marks = np.empty((GRID, GRID, 3), np.int64)
    marks[:] = NONE_KIND, NONE_COLOUR, NONE_SIZE
    middles = (np.arange(GRID) + 0.5) / GRID
    wide, high = max(scene.aspect, 1.0), max(1 / scene.aspect, 1.0)
    for shape in scene.shapes:
        away = np.hypot((middles[None, :] - shape.x) * wide, (middles[:, None] - shape.y) * high)
        covered = away < max(RADIUS[shape.size], 0.7 / GRID * max(wide, high))
        marks[covered] = [
            _KINDS.index(shape.kind),
            _COLOURS.index(shape.colour),
            _SIZES.index(shape.size),
        ]
    return marks.reshape(GRID * GRID, 3)


def _block_scenes(seed: str) -> list[Scene]:
    rng = random.Random(f"scenes {seed}")
    scenes: list[Scene] = []
    while len(scenes) < _BLOCK:
        scene = random_scene(rng)
        scenes += [scene, neighbour_of(scene, rng) if rng.random() < 0.6 else random_scene(rng)]
    return scenes


def _render_block(seed: str) -> NDArray[np.uint8]:
    rng = random.Random(f"pictures {seed}")
    return np.stack(
        [
            squashed(render(scene, rng, longer_side=round(64 * 2 ** rng.uniform(0, 2))), rng)
            for scene in _block_scenes(seed)
        ]
    )
