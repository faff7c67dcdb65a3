"""Two models can be mixed: the networks between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_cli.cli.export import _stem
from sr_cli.inference import onnx_file
from sr_cli.inference.errors import InferenceError
from sr_cli.opening import open_model
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import DEFAULT_MODEL, SHARP_MODEL, ZooError
from sr_cli.zoo.mixture import Mixture, mixed, parse, short
from tests.conftest import Outcome, scene


def test_names_of_mixtures_are_told_from_others() -> None:
    assert parse("a+b:0.25") == Mixture("a", "b", 0.25)
    assert parse("hf:o/r/f@main+dir/x.safetensors:1") == Mixture(
        "hf:o/r/f@main", "dir/x.safetensors", 1.0
    )
    assert parse("a+b:.5") == parse("a+b:0.50") == Mixture("a", "b", 0.5)
    for name in ("dan-real-x4", "a+b.safetensors", "hf:o/r/f", "c/a+b", "a:0.5"):
        assert parse(name) is None
    for name in ("a+b-0.3.onnx", "a+b:0.3.onnx", "a+b:x.onnx"):  # what one was exported in
        assert parse(name) is None and short(name) == name
    for name in ("a+b", "a+b:", "a+b:x", "dan-real-x4+dan-real-gan-x4"):
        with pytest.raises(ZooError, match=r"write FIRST\+SECOND:SHARE"):
            parse(name)
    with pytest.raises(ZooError, match=r"the share of b must be from 0 to 1"):
        parse("a+b:1.5")


def test_every_weight_lies_between_those_of_the_two() -> None:
    first, second = load(DEFAULT_MODEL), load(SHARP_MODEL)
    found = load(f"{DEFAULT_MODEL}+{SHARP_MODEL}:0.25")
    ours, theirs = first.network.state_dict(), second.network.state_dict()
    assert not all(torch.equal(ours[key], theirs[key]) for key in ours)
    for key, value in found.network.state_dict().items():
        wanted = 0.75 * ours[key] + 0.25 * theirs[key]
        torch.testing.assert_close(value, wanted, atol=1e-6, rtol=1e-5)
    assert (found.scale, found.layout) == (4, first.layout) and not found.network.training
    # Of the estimates the worse of both is told.
    for key, skill in found.estimate.items():
        both = first.estimate[key]["correlation"], second.estimate[key]["correlation"]
        assert skill["correlation"] == min(both)
    assert found.estimate.keys() == first.estimate.keys()
    end = load(f"{DEFAULT_MODEL}+{SHARP_MODEL}:0").network.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in end.items())


def test_what_is_no_network_or_has_no_measure_is_not_made_up() -> None:
    blur = load("dan-blur-x4")
    with pytest.raises(ZooError, match="are different networks"):
        load(f"{DEFAULT_MODEL}+dan-blur-x4:0.5")
    unmeasured = mixed(blur, replace(blur, estimate={}, layout=None), 0.5, "x")
    assert unmeasured.estimate == {} and unmeasured.layout is None
    with pytest.raises(InferenceError, match=r"sr-cli export-onnx -m .* -o mixture\.onnx"):
        open_model(f"{DEFAULT_MODEL}+{SHARP_MODEL}:0.5", backend="onnx")
    with pytest.raises(InferenceError, match=r":0\.5 --precision int8 -o mixture\.onnx"):
        open_model(f"{DEFAULT_MODEL}+{SHARP_MODEL}:0.5", precision="int8")


def test_sharpness_is_a_dial(program: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.fromarray(scene(24, 28)).save(tmp_path / "a.png")

    def made(*options: object) -> np.ndarray:
        out = tmp_path / "out.png"
        plain = ("--precision", "fp32", "--overwrite", "-o", out)
        done = program("upscale", tmp_path / "a.png", *plain, *options)
        assert done.status == 0, done.err
        with Image.open(out) as picture:
            return np.asarray(picture).astype(float)

    faithful, sharp = made("--sharpness", 0), made("--sharpness", 1)
    assert (faithful == made()).all() and (sharp == made("-m", SHARP_MODEL)).all()
    assert (made("--sharpness", 1e-9) == faithful).all()
    assert (made("--sharpness", 1 - 1e-9) == sharp).all()
    between = made("--sharpness", 0.5)
    assert (between == made("-m", f"{DEFAULT_MODEL}+{SHARP_MODEL}:0.5")).all()
    apart = np.abs(sharp - faithful).mean()
    assert 0.2 * apart < np.abs(between - faithful).mean() < 0.8 * apart
    refused = program("upscale", tmp_path / "a.png", "-m", "dan-blur-x4", "--sharpness", 0.5)
    assert refused.status == 2 and "FIRST+SECOND:SHARE" in " ".join(refused.err.split())


def test_a_mixture_is_exported_as_any_other_model(
    program: Callable[..., Outcome], tmp_path: Path
) -> None:
    name, file = f"{DEFAULT_MODEL}+{SHARP_MODEL}:0.5", tmp_path / "x.onnx"
    done = program("export-onnx", "-m", name, "-o", file, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["differences"] is not None  # held against the mixed network
    assert onnx_file.read(file).facts.layout == load(name).layout
    assert _stem(name) == f"{DEFAULT_MODEL}+{SHARP_MODEL}-0.5"  # no file of Windows has a colon
