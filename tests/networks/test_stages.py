"""A network's stages compute what the network does, over the whole picture and over tiles of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from toys import TOYS, run_whole, toy

from sr_cli.networks.stages import (
    DEGRADATION,
    LR,
    POSITION,
    SR,
    Stage,
    positions,
)

POOLED_EVERYWHERE = [name for name in TOYS if name.startswith(("danv1", "dmsr"))]
COARSER_INSIDE = ["rrdb-unshuffled"]
CUT = [name for name in TOYS if name not in POOLED_EVERYWHERE + COARSER_INSIDE]
TILE = 16


@pytest.mark.parametrize("name", CUT)
def test_stages_compute_what_forward_does(name: str) -> None:
    network = toy(name)
    lr = torch.rand(2, 3, 37, 45)
    with torch.inference_mode():
        sr, vector = network(lr)
        values = run_whole(network.stages(), lr)
    assert_same(values, sr, vector)


@pytest.mark.parametrize("shape", [(10, 240), (240, 10)], ids=["wide", "tall"])
@pytest.mark.parametrize("name", CUT)
def test_halos_are_wide_enough(name: str, shape: tuple[int, int]) -> None:
    network = toy(name)
    lr = torch.rand(1, 3, *shape)
    with torch.inference_mode():
        sr, vector = network(lr)
        values = run_tiled(network.stages(), lr)
    assert_same(values, sr, vector)


@pytest.mark.parametrize("name", CUT)
def test_halos_are_no_wider_than_needed(name: str) -> None:
    network = toy(name).double()
    for weight in network.parameters():  # so that nothing cancels and no ReLU is closed
        weight.data.uniform_(0.01, 0.1)
    lr = torch.rand(1, 3, 8, 336, dtype=torch.double)
    values: dict[str, Tensor] = {LR: lr, POSITION: positions(lr)}
    for stage in network.stages():
        inputs = {n: torch.rand_like(v).requires_grad_() for n, v in values.items()}
        inputs[POSITION] = values[POSITION]
        value = stage.run(*(inputs[n] for n in stage.inputs))
        if stage.kind != "vector":
            assert 0 <= stage.halo - reach(stage, value, inputs) < stage.stride, stage.output
        is_mean = stage.kind == "mean"
        values[stage.output] = (value.mean((2, 3), keepdim=True) if is_mean else value).detach()


def reach(stage: Stage, value: Tensor, inputs: Mapping[str, Tensor]) -> int:
    """Columns on either side of columns 160 to 175 of the picture that they depend on."""
    begin, end = 160, 176
    first, last = (side * stage.scale // stage.stride for side in (begin, end))
    maps = [inputs[n] for n in stage.inputs if inputs[n].shape[-1] > 1 and inputs[n].requires_grad]
    found = torch.autograd.grad(value[..., first:last].sum(), maps, allow_unused=True)
    columns = [g.abs().sum((0, 1, 2)).nonzero().flatten() for g in found if g is not None]
    return max(max(begin - int(c[0]), int(c[-1]) - (end - 1)) for c in columns)


@pytest.mark.parametrize("name", POOLED_EVERYWHERE + COARSER_INSIDE)
def test_what_cannot_be_cut_says_so(name: str) -> None:
    assert toy(name).stages() == ()


@pytest.mark.parametrize("name", CUT)
def test_stages_are_a_chain(name: str) -> None:
    known = {LR, POSITION}
    stages = toy(name).stages()
    for stage in stages:
        assert known.issuperset(stage.inputs)
        assert stage.output not in known
        # Tiles begin at multiples of 8, and so do their halos in cells of the stride.
        assert stage.halo % stage.stride == 0
        known.add(stage.output)
    assert stages[-1].output == SR
    assert all(stage.scale == 1 for stage in stages[:-1])


def assert_same(values: Mapping[str, Tensor], sr: Tensor, vector: Tensor | None) -> None:
    torch.testing.assert_close(values[SR], sr, atol=1e-5 * float(sr.abs().max()), rtol=0)
    assert (vector is None) == (DEGRADATION not in values)
    if vector is not None:
        torch.testing.assert_close(values[DEGRADATION].flatten(1), vector, atol=5e-6, rtol=0)


def run_tiled(stages: tuple[Stage, ...], lr: Tensor) -> Mapping[str, Tensor]:
    """As `run_whole`, from tiles with the stages' halos."""
    values = {LR: lr, POSITION: positions(lr)}
    vectors: set[str] = set()
    for stage in stages:
        if stage.kind == "vector":
            value = stage.run(*(values[name] for name in stage.inputs))
        else:
            value = tiled(stage, values, vectors)
        if stage.kind != "map":
            vectors.add(stage.output)
        values[stage.output] = value.mean((2, 3), keepdim=True) if stage.kind == "mean" else value
    return values


def tiled(stage: Stage, values: Mapping[str, Tensor], vectors: set[str]) -> Tensor:
    height, width = values[LR].shape[2:]
    rows = []
    for top in range(0, height, TILE):
        row = []
        for left in range(0, width, TILE):
            outer_top, outer_left = max(top - stage.halo, 0), max(left - stage.halo, 0)
            window = (
                ...,
                slice(outer_top, top + TILE + stage.halo),
                slice(outer_left, left + TILE + stage.halo),
            )
            inputs = (v if n in vectors else v[window] for n, v in picked(stage, values))
            value = stage.run(*inputs)
            inner = (
                inside(top - outer_top, min(TILE, height - top), stage),
                inside(left - outer_left, min(TILE, width - left), stage),
            )
            row.append(value[(..., *inner)])
        rows.append(torch.cat(row, 3))
    return torch.cat(rows, 2)


def picked(stage: Stage, values: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(name, values[name]) for name in stage.inputs]


def inside(start: int, length: int, stage: Stage) -> slice:
    """The tile within its window, on the output's grid."""
    scale, stride = stage.scale, stage.stride
    return slice(start * scale // stride, -(-(start + length) * scale // stride))


def test_positions_of_a_large_picture_in_half_precision_are_rounded_once() -> None:
    lr = torch.zeros(1, 3, 1, 3000, dtype=torch.float16)
    exact = torch.arange(3000, dtype=torch.float64) / 2999
    assert torch.equal(positions(lr)[0, 1, 0], exact.half())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3), (3, 1)])
def test_the_only_row_or_column_is_the_first(height: int, width: int) -> None:
    places = [torch.linspace(0, 1, side) for side in (height, width)]
    right = torch.stack(torch.meshgrid(places, indexing="ij"))[None]
    assert torch.equal(positions(torch.zeros(1, 3, height, width)), right)
