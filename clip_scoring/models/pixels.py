"""uint8 pixels cross to the device as they are; normalised floats are made there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clip_scoring.models.weights import Weights
from clip_scoring.ports import Pixels

_SLOTS = 3


class Normaliser:
    """Makes the towers' input of decoded images, on their device."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self._device = device
        self._shape = weights.geometry.shape
        self._rescale = weights.rescale
        self._mean = self._channel(weights.mean)
        self._std = self._channel(weights.std)
        self._ring = _PinnedRing(device) if device.type == "cuda" else None

    def __call__(self, images: Sequence[Pixels], rows: int) -> torch.Tensor:
        """float32 (rows, 3, H, W): each image, rescaled, then normalised by channel; rest blank."""
        shape = (rows, *self._shape)
        host = self._ring.slot(shape) if self._ring else torch.zeros(shape, dtype=torch.uint8)
        filled = host.numpy()
        for at, image in enumerate(images):
            filled[at] = image
        filled[len(images) :] = 0
        pixels = host.to(self._device, non_blocking=True)
        if self._ring:
            self._ring.sent()
        return (pixels.permute(0, 3, 1, 2).float() * self._rescale - self._mean) / self._std

    def _channel(self, values: tuple[float, float, float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device).view(1, 3, 1, 1)


class _PinnedRing:
    """Host memory that the GPU copies from by itself, while the next images are filled in."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._slots: list[torch.Tensor | None] = [None] * _SLOTS
        self._copied: list[torch.cuda.Event | None] = [None] * _SLOTS
        self._at = 0

    def slot(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A uint8 buffer of the shape that no copy reads from any more."""
        self._at = (self._at + 1) % _SLOTS
        copied, slot = self._copied[self._at], self._slots[self._at]
        if copied is not None:
            copied.synchronize()
        if slot is None or slot.shape != shape:
            slot = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
            self._slots[self._at] = slot
        return slot

    def sent(self) -> None:
        """Note on the GPU's stream that the copy from the current slot was asked for.

        Its own stream: that of whatever GPU is the current one would be done at once.
        """
        event: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._copied[self._at] = event
