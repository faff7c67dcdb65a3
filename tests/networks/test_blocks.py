from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sr_cli.networks.blocks import Upsampler, upsampler

SCALES = (2, 3, 4)


def made(scale: int, device: str = "cpu") -> tuple[Upsampler, Tensor]:
    torch.manual_seed(scale)
    enlarge = upsampler(8, scale).to(device, torch.float64, memory_format=torch.channels_last)
    x = torch.randn(2, 8, 5, 7, dtype=torch.float64, device=device)
    return enlarge, x.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("scale", SCALES)
def test_channels_last_changes_the_order_of_memory_alone(scale: int) -> None:
    enlarge, x = made(scale)
    usual, last = enlarge(x), enlarge.channels_last(x)
    torch.testing.assert_close(last, usual)
    assert last.shape == (2, 8, 5 * scale, 7 * scale)
    assert last.is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(
        torch.autograd.grad(last.square().sum(), (x, *enlarge.parameters())),
        torch.autograd.grad(usual.square().sum(), (x, *enlarge.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("scale", SCALES)
def test_a_gpu_keeps_channels_last(scale: int) -> None:
    enlarge, x = made(scale, "cuda")
    larger = enlarge(x)
    assert larger.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(larger.cpu(), enlarge.cpu()(x.cpu()))
