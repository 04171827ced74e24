"""Pixels on their way to a GPU that is not the first one; what torch lacks without one is faked."""

from __future__ import annotations

import pytest
import torch

from clip_scoring.models import pixels


def test_a_buffer_is_free_when_the_device_that_it_was_sent_to_has_copied_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded: list[object] = []

    class FakeEvent:
        def record(self, stream: object = "of the current device") -> None:
            recorded.append(stream)

        def synchronize(self) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of {device}")
    zeros = torch.zeros
    monkeypatch.setattr(
        torch, "zeros", lambda shape, *, dtype, pin_memory: zeros(shape, dtype=dtype)
    )
    ring = pixels._PinnedRing(torch.device("cuda:1"))
    for _ in range(4):
        ring.slot((1, 2, 2, 3))
        ring.sent()
    assert recorded == ["of cuda:1"] * 4
