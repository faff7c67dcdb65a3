"""The throughput benchmark counts what it says it counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from training import throughput
from training.recipe import load_recipe

NARROW = ["network.features=8", "network.blocks=1", "phase.0.batch=2", "phase.0.lr_crop=24"]


def test_it_counts_the_operations_and_activations_of_a_convolution() -> None:
    recipe = load_recipe("edsr-blur-x4", NARROW)
    corpus = throughput.made_pictures(96)
    assert [picture.shape for picture in corpus.pictures] == [(96, 96, 3)] * 8
    bench = throughput.Bench(recipe, 0, corpus, torch.device("cpu"), half=False, compiled=False)
    found = bench.run(0.1)
    # Multiply-adds of a 3x3 convolution a pixel of its output: 9 * channels in * channels out.
    small = 3 * 8 + 2 * 8 * 8 + 8 * 8 + 8 * 32
    forward = 2 * 9 * 24 * 24 * (small + 4 * 8 * 32 + 16 * 8 * 3)
    first = 2 * 9 * 24 * 24 * 3 * 8  # nothing is sent back to the picture
    assert found.operations == pytest.approx(2 * (3 * forward - first), rel=0.01)
    assert found.activations > 2 * 4 * 8 * 96 * 96  # at least the last feature of two crops
    assert found.real > 0 and found.matrix_product > 0 and found.crops_per_second > 0
    # Both crops are written, blurred and read again in float32, once at the least.
    assert found.made_at_once == 2 and found.making.operations > 10
    assert found.making.moved > 3 * 2 * 3 * 96 * 96 * 4


def test_it_prints_for_people_and_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [part for change in NARROW for part in ("--set", change)]
    arguments = ["throughput", "edsr-blur-x2", *changes, "--seconds", "0.05", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--profile"])
    throughput.main()
    said = capsys.readouterr().out
    assert "600,000 steps of 48 crops" in said and "conv" in said
    monkeypatch.setattr(sys, "argv", [*arguments, "--json"])
    throughput.main()
    assert json.loads(capsys.readouterr().out)["batch"] == 2


def test_what_cannot_be_measured_is_said_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_features = (
        *("--set", "loss.features='squeezenet'"),
        *("--set", f"loss.features_folder='{tmp_path}'"),
    )
    for wrong, complaint in (
        (["dan-real-x5"], "There is no recipe"),
        (["dan-real-x4", "--phase", "7"], "has the phases 0 to 0, not 7"),
        (["dan-real-x4", "--data", str(tmp_path / "nowhere")], "not a folder"),
        (["dan-real-x4", "--seconds", "0"], "must be above 0"),
        (["dan-real-x4", "--device", "bogus"], "'bogus' is not usable here"),
        (["dan-real-x4", "--set", "loss.detail=1"], "detail"),
        (["dan-real-gan-x4", *of_features], "squeezenet"),
    ):
        with pytest.raises(SystemExit) as stop:
            throughput.main(wrong)
        assert stop.value.code == 2 and complaint in capsys.readouterr().err


def test_a_recipe_of_ones_own_is_measured(
    small_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    throughput.main([str(small_file), "--seconds", "0.01", "--device", "cpu"])
    assert capsys.readouterr().out.startswith("small, phase 3: 2 crops of 32x32")


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_it_computes_in_what_training_computes_in(
    precision: str,
    small_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(throughput, "automatic_precision", lambda _: precision)
    arguments = [str(small_file), "--seconds", "0.01", "--device", "cpu", "--json"]
    throughput.main(arguments)
    assert json.loads(capsys.readouterr().out)["precision"] == precision
    throughput.main([*arguments, "--precision", "fp32"])
    assert json.loads(capsys.readouterr().out)["precision"] == "fp32"
