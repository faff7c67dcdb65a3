"""A finished run leaves a release: weights, manifest entry, model card, curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from sr_cli.zoo import card, manifest
from sr_cli.zoo.loading import load
from sr_cli.zoo.schema import SCHEMA_VERSION
from tests.conftest import Outcome
from training import curves
from training.packing import pack
from training.recipe import Recipe
from training.trainer import Trainer

CPU = torch.device("cpu")


def test_a_finished_run_is_ready_to_be_handed_on(
    program: Callable[..., Outcome], small_file: Path, tmp_path: Path
) -> None:
    assets = Path(__file__).parents[1] / "assets"
    run = tmp_path / "run"
    arguments = [small_file, "--data", assets, "--val", assets, "--out", run, "--precision", "fp32"]
    ended = program("train", *arguments)
    assert ended.status == 0, ended.err
    assert "finished after 19 steps" in ended.out
    release = run / "release"
    names = {"README.md", "curves.png", "entry.json", "small.safetensors"}
    assert {path.name for path in release.iterdir()} == names
    assert load(str(release / "small.safetensors")).network.iterations == 3
    entry = json.loads((release / "entry.json").read_text())
    (model,) = manifest.parse(json.dumps({"version": SCHEMA_VERSION, "models": [entry]})).values()
    assert model.weights is not None and model.weights.bundled == "small.safetensors"
    assert model.training["steps"] == "19" and "CPU" in model.training["device"]
    assert model.figures == () and model.licence == "unknown"
    text = (release / "README.md").read_text()
    assert "license: unknown" in text and "small" in text
    with Image.open(release / "curves.png") as picture:
        assert picture.width == 3 * 450  # loss, picture, estimate
    # What `models publish` makes of the weights says the same.
    (tmp_path / "hub").mkdir()
    files = card.write_folder(str(release / "small.safetensors"), tmp_path / "hub", "OWNER/small")
    assert files[0].read_text() == text


def test_without_matplotlib_all_but_the_curves_is_there(
    trainer: Callable[..., Trainer], small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert trainer(out).run()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (told,) = pack(out, small, CPU)
    assert "sr-cli[plot]" in told
    assert {p.suffix for p in (out / "release").iterdir()} == {".md", ".json", ".safetensors"}


def test_steps_that_were_taken_back_are_not_drawn() -> None:
    steps = [{"step": n} for n in (50, 100, 150, 50, 100)]
    assert [line["step"] for line in curves.surviving(steps)] == [50, 50, 100]
    # A validation and a report of one step stand beside each other.
    both = [{"step": 50, "loss": 1.0}, {"step": 50, "validation": {}}]
    assert curves.surviving(both) == both
