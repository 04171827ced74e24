"""The scenes, their captions and their pictures agree with each other."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from clip_scoring.sample.drawing import SHADES, render
from clip_scoring.sample.scene_captions import Wording, caption_in, caption_of
from clip_scoring.sample.scenes import (
    Colour,
    Kind,
    Pattern,
    Relation,
    Scene,
    Shape,
    Size,
    neighbour_of,
    random_scene,
)

RED_CIRCLE = Shape(Kind.CIRCLE, Colour.RED, Size.SMALL, 0.2, 0.5)
BLACK_STAR = Shape(Kind.STAR, Colour.BLACK, Size.LARGE, 0.7, 0.6)
PAIR = Scene((RED_CIRCLE, BLACK_STAR), Colour.WHITE, Pattern.STRIPED, 1.0)
EVERYTHING = Wording(sizes=True, background=True, pattern=True, relation=True, swapped=False)


def nearest_name(rgb: np.ndarray) -> Colour:
    def distance(colour: Colour) -> float:
        return min(float(np.abs(rgb - np.array(shade)).sum()) for shade in SHADES[colour])

    return min(Colour, key=distance)


def middle_colour(picture: Image.Image, shape: Shape) -> np.ndarray:
    x, y = int(shape.x * picture.width), int(shape.y * picture.height)
    around = np.asarray(picture)[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
    return np.asarray(np.median(around.reshape(-1, 3), axis=0))


def border_colour(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(np.median(border, axis=0))


def test_the_same_seed_gives_the_same_scene_caption_and_pixels() -> None:
    def drawn(seed: int) -> tuple[Scene, str, bytes]:
        rng = random.Random(seed)
        scene = random_scene(rng)
        return scene, caption_of(scene, rng), render(scene, rng, longer_side=96).tobytes()

    assert [drawn(seed) for seed in range(20)] == [drawn(seed) for seed in range(20)]
    assert len({pixels for _, _, pixels in map(drawn, range(20))}) == 20


def test_the_centre_of_a_shape_shows_the_colour_its_caption_names() -> None:
    rng, right, drawn = random.Random(5), 0, 0
    while drawn < 300:
        scene = random_scene(rng)
        picture = render(scene, rng, longer_side=256)
        for shape in scene.shapes:
            if shape.kind is not Kind.RING:
                drawn += 1
                right += nearest_name(middle_colour(picture, shape)) == shape.colour
    assert right / drawn > 0.96


def test_the_centre_of_a_ring_shows_the_background() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        ring = Shape(Kind.RING, Colour.BLUE, Size.LARGE, 0.5, 0.5)
        picture = render(Scene((ring,), Colour.YELLOW, Pattern.PLAIN, 1.0), rng, longer_side=200)
        assert nearest_name(middle_colour(picture, ring)) in (Colour.YELLOW, Colour.ORANGE)


def test_the_border_shows_the_named_background() -> None:
    rng, right = random.Random(6), 0
    for _ in range(150):
        scene = random_scene(rng)
        picture = render(scene, rng, longer_side=128)
        right += nearest_name(border_colour(picture)) == scene.background
    assert right / 150 > 0.9


def test_every_caption_names_kind_and_colour_of_every_shape() -> None:
    rng = random.Random(7)
    for _ in range(500):
        scene = random_scene(rng)
        caption = caption_of(scene, rng)
        assert all(f"{shape.colour} {shape.kind}" in caption for shape in scene.shapes)


def test_a_full_caption_tells_sizes_relation_and_background() -> None:
    caption = caption_in(PAIR, EVERYTHING, random.Random(12))
    small, large = caption.index("red circle"), caption.index("black star")
    assert small < large
    assert any(word in caption for word in ("small", "little", "tiny"))
    assert any(word in caption for word in ("large", "big"))
    assert "left" in caption and "right" not in caption
    assert "striped" in caption and "white" in caption


def test_a_caption_in_the_other_order_tells_the_opposite_relation() -> None:
    swapped = Wording(sizes=True, background=False, pattern=False, relation=True, swapped=True)
    caption = caption_in(PAIR, swapped, random.Random(3))
    assert caption.index("black star") < caption.index("red circle")
    assert "right" in caption and "left" not in caption


@pytest.mark.parametrize(
    ("x", "y", "relation"),
    [
        (0.1, 0.5, Relation.LEFT_OF),
        (0.9, 0.6, Relation.RIGHT_OF),
        (0.6, 0.1, Relation.ABOVE),
        (0.5, 0.9, Relation.BELOW),
    ],
)
def test_the_relation_follows_from_the_positions(x: float, y: float, relation: Relation) -> None:
    first = Shape(Kind.HEART, Colour.RED, Size.SMALL, x, y)
    second = Shape(Kind.CROSS, Colour.BLUE, Size.SMALL, 0.55, 0.55)
    assert Scene((first, second), Colour.WHITE, Pattern.PLAIN, 1.0).relation is relation


def test_a_random_pair_starts_with_the_left_or_upper_shape() -> None:
    rng = random.Random(8)
    relations = {random_scene(rng).relation for _ in range(300)}
    assert relations == {None, Relation.LEFT_OF, Relation.ABOVE}


def test_a_neighbour_is_another_scene_of_as_many_shapes() -> None:
    def facts(scene: Scene) -> tuple[object, ...]:
        shapes = [(shape.kind, shape.colour, shape.size) for shape in scene.shapes]
        return (*shapes, scene.background, scene.pattern)

    rng = random.Random(9)
    for _ in range(300):
        scene = random_scene(rng)
        neighbour = neighbour_of(scene, rng)
        assert len(neighbour.shapes) == len(scene.shapes)
        assert facts(neighbour) != facts(scene)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_the_longer_side_has_the_wanted_pixels(aspect: float) -> None:
    scene = Scene((RED_CIRCLE,), Colour.WHITE, Pattern.NOISY, aspect)
    width, height = render(scene, random.Random(1), longer_side=300).size
    assert max(width, height) == 300
    assert width / height == pytest.approx(aspect, rel=0.01)


def test_a_shape_of_the_colour_of_its_background_is_refused() -> None:
    with pytest.raises(ValueError, match="red shape is invisible"):
        Scene((RED_CIRCLE,), Colour.RED, Pattern.PLAIN, 1.0)
