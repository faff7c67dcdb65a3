"""The benchmark times what is done, and sees what memory is taken."""

from __future__ import annotations

import json
import mmap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sr_cli.inference.benchmark import _peak, _spent_in, resident, texture, texture_bytes
from tests.conftest import Outcome

Program = Callable[..., Outcome]


@pytest.mark.skipif(resident() is None, reason="the system does not tell")
def test_memory_that_is_held_is_seen() -> None:
    before = resident()
    held = mmap.mmap(-1, 50_000_000)  # not from an allocator, which may have some left
    held.write(bytes(len(held)))
    after = resident()
    assert before is not None and after is not None
    assert 0.9 * len(held) < after - before < 1.5 * len(held)


class Idle:
    """A backend on a second GPU that does nothing."""

    device = "cuda:1"

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self) -> None:
        """Nothing."""

    run_whole = run


@pytest.mark.parametrize(("name", "peaks"), [("torch", [7]), ("onnx", [])])
def test_a_gpu_is_asked_for_itself_and_by_torch_for_torch_alone(
    name: str, peaks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    said = {"synchronize": None, "reset_peak_memory_stats": None}
    for question, answer in (said | {"memory_allocated": 5, "max_memory_allocated": 12}).items():

        def told(device: str | None = None, answer: int | None = answer) -> int | None:
            asked.append(device)
            return answer

        monkeypatch.setattr(torch.cuda, question, told)
    backend: Any = Idle(name)
    with _spent_in(backend) as spent, _peak(backend) as peak:
        backend.run()
    assert spent[0] > 0 and peak == peaks
    assert asked == (["cuda:1"] * 4 if name == "torch" else [])


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
