"""Arithmetic is counted as it is done, and memory is foretold as it is taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sr_cli.inference.counting import feature_bytes, multiply_adds, picture_bytes
from sr_cli.networks.dan import DAN
from sr_cli.networks.edsr import EDSR


def test_multiply_adds_are_those_of_the_paper() -> None:
    """221.61 G at 270x180 (RealDAN, Table 3).

    Ours applies the degradation's part of two convolutions once a picture instead of once a pixel,
    which saves half of a percent.
    """
    counted = multiply_adds(DAN(), 180, 270, 0) / 1e9
    assert 0.99 * 221.61 < counted < 221.61


def test_a_convolution_is_counted_by_hand() -> None:
    network = EDSR(scale=2, features=4, blocks=1)
    by_hand = 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            enlarged = layer.in_channels == 4 and layer.out_channels == 3
            by_hand += layer.weight.numel() * 20 * 30 * (4 if enlarged else 1)
    assert multiply_adds(network, 20, 30, 0) == by_hand


def test_tiles_of_256_cost_at_most_15_percent() -> None:
    network = DAN()
    whole = multiply_adds(network, 1024, 1024, 0)
    assert whole < multiply_adds(network, 1024, 1024, 256) <= 1.15 * whole


@pytest.mark.parametrize(("tile", "height", "width"), [(128, 1024, 512), (256, 2048, 300)])
def test_features_take_what_the_design_notes_say(tile: int, height: int, width: int) -> None:
    rows = height + 2 * tile + 256
    assert feature_bytes(DAN(), height, width, tile, "fp32") == 64 * 4 * width * rows
    assert feature_bytes(DAN(), height, width, tile, "bf16") == 64 * 2 * width * rows


def test_pictures_are_floats() -> None:
    assert picture_bytes(10, 20, 4) == 10 * 20 * 3 * 4 * 17


def test_counting_changes_no_weights() -> None:
    network = DAN(features=8, blocks=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    multiply_adds(network, 16, 16, 8)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
