"""The benchmark counts what is done, and foretells what memory is taken."""

from __future__ import annotations

import json
import mmap
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sr_cli.inference.benchmark import (
    feature_bytes,
    multiply_adds,
    picture_bytes,
    resident,
    texture,
    texture_bytes,
)
from sr_cli.networks.dan import DAN
from sr_cli.networks.edsr import EDSR
from tests.conftest import Outcome

Program = Callable[..., Outcome]


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


@pytest.mark.skipif(resident() is None, reason="the system does not tell")
def test_memory_that_is_held_is_seen() -> None:
    before = resident()
    held = mmap.mmap(-1, 50_000_000)  # not from an allocator, which may have some left
    held.write(bytes(len(held)))
    after = resident()
    assert before is not None and after is not None
    assert 0.9 * len(held) < after - before < 1.5 * len(held)


def test_the_texture_is_no_flat_picture() -> None:
    picture = texture(64, 96)
    assert picture.shape == (64, 96, 3)
    assert picture.min() >= 0 and picture.max() <= 1 and picture.std() > 0.05
    assert np.array_equal(picture, texture(64, 96))


def test_bench_times_models_side_by_side(program: Program, tiny_weights: Path) -> None:
    outcome = program(
        *("bench", "-m", tiny_weights, "-m", "random:EDSR", "--size", "40x24", "--repeats", 1),
        *("--precision", "fp32", "--tile", "32", "--tile", "0", "--json"),
    )
    assert outcome.status == 0, outcome.err
    answer = json.loads(outcome.out)
    assert len(answer["rows"]) == 4
    assert answer["matrix_product_gmac"]["fp32"] > 0
    for row in answer["rows"]:
        assert 0 < row["network_share"] <= 1
        assert row["seconds"] > 0 and row["multiply_adds"] > 0
    tiled, whole = answer["rows"][:2]
    assert tiled["overhead_of_tiles"] > whole["overhead_of_tiles"] == 1


def test_bench_for_people(program: Program, tiny_weights: Path) -> None:
    outcome = program("bench", "-m", tiny_weights, "--size", "24x24", "--repeats", 1)
    assert "24x24" in outcome.out and "Matrix product of this machine" in outcome.out


@pytest.mark.parametrize(
    "arguments",
    [("--size", "big"), ("--size", "0x4"), ("--size", f"{'9' * 5000}x4"), ("-m", "random:nothing")],
)
def test_bench_refuses_what_makes_no_sense(program: Program, arguments: tuple[str, ...]) -> None:
    assert program("bench", *arguments).status == 2


@pytest.mark.parametrize(("precision", "words"), [("int8", "--backend onnx"), ("fp16", "slow")])
def test_bench_refuses_precisions_of_random_weights_as_of_others(
    program: Program, precision: str, words: str
) -> None:
    how = ("--size", "24x24", "--repeats", 1, "--device", "cpu", "--precision", precision)
    outcome = program("bench", "-m", "random:EDSR", *how)
    assert outcome.status == 1 and words in outcome.err and "bug" not in outcome.err


@pytest.mark.parametrize("size", ["999999999x999999999", "999999999x1"])
def test_bench_says_at_once_what_does_not_fit_in_memory(program: Program, size: str) -> None:
    outcome = program("bench", "--size", "8x8", "--size", size, "-m", "no-such-model")
    assert outcome.status == 1 and "Name a smaller --size" in outcome.err


@pytest.mark.parametrize(("height", "width"), [(300, 300), (1, 520), (256, 40)])
def test_a_texture_takes_no_more_than_was_said(height: int, width: int) -> None:
    tracemalloc.start()
    texture(height, width)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.4 * texture_bytes(height, width) < peak < texture_bytes(height, width) + 2_000_000


def test_counting_changes_no_weights() -> None:
    network = DAN(features=8, blocks=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    multiply_adds(network, 16, 16, 8)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
