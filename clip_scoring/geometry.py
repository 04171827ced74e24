"""How an image comes to the size of the tower."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fit(StrEnum):
    """Whether the image is stretched to the size, or its shorter edge is brought to it."""

    STRETCH = "stretch"
    SHORTEST_EDGE = "shortest_edge"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Resizing and cropping as the weights' preprocessor says; all lengths in pixels.

    `resample` is Pillow's number of the kernel (3 is bicubic). With SHORTEST_EDGE, `height` equals
    `width` and a `crop` (height, width) from the centre follows; None leaves the image as it is.
    """

    fit: Fit
    height: int
    width: int
    resample: int
    crop: tuple[int, int] | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the pixels: (height, width, 3)."""
        height, width = self.crop or (self.height, self.width)
        return height, width, 3

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an image of this size is resized to, before any crop."""
        if self.fit is Fit.STRETCH:
            return self.width, self.height
        edge = self.height
        if width <= height:
            return edge, int(edge * height / width)
        return int(edge * width / height), edge

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The box that the crop keeps of a resized image: (top, left, bottom, right).

        Top or left is below 0 where the image is smaller than the crop.
        """
        tall, wide = self.crop or (height, width)
        top, left = (height - tall) // 2, (width - wide) // 2
        return top, left, top + tall, left + wide
