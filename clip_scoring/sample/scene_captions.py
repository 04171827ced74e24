"""How a scene is put into words, with more or fewer of its facts."""

from __future__ import annotations

import random
from dataclasses import dataclass

from clip_scoring.sample.scenes import Colour, Pattern, Relation, Scene, Shape, Size

OPENINGS = (
    *("a photo of ", "a picture of ", "an image of ", "a drawing of ", "an illustration of "),
    *("a rendering of ", "a photograph of ", "a simple drawing of ", "this is ", "there is "),
    *("this picture shows ", "a scene with ", "the image shows ", "a close-up of "),
)
RELATION_WORDS: dict[Relation, tuple[str, ...]] = {
    Relation.LEFT_OF: ("left of", "to the left of", "on the left of"),
    Relation.RIGHT_OF: ("right of", "to the right of", "on the right of"),
    Relation.ABOVE: ("above", "above", "over"),
    Relation.BELOW: ("below", "below", "under", "beneath"),
}
OPPOSITE: dict[Relation, Relation] = {
    Relation.LEFT_OF: Relation.RIGHT_OF,
    Relation.RIGHT_OF: Relation.LEFT_OF,
    Relation.ABOVE: Relation.BELOW,
    Relation.BELOW: Relation.ABOVE,
}
SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.SMALL: ("small", "small", "small", "small", "little", "tiny"),
    Size.MEDIUM: ("medium", "medium", "medium", "medium-sized"),
    Size.LARGE: ("large", "large", "large", "large", "big"),
}


@dataclass(frozen=True)
class Wording:
    """Which facts a caption names; kinds and colours of the shapes are always named."""

    sizes: bool
    background: bool
    pattern: bool
    relation: bool
    swapped: bool


def random_wording(rng: random.Random) -> Wording:
    """A wording drawn from `rng`; few are so bare that they fit many scenes."""
    background = rng.random() < 0.7
    return Wording(
        sizes=rng.random() < (0.5 if background else 0.7),
        background=background,
        pattern=background and rng.random() < 0.75,
        relation=rng.random() < 0.85,
        swapped=rng.random() < 0.5,
    )


def caption_of(scene: Scene, rng: random.Random) -> str:
    """A true caption of `scene`, its wording drawn from `rng`."""
    return caption_in(scene, random_wording(rng), rng)


def caption_in(scene: Scene, wording: Wording, rng: random.Random) -> str:
    """A true caption of `scene` that names what `wording` says."""
    subject = _single(scene.shapes[0], wording, rng)
    if len(scene.shapes) == 2:
        subject = _pair(scene, wording, rng)
    opening = rng.choice(OPENINGS) if rng.random() < 0.45 else ""
    if len(scene.shapes) == 2 and rng.random() < 0.1:
        opening = "two shapes: "
    ending = _background(scene, wording, rng) if wording.background else ""
    return opening + subject + ending + ("." if rng.random() < 0.06 else "")


def _single(shape: Shape, wording: Wording, rng: random.Random) -> str:
    size = rng.choice(SIZE_WORDS[shape.size]) + " " if wording.sizes else ""
    return with_article(f"{size}{shape.colour} {shape.kind}")


def _pair(scene: Scene, wording: Wording, rng: random.Random) -> str:
    first, second = (_single(shape, wording, rng) for shape in scene.shapes)
    relation = scene.relation
    if relation is None:
        raise ValueError("a single shape has no relation: put it into words alone")
    if wording.swapped:
        first, second, relation = second, first, OPPOSITE[relation]
    between = rng.choice(RELATION_WORDS[relation]) if wording.relation else "and"
    return f"{first} {between} {second}"


def _background(scene: Scene, wording: Wording, rng: random.Random) -> str:
    preposition = rng.choice(("on", "on", "on", "on", "against", "with"))
    named = f"{scene.background} background"
    if wording.pattern:
        named = _patterned(scene.background, scene.pattern, rng)
    return f" {preposition} {with_article(named)}"


def _patterned(colour: Colour, pattern: Pattern, rng: random.Random) -> str:
    if pattern is Pattern.PLAIN:
        return f"{rng.choice(('plain ', 'plain ', 'solid ', ''))}{colour} background"
    if rng.random() < 0.4:
        return f"{colour} {pattern} background"
    return f"{pattern} {colour} background"


def with_article(phrase: str) -> str:
    """`phrase` after "a" or "an"."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase
