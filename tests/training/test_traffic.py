"""What is counted of work for a device."""

from __future__ import annotations

import torch

from training.traffic import Traffic, count


def test_operations_on_large_tensors_are_counted_with_what_they_read_and_write() -> None:
    a, b = torch.ones(100, 100), torch.ones(100, 1)
    assert count(lambda: a + b, 10_000) == Traffic(1, 40_000 + 400 + 40_000)
    assert count(lambda: a.mul_(2), 10_000) == Traffic(1, 80_000)
    assert count(lambda: torch.cat((a, a)), 20_000) == Traffic(1, 160_000)
    assert count(lambda: b * 2, 10_000) == Traffic(0, 0)


def test_views_are_free_and_repeated_numbers_are_read_once() -> None:
    line = torch.ones(100)
    wide = line.expand(100, 100)
    assert count(lambda: wide.unsqueeze(0).transpose(1, 2)[:, 1:], 1) == Traffic(0, 0)
    assert count(wide.contiguous, 10_000) == Traffic(1, 400 + 40_000)
