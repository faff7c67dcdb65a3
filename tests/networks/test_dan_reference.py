"""DAN computes what the published implementation computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_cli.networks.dan import DAN, convert_published, detect
from sr_cli.networks.registry import recognise

REFERENCE = Path(__file__).parents[1] / "reference"
NAMES = ["realdan-x4", "realdan-rrdb-x4", "kerneldan-x2", "kerneldan-x4"]


def load_reference(name: str) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("fill", REFERENCE / "fill.py")
    assert spec is not None and spec.loader is not None
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    info, state, arrays = fill.load_reference(str(REFERENCE / f"{name}.json"))
    return info, {key: torch.from_numpy(value) for key, value in state.items()}, arrays


def build(info: dict[str, Any], state: dict[str, Tensor]) -> DAN:
    options = info["hyperparameters"]
    network = DAN(
        scale=options["scale"],
        degradation_size=options["deg_dim"],
        features=options["nf"],
        blocks=options["nb"],
        iterations=options["loop"],
        block=options["block"],
        estimator=options["est_size"],
    )
    network.load_state_dict(convert_published(state), strict=True)
    return network.eval()


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_intermediate_values_equal_the_reference(name: str) -> None:
    info, state, arrays = load_reference(name)
    network = build(info, state)
    found: dict[str, list[Tensor]] = {"est": [], "res_mean": []}
    network.estimator.register_forward_hook(
        lambda _m, _i, out: found["est"].append(out.mean((2, 3), keepdim=True))
    )
    network.restorer.register_forward_hook(
        lambda _m, _i, out: found["res_mean"].append(out.mean(1, keepdim=True))
    )
    for case in info["cases"]:
        for values in found.values():
            values.clear()
        lr = torch.from_numpy(arrays[f"{case['name']}/in/lr"])
        with torch.inference_mode():
            sr, vector = network(lr)
        ours = {"sr": sr, "deg": vector}
        for kind, values in found.items():
            ours |= {f"{kind}{i}": value for i, value in enumerate(values)}
        assert set(ours) == set(case["out"])
        for key, value in ours.items():
            theirs = arrays[f"{case['name']}/out/{key}"]
            assert value.shape == theirs.shape
            largest = np.abs(value.numpy() - theirs).max()
            assert largest <= info["tolerance"] * np.abs(theirs).max(), key


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_parameters_is_exact(name: str) -> None:
    info, state, _ = load_reference(name)
    assert sum(p.numel() for p in build(info, state).parameters()) == info["parameters"]


@pytest.mark.parametrize("name", NAMES)
def test_a_published_state_dict_is_recognised_from_its_keys(name: str) -> None:
    info, state, _ = load_reference(name)
    family, options, converted = recognise(state)
    theirs = info["hyperparameters"]
    assert family.name == "DAN"
    assert options == {
        "scale": theirs["scale"],
        "degradation_size": theirs["deg_dim"],
        "features": theirs["nf"],
        "blocks": theirs["nb"],
        "block": theirs["block"],
        "estimator": theirs["est_size"],
        "iterations": theirs["loop"],
    }
    assert set(family.build(**options).state_dict()) == set(converted)


def test_our_own_keys_pass_the_converter_unchanged() -> None:
    state = DAN(features=8, blocks=2).state_dict()
    assert list(convert_published(state)) == list(state)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_the_scale_is_deduced_from_the_tail(scale: int) -> None:
    options = detect(DAN(scale=scale, features=8, blocks=2).state_dict())
    assert options is not None and options["scale"] == scale


def test_another_networks_keys_are_not_a_dan() -> None:
    assert detect({"conv_first.weight": torch.zeros(64, 3, 3, 3)}) is None


def test_no_iterations_are_refused() -> None:
    with pytest.raises(ValueError, match="iterations"):
        DAN(iterations=0)
