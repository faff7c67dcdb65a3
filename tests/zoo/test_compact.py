"""Weights in eight bits stand for one network, close to that which they were made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sr_cli.networks.dan import DAN
from sr_cli.zoo import compact, weights
from sr_cli.zoo.conversion import convert
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import ZooError

OPTIONS = {"features": 32, "blocks": 2}
"""Large enough for tensors that are worth it."""


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return DAN(**OPTIONS).state_dict()  # type: ignore[arg-type]


@pytest.fixture
def small(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    path = tmp_path / "small.safetensors"
    weights.write_compact(path, state, "DAN", OPTIONS, licence="CC0-1.0")
    return path


def test_a_weight_is_rounded_up_or_down(state: dict[str, Tensor]) -> None:
    packed = compact.packed(state)
    found = compact.unpacked(packed)
    assert found.keys() == state.keys()
    large = [name for name in state if packed[name].dtype is torch.int8]
    assert len(large) > 5
    for name, value in state.items():
        if name not in large:
            assert torch.equal(found[name], value)
            continue
        step = value.abs().flatten(1).amax(1) / 127
        off = (found[name] - value).abs().flatten(1).amax(1)
        assert (off <= 1.001 * step).all() and off.max() > 0, name


def test_filters_and_their_kernels_keep_their_sums() -> None:
    """To the nearest, kernels here are off by 0.86 steps (rms), filters by up to 34."""
    filters = torch.rand(16, 400, 3, 3, generator=torch.Generator().manual_seed(0)) - 0.3
    off = compact.unpacked(compact.packed({"w": filters}))["w"] - filters
    off /= (filters.abs().amax((1, 2, 3)) / 127)[:, None, None, None]
    assert off.sum((1, 2, 3)).abs().max() < 0.51
    assert off.sum((2, 3)).pow(2).mean() < 0.35**2


def test_rows_keep_their_own_range() -> None:
    rows = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    rows[0] *= 1000
    rows[1] = 0
    found = compact.unpacked(compact.packed({"w": rows}))["w"]
    assert torch.equal(found[1], rows[1])
    assert (found[2:] - rows[2:]).abs().max() < 0.02


def test_the_file_is_half_as_large_and_loads_as_the_same_network_every_time(
    tmp_path: Path, small: Path, state: dict[str, Tensor]
) -> None:
    large = tmp_path / "large.safetensors"
    weights.write(large, state, "DAN", OPTIONS)
    assert small.stat().st_size < 0.6 * large.stat().st_size
    loaded = load(str(small))
    picture = torch.rand(1, 3, 24, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, others = loaded.network(picture)[0], load(str(large)).network(picture)[0]
    assert 0 < (ours - others).abs().max() < 0.02
    _, header = weights.read(small)
    assert header["licence"] == "CC0-1.0" and compact.HEADER not in header
    # What is made of it holds the same numbers, and no longer says that they are packed.
    convert(small, tmp_path / "converted.safetensors")
    assert load(str(tmp_path / "converted.safetensors")).digest == loaded.digest


def test_packing_twice_changes_nothing(tmp_path: Path, small: Path) -> None:
    state, header = weights.read(small)
    again = compact.unpacked(compact.packed(state))
    for name, value in state.items():
        assert torch.allclose(again[name], value, rtol=1e-6, atol=0), name
    weights.write_with(tmp_path / "float32.safetensors", state, header)
    assert load(str(tmp_path / "float32.safetensors")).digest == load(str(small)).digest


def test_weights_that_are_not_finite_are_not_packed(state: dict[str, Tensor]) -> None:
    name = next(n for n, v in state.items() if v.ndim > 1 and v.numel() >= compact.SMALLEST)
    state[name][0] = torch.inf
    with pytest.raises(ValueError, match=name):
        compact.packed(state)


@pytest.mark.parametrize(
    "factors",
    [torch.ones(5), torch.ones(4, 1), torch.ones(4, dtype=torch.int32), None],
    ids=["of-other-rows", "of-another-shape", "whole", "missing-tensor"],
)
def test_factors_that_do_not_belong_to_their_tensor_are_damage(
    tmp_path: Path, factors: Tensor | None
) -> None:
    path = tmp_path / "net.safetensors"
    whole = torch.ones(4, 2, dtype=torch.int8)
    tensors = {f"a{compact.FACTORS}": torch.ones(4)}
    if factors is not None:
        tensors = {"a": whole, f"a{compact.FACTORS}": factors}
    save_file(tensors, path, metadata={compact.HEADER: compact.VERSION})
    with pytest.raises(ZooError, match="not a whole safetensors file"):
        weights.read(path)


def test_a_later_form_asks_for_a_newer_program(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.ones(4)}, path, metadata={compact.HEADER: "2"})
    with pytest.raises(ZooError, match="Install a newer one"):
        weights.read(path)
