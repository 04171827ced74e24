"""Captioned scenes: one or two shapes on a background, with their relation in space."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

_Choice = TypeVar("_Choice")


class Kind(StrEnum):
    """The shapes a scene can hold."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    CROSS = "cross"
    RING = "ring"
    HEART = "heart"
    ARROW = "arrow"


class Colour(StrEnum):
    """The colour names of shapes and backgrounds."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"
    YELLOW = "yellow"
    PURPLE = "purple"
    ORANGE = "orange"
    BLACK = "black"
    WHITE = "white"


class Size(StrEnum):
    """How big a shape is; `RADIUS` gives the number."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Pattern(StrEnum):
    """The filling of the background besides its colour."""

    PLAIN = "plain"
    STRIPED = "striped"
    NOISY = "noisy"


class Relation(StrEnum):
    """Where the first shape of a pair is, seen from the second."""

    LEFT_OF = "left of"
    RIGHT_OF = "right of"
    ABOVE = "above"
    BELOW = "below"


RADIUS: dict[Size, float] = {Size.SMALL: 0.10, Size.MEDIUM: 0.18, Size.LARGE: 0.28}
"""Radius as a fraction of the picture's shorter side."""

_KINDS, _COLOURS, _SIZES, _PATTERNS = list(Kind), list(Colour), list(Size), list(Pattern)


@dataclass(frozen=True)
class Shape:
    """One shape; `x` and `y` are its centre as fractions of the width and the height."""

    kind: Kind
    colour: Colour
    size: Size
    x: float
    y: float

    def __post_init__(self) -> None:
        if not (0 < self.x < 1 and 0 < self.y < 1):
            raise ValueError(f"centre ({self.x}, {self.y}) outside the picture: give fractions")


@dataclass(frozen=True)
class Scene:
    """One or two shapes on a background of another colour; `aspect` is width / height."""

    shapes: tuple[Shape, ...]
    background: Colour
    pattern: Pattern
    aspect: float

    def __post_init__(self) -> None:
        if len(self.shapes) not in (1, 2):
            raise ValueError(f"{len(self.shapes)} shapes: a scene has one or two")
        if any(shape.colour == self.background for shape in self.shapes):
            raise ValueError(f"a {self.background} shape is invisible on its background")

    @property
    def relation(self) -> Relation | None:
        """Where the first shape is, seen from the second; None for a single shape."""
        if len(self.shapes) == 1:
            return None
        first, second = self.shapes
        right, down = (first.x - second.x) * self.aspect, first.y - second.y
        if abs(right) >= abs(down):
            return Relation.LEFT_OF if right < 0 else Relation.RIGHT_OF
        return Relation.ABOVE if down < 0 else Relation.BELOW


def random_scene(rng: random.Random) -> Scene:
    """A scene drawn from `rng`; of a pair, the first is the left or the upper one."""
    aspect = 1.0 if rng.random() < 0.4 else 2.0 ** rng.uniform(-1, 1)
    background = rng.choice(_COLOURS)
    colours = [colour for colour in _COLOURS if colour != background]
    places = _pair_places(rng, aspect) if rng.random() < 0.55 else [_single_place(rng, aspect)]
    shapes = tuple(
        Shape(rng.choice(_KINDS), rng.choice(colours), size, x, y) for size, x, y in places
    )
    if len(shapes) == 2 and _alike(shapes[0], shapes[1]):
        shapes = (shapes[0], replace(shapes[1], kind=_other(rng, _KINDS, shapes[0].kind)))
    pattern = rng.choices(_PATTERNS, weights=(5, 3, 3))[0]
    return Scene(shapes, background, pattern, aspect)


def neighbour_of(scene: Scene, rng: random.Random) -> Scene:
    """A scene that differs from `scene` in one respect, placed anew: a hard negative."""
    anew = random_scene(rng)
    while len(anew.shapes) != len(scene.shapes) or _sizes(anew) != _sizes(scene):
        anew = random_scene(rng)
    shapes = tuple(
        replace(new, kind=old.kind, colour=old.colour)
        for new, old in zip(anew.shapes, scene.shapes, strict=True)
    )
    alike = Scene(shapes, scene.background, scene.pattern, anew.aspect)
    return _with_one_change(alike, rng)


def _with_one_change(scene: Scene, rng: random.Random) -> Scene:
    match rng.choice(("kind", "kind", "colour", "colour", "background", "pattern", "swap")):
        case "background":
            taken = [scene.background, *(shape.colour for shape in scene.shapes)]
            return replace(scene, background=_other(rng, _COLOURS, *taken))
        case "pattern":
            return replace(scene, pattern=_other(rng, _PATTERNS, scene.pattern))
        case "swap" if len(scene.shapes) == 2:
            first, second = scene.shapes
            swapped = (
                replace(first, kind=second.kind, colour=second.colour),
                replace(second, kind=first.kind, colour=first.colour),
            )
            return replace(scene, shapes=swapped)
        case "colour":
            first, *others = scene.shapes
            colour = _other(rng, _COLOURS, first.colour, scene.background)
            return replace(scene, shapes=(replace(first, colour=colour), *others))
        case _:
            *others, last = scene.shapes
            return replace(
                scene, shapes=(*others, replace(last, kind=_other(rng, _KINDS, last.kind)))
            )


def _single_place(rng: random.Random, aspect: float) -> tuple[Size, float, float]:
    size = rng.choice(_SIZES)
    margin_x, margin_y = _margins(RADIUS[size], aspect)
    return size, rng.uniform(margin_x, 1 - margin_x), rng.uniform(margin_y, 1 - margin_y)


def _pair_places(rng: random.Random, aspect: float) -> list[tuple[Size, float, float]]:
    """Sizes and centres of two shapes apart along one axis, clearly more than along the other."""
    while True:
        sizes = rng.choice(_SIZES), rng.choice(_SIZES)
        (size1, x1, y1), (size2, x2, y2) = (
            (size, rng.uniform(mx, 1 - mx), rng.uniform(my, 1 - my))
            for size in sizes
            for mx, my in [_margins(RADIUS[size], aspect)]
        )
        wide, high = max(aspect, 1.0), max(1 / aspect, 1.0)
        right, down = (x2 - x1) * wide, (y2 - y1) * high
        apart, across = max(right, down), min(abs(right), abs(down))
        touching = RADIUS[size1] + RADIUS[size2]
        if apart == max(abs(right), abs(down)) and apart > touching and across < 0.6 * apart:
            return [(size1, x1, y1), (size2, x2, y2)]


def _margins(radius: float, aspect: float) -> tuple[float, float]:
    """The least distance of a centre from the edges, as fractions of the width and the height."""
    kept = radius * 0.96
    return kept / max(aspect, 1.0), kept / max(1 / aspect, 1.0)


def _alike(one: Shape, other: Shape) -> bool:
    return (one.kind, one.colour) == (other.kind, other.colour)


def _sizes(scene: Scene) -> list[Size]:
    return [shape.size for shape in scene.shapes]


def _other(rng: random.Random, choices: list[_Choice], *taken: _Choice) -> _Choice:
    return rng.choice([choice for choice in choices if choice not in taken])
