"""Degradations that were learned are read from published checkpoints, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sr_cli.networks import pdm
from sr_cli.zoo import weights
from sr_cli.zoo.learned import load_learned
from sr_cli.zoo.manifest import ZooError
from tests.conftest import Outcome
from tests.networks.references import load, sources

SMALL = {"scale": 2, "kernel_size": 5, "kernel_numbers": 3, "kernel_blocks": 1, "features": 4}
NO_NOISE = {**SMALL, "noise_numbers": 0}


@pytest.mark.parametrize("path", sources("pdm-2017track1", "pdm-2020track1"))
def test_a_published_degradation_is_read_in_its_authors_names(path: Path, tmp_path: Path) -> None:
    reference = load(path)
    torch.save(reference.state, file := tmp_path / "degradation.pth")
    network = load_learned(file)
    assert not network.training
    assert network.kernel.size == reference.options["kernel_opt"]["ksize"]
    assert (network.noise is None) == (not reference.options["noise_opt"])
    lr, kernels = network.degrade(torch.rand(2, 3, 64, 48), torch.Generator().manual_seed(0))
    assert lr.shape == (2, 3, 16, 12)
    torch.testing.assert_close(lr * 255, (lr * 255).round(), atol=1e-4, rtol=0)
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(2))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"head.weight": torch.zeros(3)}, file := tmp_path / "other.pth")
    with pytest.raises(ZooError, match="holds no learned degradation, as a run"):
        load_learned(file)


def test_what_the_header_tells_is_taken(tmp_path: Path) -> None:
    state = pdm.PDM(**NO_NOISE).state_dict()  # type: ignore[arg-type]
    weights.write(file := tmp_path / "degradation.safetensors", state, "PDM", NO_NOISE)
    network = load_learned(file)
    assert network.kernel.scale == 2 and network.noise is None


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("shape", [(), (3,), (0, 3, 1, 1)])
def test_tensors_of_other_shapes_are_no_crash(
    shape: tuple[int, ...], tmp_path: Path, program: Callable[..., Outcome]
) -> None:
    state = dict.fromkeys(pdm.NEEDED, torch.zeros(shape))
    weights.write_exact(file := tmp_path / "bad.safetensors", state, "PDM", {})
    with pytest.raises(ZooError, match="holds no learned degradation"):
        load_learned(file)
    outcome = program("degrade", tmp_path, "-o", tmp_path / "out", "--degradation", file)
    assert outcome.status == 1 and "holds no learned degradation" in outcome.err


@pytest.mark.parametrize(
    "told",
    [{"scale": 2.5}, {"scale": None}, {"scale": 0}, {"features": 1 << 20}, {"noise_numbers": -1}],
)
def test_a_header_that_makes_no_sense_is_refused(told: Mapping[str, Any], tmp_path: Path) -> None:
    state = pdm.PDM(**NO_NOISE).state_dict()  # type: ignore[arg-type]
    weights.write(file := tmp_path / "bad.safetensors", state, "PDM", {**NO_NOISE, **told})
    with pytest.raises(ZooError, match="make no sense"):
        load_learned(file)


def test_a_header_that_tells_of_other_weights_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's last layer alone would take four gigabytes."""
    state = pdm.PDM(**NO_NOISE).state_dict()  # type: ignore[arg-type]
    options = {**NO_NOISE, "kernel_size": 1024, "features": 1024}
    weights.write(file := tmp_path / "bad.safetensors", state, "PDM", options)
    made: list[torch.Tensor] = []
    monkeypatch.setattr(nn.Conv2d, "reset_parameters", lambda layer: made.append(layer.weight))
    with pytest.raises(ZooError, match="holds no learned degradation that fits"):
        load_learned(file)
    assert made and all(weight.is_meta for weight in made)
